/**
 * `kill -9` of a process that commits from four threads, at random moments, and its end without a
 * close: after each one the store opens at once, has every commit that was acknowledged, of the
 * others a prefix in log order, and nothing that verifyStore would find fault with.
 *
 * KILLS=n for another number of kills, LONG=1 for many; SEED=n for the same moments again.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
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

const LONG = process.env['LONG'] === '1';
const KILLS = Number(process.env['KILLS'] ?? (LONG ? 400 : 20));
const ENDINGS = LONG ? 80 : 4;
/** Nothing that a child says takes so long. */
const SILENCE_MS = 20_000;
/** Of a broken product, before it counts as not noticed. */
const VARIANT_KILLS = 24;
const VARIANT_SEED = 1;
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

/** How a child ends that nobody kills. */
type Ending = 'close' | 'exit' | 'throw' | 'exit-sealed' | 'worker';
const UNCLOSED: readonly Ending[] = ['exit', 'throw', 'exit-sealed', 'worker'];

interface Trial {
  /** Undefined: it is not killed. */
  readonly moment?: Moment;
  readonly ending: Ending;
  /** The how manieth such line. */
  readonly nth: number;
  readonly delayMs: number;
  readonly seed: number;
  /** When it ends by itself; 0: never. */
  readonly endAfterMs: number;
}

const ALL_MOMENTS: readonly Moment[] = [
  'opening',
  'running',
  'running',
  'round',
  'round',
  'closing',
];
/** Where broken products lose most. */
const ROUND_MOMENTS: readonly Moment[] = ['running', 'round'];

