/**
 * `kill -9` of a process that commits from four threads, at random moments: after each one the
 * store opens at once, has every commit that was acknowledged, of the others a prefix in log order,
 * and nothing that verifyStore would find fault with.
 *
 * KILLS=n for another number of kills, LONG=1 for many; SEED=n for the same moments again.
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
import { bundleScenario } from '../support/scenario.ts';
import { Random, testSeed } from '../support/seed.ts';
import { temporaryDirectory } from '../support/variant.ts';

const LONG = process.env['LONG'] === '1';
const KILLS = Number(process.env['KILLS'] ?? (LONG ? 400 : 24));
/** Nothing that a child says takes so long. */
const SILENCE_MS = 20_000;
/** A new bank after so many kills. */
const KILLS_PER_BANK = 8;

type Moment = 'opening' | 'running' | 'round' | 'closing';

/** Until when after the line that the moment begins with, in ms. */
const MOMENTS: Readonly<Record<Moment, { readonly line: string; readonly ms: number }>> = {
  opening: { line: 'opening', ms: 60 },
  running: { line: 'running', ms: 200 },
  round: { line: 'round', ms: 10 },
  closing: { line: 'closing', ms: 25 },
};

interface Trial {
  readonly moment: Moment;
  /** The how manieth such line. */
  readonly nth: number;
  readonly delayMs: number;
  readonly seed: number;
  readonly closeAfterMs: number;
}

function draw(random: Random): Trial {
  const moment = random.pick<Moment>([
    'opening',
    'running',
    'running',
    'round',
    'round',
    'closing',
  ]);
  return {
    moment,
    nth: moment === 'round' ? 2 + random.int(8) : 1,
    delayMs: random.float() * MOMENTS[moment].ms,
    seed: random.uint32(),
    closeAfterMs: moment === 'closing' ? 1 + random.int(150) : 0,
  };
}

interface Life {
  readonly pid: number;
  /** What it has said, in order. */
  readonly lines: readonly string[];
  readonly code: number | null;
  readonly stderr: string;
}

const children = new Set<ChildProcess>();

process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** Runs the child until it is killed, or has closed before that. */
function live(program: string, directory: string, trial: Trial): Promise<Life> {
  const { seed, closeAfterMs, moment, nth, delayMs } = trial;
  const argv = ['--enable-source-maps', program, directory, String(seed), String(closeAfterMs)];
  const env = { ...process.env };
  // The test runner's own settings for child processes are not meant for this one.
  delete env['NODE_OPTIONS'];
  const child = spawn(process.execPath, argv, { env, stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  children.add(child);
  const pid = child.pid as number;
  const lines: string[] = [];
  let stderr = '';
  let left = nth;
  const kill = (): void => void process.kill(pid, 'SIGKILL');
  const silent = (): void => {
    stderr += `${VIOLATION}it has said nothing for ${SILENCE_MS} ms after ${lines.at(-1)}\n`;
    kill();
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
    if (line.startsWith(MOMENTS[moment].line) && --left === 0) {
      setTimeout(() => {
        if (children.has(child)) kill();
      }, delayMs);
    }
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => children.delete(child));
    child.once('close', (code) => {
      clearTimeout(silence);
      resolve({ pid, lines, code, stderr });
    });
  });
}

function split(line: string): readonly [string, string] {
  const at = line.indexOf(' ');
  return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)];
}

/** Tells the oracle; the last line may be cut short by the kill. */
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

/** How a moment came out: `closing` may be over before the kill. */
async function kill(bank: Bank, program: string, trial: Trial, look: boolean): Promise<string> {
  const life = await live(program, bank.directory, trial);
  const closed = life.lines.at(-1) === 'closed';
  const ended = life.code !== null && !(closed && life.code === 0);
  if (ended || life.stderr.includes(VIOLATION)) {
    throw new Error(`the child ended by itself with ${life.code}: ${life.stderr}`);
  }
  const wrong = hear(bank.oracle, life);
  if (wrong !== undefined) throw new Error(wrong);
  const { findings } = await verifyStore(bank.directory, { kernels });
  expect(findings).toEqual([]);
  // Else the next child opens what this one has left.
  if (look) await bank.open();
  return closed ? 'closed' : trial.moment;
}

const MS_PER_KILL = 4000;

it(
  'R1 W2D after kill -9 every acknowledged commit is there, and of the others a prefix',
  async () => {
    const seed = testSeed();
    const random = new Random(seed);
    const program = await bundleScenario('kill-bank');
    const outcomes = new Map<string, number>();
    const counts: BankOracle['counts'][] = [];
    let bank = new Bank();
    for (let n = 0; n < KILLS; n++) {
      if (n % KILLS_PER_BANK === 0) {
        if (n > 0) await bank.open();
        bank = new Bank();
        await bank.found();
        counts.push(bank.oracle.counts);
      }
      const trial = draw(random);
      try {
        const outcome = await kill(bank, program, trial, random.chance(0.4));
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      } catch (error) {
        const what = `kill ${n} of seed ${seed}, ${JSON.stringify(trial)}`;
        throw new Error(`${what}: ${(error as Error).message}`, { cause: error });
      }
    }
    await bank.open();
    const sum = (key: keyof BankOracle['counts']): number =>
      counts.reduce((total, each) => total + each[key], 0);
    process.stderr.write(
      `${KILLS} kills: ${[...outcomes].map(([what, times]) => `${what} ${times}`).join(', ')}; ` +
        `${sum('safe')} acknowledged, ${sum('kept')} kept, ${sum('lost')} lost, ` +
        `${sum('unsaid')} unsaid\n`,
    );
    expect(sum('safe')).toBeGreaterThan(0);
  },
  KILLS * MS_PER_KILL + 30_000,
);
