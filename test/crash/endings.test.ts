/**
 * The end of a process that commits from four threads, without a close: in the middle of a change,
 * by an exit, by exceptions that nobody catches. After each one the store opens at once, has every
 * commit that was acknowledged, of the others a prefix in log order, and nothing that verifyStore
 * would find fault with. Kills: modes.test.ts, and `npm run crash -- kill`.
 *
 * ENDINGS=n for another number of ends; SEED=n for the same ones again.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { expect, it } from 'vitest';
import { CONTROL_FENCED_WASM, CONTROL_WASM, KERNELS_WASM } from '../../src/generated/assets.ts';
import { BufferPool } from '../../src/index.ts';
import { compileModules } from '../../src/memory/wasm.ts';
import { verifyStore } from '../../src/recovery/verify.ts';
import { audit, bankOwners, type Done, found } from '../support/bank.ts';
import { BankOracle, type PlainBooks, plain } from '../support/bank-oracle.ts';
import { ACCOUNTS, BALANCE, BANK_POOL, TELLERS } from '../support/bank-pool.ts';
import { VIOLATION } from '../support/protocol.ts';
import { bundleScenario, type Patch } from '../support/scenario.ts';
import { Random, testSeed } from '../support/seed.ts';
import { temporaryDirectory } from '../support/variant.ts';
import { ACKNOWLEDGE_EARLY } from './broken/killed.ts';

const ENDINGS = Number(process.env['ENDINGS'] ?? 4);
/** Nothing that a child says takes so long. */
const SILENCE_MS = 20_000;
const MS_PER_ENDING = 4000;
/** Of a broken product, before it counts as not noticed. */
const VARIANT_ENDINGS = 16;
const VARIANT_SEED = 1;

/** How a child ends; never by a close. */
type Ending = 'exit' | 'throw' | 'exit-sealed' | 'worker';
const UNCLOSED: readonly Ending[] = ['exit', 'throw', 'exit-sealed', 'worker'];

interface Trial {
  readonly ending: Ending;
  readonly seed: number;
  readonly endAfterMs: number;
}

interface Life {
  /** What it has said, in order. */
  readonly lines: readonly string[];
  readonly code: number | null;
  readonly stderr: string;
}

const children = new Set<ChildProcess>();

process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** Runs the child until it has ended. */
function live(program: string, directory: string, trial: Trial): Promise<Life> {
  const { seed, endAfterMs, ending } = trial;
  const argv = ['--enable-source-maps', program, directory, `${seed}`, `${endAfterMs}`, ending];
  const env = { ...process.env };
  // The test runner's own settings for child processes are not meant for this one.
  delete env['NODE_OPTIONS'];
  const child = spawn(process.execPath, argv, { env, stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  children.add(child);
  const lines: string[] = [];
  let stderr = '';
  const silent = (): void => {
    stderr += `${VIOLATION}it has said nothing for ${SILENCE_MS} ms after ${lines.at(-1)}\n`;
    child.kill('SIGKILL');
  };
  let silence = setTimeout(silent, SILENCE_MS);
  child.stderr?.on('data', (text: Buffer) => {
    stderr += String(text);
  });
  const reports = child.stdio[3] as NodeJS.ReadableStream;
  createInterface({ input: reports }).on('line', (line) => {
    lines.push(line);
    clearTimeout(silence);
    silence = setTimeout(silent, SILENCE_MS);
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => children.delete(child));
    child.once('close', (code) => {
      clearTimeout(silence);
      resolve({ lines, code, stderr });
    });
  });
}

function split(line: string): readonly [string, string] {
  const at = line.indexOf(' ');
  return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)];
}

/** Tells the oracle. */
function hear(oracle: BankOracle, { lines }: Life): string | undefined {
  for (const line of lines) {
    const [what, text] = split(line);
    if (what === 'done') oracle.done(JSON.parse(text) as Done);
    else if (what === 'safe') oracle.safe(Number(text));
    else if (what === 'closed') oracle.closed();
    else if (what === 'open') {
      const wrong = oracle.check(JSON.parse(text) as PlainBooks);
      if (wrong !== undefined) return wrong;
    }
  }
  return undefined;
}

class Bank {
  readonly directory = temporaryDirectory('kill');
  readonly oracle = new BankOracle(TELLERS);

  async found(): Promise<void> {
    const pool = await BufferPool.open(this.directory, BANK_POOL);
    found(pool, TELLERS, ACCOUNTS, BALANCE);
    await pool.close();
    await this.open();
  }

  /** Opens, which a lock of the dead would refuse, and looks. */
  async open(): Promise<void> {
    const pool = await BufferPool.open(this.directory, { ...BANK_POOL, owners: bankOwners() });
    try {
      const wrong = this.oracle.check(plain(audit(pool)));
      if (wrong !== undefined) throw new Error(wrong);
    } finally {
      await pool.close();
    }
  }
}

const { kernels } = compileModules({
  control: CONTROL_WASM,
  controlFenced: CONTROL_FENCED_WASM,
  kernels: KERNELS_WASM,
});

/** One life of a child, and the store after it. */
async function trial(bank: Bank, program: string, plan: Trial, look: boolean): Promise<void> {
  const life = await live(program, bank.directory, plan);
  const { code, stderr, lines } = life;
  if (stderr.includes(VIOLATION) || code === 0 || !lines.includes('leaving')) {
    throw new Error(`the child ended with ${code}: ${stderr}`);
  }
  const wrong = hear(bank.oracle, life);
  if (wrong !== undefined) throw new Error(wrong);
  const { findings } = await verifyStore(bank.directory, { kernels });
  expect(findings).toEqual([]);
  // Else the next child opens what this one has left.
  if (look) await bank.open();
}

/** Says which life of which seed it was. */
async function named<T>(n: number, plan: Trial, body: Promise<T>): Promise<T> {
  try {
    return await body;
  } catch (error) {
    const what = `life ${n} of seed ${testSeed()}, ${JSON.stringify(plan)}`;
    throw new Error(`${what}: ${(error as Error).message}`, { cause: error });
  }
}

/** Ends children until the store is wrong, or `count` have ended. */
async function ending(random: Random, count: number, patches: readonly Patch[] = []) {
  const program = await bundleScenario('endings-bank', patches);
  const bank = new Bank();
  await bank.found();
  for (let n = 0; n < count; n++) {
    const plan: Trial = {
      ending: UNCLOSED[n % UNCLOSED.length] as Ending,
      seed: random.uint32(),
      endAfterMs: 1 + random.int(200),
    };
    await named(n, plan, trial(bank, program, plan, random.chance(0.5)));
  }
  await bank.open();
  return bank.oracle.counts;
}

it(
  'R1 W2D after an exit or an uncaught exception every commit up to the last written one is there',
  async () => {
    const { safe, kept, lost, unsaid } = await ending(Random.fork(testSeed(), 1), ENDINGS);
    process.stderr.write(
      `${safe} acknowledged, ${kept} kept, ${lost} lost, ${unsaid} unsaid after ${ENDINGS} ends\n`,
    );
    expect(safe).toBeGreaterThan(0);
  },
  ENDINGS * MS_PER_ENDING + 30_000,
);

it(
  'W2D what is acknowledged before it is written is lost with the process',
  async () => {
    const found = ending(new Random(VARIANT_SEED), VARIANT_ENDINGS, ACKNOWLEDGE_EARLY);
    await expect(found).rejects.toThrow(/is lost, seq \d+ was acknowledged|is lost, a later one/);
  },
  VARIANT_ENDINGS * MS_PER_ENDING + 30_000,
);