function draw(random: Random, moments: readonly Moment[]): Trial {
  const moment = random.pick(moments);
  return {
    moment,
    nth: moment === 'round' ? 2 + random.int(8) : 1,
    delayMs: random.float() * MOMENTS[moment].ms,
    seed: random.uint32(),
    ending: 'close',
    endAfterMs: moment === 'closing' ? 1 + random.int(150) : 0,
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

/** Runs the child until it is killed, or has ended before that. */
function live(program: string, directory: string, trial: Trial): Promise<Life> {
  const { seed, endAfterMs, ending, moment, nth, delayMs } = trial;
  const args = [directory, String(seed), String(endAfterMs), ending];
  const argv = ['--enable-source-maps', program, ...args];
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
    if (moment !== undefined && line.startsWith(MOMENTS[moment].line) && --left === 0) {
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

const ROUND = 'src/checkpoint/round.ts';
const JOURNAL = 'src/wal/journal.ts';

interface Variant {
  readonly title: string;
  readonly symptom: RegExp;
  readonly patches: readonly Patch[];
}

const VARIANTS: readonly Variant[] = [
  {
    title: 'W2D what is acknowledged before it is written is lost',
    symptom: /is lost, seq \d+ was acknowledged|is lost, a later one/,
    patches: [
      {
        file: JOURNAL,
        find: '      try {\n        this.#writer.append(',
        replace:
          '      memory.storeU64(H_LOG_WRITTEN, to);\n      memory.bump(H_LOG_WAKE);\n' +
          '      control.park(H_LOG_WAKE, memory.load(H_LOG_WAKE), 20);\n' +
          '      try {\n        this.#writer.append(',
      },
      {
        file: JOURNAL,
        find: '    let wrote = false;\n',
        replace:
          '    let wrote = false;\n    const memory = this.#memory;\n' +
          '    const control = this.#control;\n',
      },
    ],
  },
  {
    title: 'I2 a log that is trimmed before the commit of its round is lost (race 13)',
    symptom: /WAL_CORRUPT|is lost/,
    patches: [
      {
        file: ROUND,
        find: '      await this.writeThroughAsync(capture);\n',
        replace: '      this.trim(capture);\n      await this.writeThroughAsync(capture);\n',
      },
    ],
  },
  {
    title: 'I3 a frame that is written without its image of the capture is too new (race 9)',
    symptom: /REPLAY_FAILED|could not be done again/,
    patches: [
      {
        file: 'src/txn/op.ts',
        find: 'if (this.host.preserve(frame.index)) continue;',
        replace: "if (mode === 'write' || this.host.preserve(frame.index)) continue;",
      },
    ],
  },
];

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

/** One life of a child, and the store after it. How it ended. */
async function trial(bank: Bank, program: string, plan: Trial, look: boolean): Promise<string> {
  const life = await live(program, bank.directory, plan);
  const last = life.lines.at(-1) ?? '';
  checkEnd(life, plan, last);
  const wrong = hear(bank.oracle, life);
  if (wrong !== undefined) throw new Error(wrong);
  const { findings } = await verifyStore(bank.directory, { kernels });
  expect(findings).toEqual([]);
  // Else the next child opens what this one has left.
  if (look) await bank.open();
  return last === 'closed' ? 'closed' : (plan.moment ?? plan.ending);
}

/** A child is killed, or ends in the way that it was told; `closing` may be over before the kill. */
function checkEnd({ code, stderr, lines }: Life, { moment, ending }: Trial, last: string): void {
  const violated = stderr.includes(VIOLATION);
  const killed = code === null && moment !== undefined;
  const closed = code === 0 && last === 'closed';
  const left = code !== 0 && ending !== 'close' && lines.includes('leaving');
  if (violated || !(killed || closed || left)) {
    throw new Error(`the child ended by itself with ${code}: ${stderr}`);
  }
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

function summary(outcomes: readonly string[], all: readonly BankOracle[]): string {
  const times = new Map<string, number>();
  for (const outcome of outcomes) times.set(outcome, (times.get(outcome) ?? 0) + 1);
  const sum = (key: keyof BankOracle['counts']): number =>
    all.reduce((total, { counts }) => total + counts[key], 0);
  return (
    `${outcomes.length} lives: ${[...times].map(([what, n]) => `${what} ${n}`).join(', ')}; ` +
    `${sum('safe')} acknowledged, ${sum('kept')} kept, ${sum('lost')} lost, ${sum('unsaid')} unsaid`
  );
}

/** Kills until the store is wrong, or `kills` are over. */
async function killing(
  random: Random,
  kills: number,
  moments: readonly Moment[],
  patches: readonly Patch[] = [],
): Promise<string> {
  const program = await bundleScenario('kill-bank', patches);
  const outcomes: string[] = [];
  const oracles: BankOracle[] = [];
  let bank = new Bank();
  for (let n = 0; n < kills; n++) {
    if (n % KILLS_PER_BANK === 0) {
      if (n > 0) await bank.open();
      bank = new Bank();
      await bank.found();
      oracles.push(bank.oracle);
    }
    const plan = draw(random, moments);
    outcomes.push(await named(n, plan, trial(bank, program, plan, random.chance(0.4))));
  }
  await bank.open();
  return summary(outcomes, oracles);
}

const MS_PER_KILL = 4000;

it(
  'R1 W2D after kill -9 every acknowledged commit is there, and of the others a prefix',
  async () => {
    const said = await killing(new Random(testSeed()), KILLS, ALL_MOMENTS);
    process.stderr.write(`${said}\n`);
    expect(said).not.toMatch(/ 0 acknowledged/);
  },
  KILLS * MS_PER_KILL + 30_000,
);

it(
  'R1 W2D after an exit or an uncaught exception every commit up to the last written one is there',
  async () => {
    const random = Random.fork(testSeed(), 1);
    const program = await bundleScenario('kill-bank');
    const bank = new Bank();
    await bank.found();
    const outcomes: string[] = [];
    for (let n = 0; n < ENDINGS; n++) {
      const ending = UNCLOSED[n % UNCLOSED.length] as Ending;
      const common = { nth: 1, delayMs: 0, seed: random.uint32() };
      const plan: Trial = { ...common, ending, endAfterMs: 1 + random.int(200) };
      outcomes.push(await named(n, plan, trial(bank, program, plan, random.chance(0.5))));
    }
    await bank.open();
    process.stderr.write(`${summary(outcomes, [bank.oracle])}\n`);
  },
  ENDINGS * MS_PER_KILL + 30_000,
);

describe('what kills would show', () => {
  for (const { title, patches, symptom } of VARIANTS) {
    it(
      title,
      async () => {
        const random = Random.fork(VARIANT_SEED, 2);
        const found = killing(random, VARIANT_KILLS, ROUND_MOMENTS, patches);
        await expect(found).rejects.toThrow(symptom);
      },
      VARIANT_KILLS * MS_PER_KILL + 30_000,
    );
  }
});
