/**
 * Long histories of one tree against a map, in nodes of 4 KiB: keys in runs, from the front and from
 * the back, values of any size, batches of hundreds of changes that grow an empty tree by several
 * levels at once. Then the process is killed, what was not in a round is done again, and the history
 * goes on from there: splits and merges of the second life stand on nodes that a replay has made.
 */
import { Buffer } from 'node:buffer';
import { expect, it } from 'vitest';
import { type BatchOperation, Weirpool } from '../../src/index.ts';
import { Random, testSeed } from '../support/seed.ts';
import { DIRECTORY, killed, newDisk, SMALL } from '../unit/tree/support.ts';

const LONG = process.env['LONG'] === '1';
const HISTORIES = LONG ? 60 : 3;
const LIVES = 3;
const STEPS = 700;
const TIMEOUT_MS = 90_000;
const FRAMES = 4096;
const DIRTY_MAX = FRAMES / 3;
const RING_BYTES = 2 ** 20;
const OPTIONS = {
  ...SMALL,
  frames: FRAMES,
  log: { ...SMALL.log, ringBytes: RING_BYTES, segmentBytes: RING_BYTES, bytesMax: 2 ** 30 },
  checkpoint: { intervalMs: 0, ageMs: 0, dirtyFrames: 0 },
} as const;

type Content = Map<string, string>;

class Fuzz {
  readonly #random: Random;
  readonly #prefix: string;
  readonly #content: Content = new Map();
  #run = 0;

  constructor(random: Random) {
    this.#random = random;
    this.#prefix = 'p'.repeat(random.int(200));
  }

  #key(): string {
    const kind = this.#random.int(10);
    if (kind === 5) this.#run = this.#random.int(100_000);
    const number = kind <= 5 ? this.#run++ : this.#random.int(3000) * 40;
    return `${this.#prefix}${String(number).padStart(6, '0')}`;
  }

  #value(isSmall: boolean): Buffer {
    const kind = isSmall ? 0 : this.#random.int(10);
    const most = kind < 5 ? 60 : kind < 9 ? 550 : 6000;
    return Buffer.alloc(this.#random.int(most), this.#random.int(256));
  }

  #note(key: string, value: Buffer | undefined): void {
    if (value === undefined) this.#content.delete(key);
    else this.#content.set(key, value.toString('latin1'));
  }

  step(db: Weirpool): void {
    const tree = db.tree('t', { key: 'utf8' });
    const kind = this.#random.int(20);
    const key = this.#key();
    if (kind < 9) {
      const value = this.#value(false);
      tree.put(key, value);
      this.#note(key, value);
    } else if (kind < 12) {
      expect(tree.delete(key).existed).toBe(this.#content.has(key));
      this.#note(key, undefined);
    } else if (kind < 19) {
      this.#batch(db, kind < 17 ? 30 : 300);
    } else if (this.#random.int(10) === 0) {
      const other = this.#key();
      tree.clear({ gte: key, lt: other });
      for (const there of [...this.#content.keys()]) {
        if (there >= key && there < other) this.#content.delete(there);
      }
    }
  }

  #batch(db: Weirpool, most: number): void {
    const isSmall = this.#random.int(4) > 0;
    const operations = Array.from(
      { length: this.#random.int(most) + 1 },
      (): BatchOperation<string, Uint8Array> => {
        const key = this.#key();
        if (this.#random.int(5) === 0) return { type: 'del', key };
        return { type: 'put', key, value: this.#value(isSmall) };
      },
    );
    try {
      db.tree('t', { key: 'utf8' }).batch(operations);
    } catch (error) {
      expect((error as { code: string }).code).toMatch(/^(OP_TOO_LARGE|RECORD_TOO_LARGE)$/);
      return;
    }
    for (const operation of operations) {
      this.#note(operation.key, operation.type === 'put' ? (operation.value as Buffer) : undefined);
    }
  }

  check(db: Weirpool): void {
    const found = db
      .tree('t', { key: 'utf8' })
      .range()
      .toArray()
      .map(([key, value]) => [key, Buffer.from(value).toString('latin1')]);
    const expected = [...this.#content].sort(([a], [b]) => (a < b ? -1 : 1));
    // Not compared as a whole: the difference of thousands of entries says nothing.
    expect(found.length).toBe(expected.length);
    const wrong = found.findIndex(([key, value], at) => {
      const [wantedKey, wanted] = expected[at] as [string, string];
      return key !== wantedKey || value !== wanted;
    });
    expect(found[wrong]).toEqual(expected[wrong]);
  }
}

it.for(Array.from({ length: HISTORIES }, (_, n) => n))(
  'R1 a tree goes on where a kill has left it, history %i',
  { timeout: TIMEOUT_MS },
  async (n) => {
    const fuzz = new Fuzz(Random.fork(testSeed(), n));
    let disk = newDisk();
    for (let life = 0; life < LIVES; life++) {
      const db = await Weirpool.open(DIRECTORY, { ...OPTIONS, fileSystem: disk });
      try {
        fuzz.check(db);
        for (let step = 0; step < STEPS; step++) {
          fuzz.step(db);
          // No change may have more than half of the frames: so many must be clean.
          if (db.pool.dirtyFrames() > DIRTY_MAX) await db.checkpoint();
        }
        fuzz.check(db);
        db.durableSync(undefined, 'synced');
        disk = killed(disk);
      } finally {
        await db.close();
      }
    }
  },
);
