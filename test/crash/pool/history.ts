/**
 * What was committed to a pool and what was promised: the oracle of the crash tests.
 *
 * The state after each commit is kept, so that what a reopened store holds can be looked up: it
 * must be the state after one of the commits, no earlier than the last one that was promised.
 */
import { createHash } from 'node:crypto';
import { BLOB_BYTES, type Intent, SCRATCH_BYTES, type Touched } from './little-index.ts';

const COMPARED_BYTES = BLOB_BYTES - SCRATCH_BYTES;

export interface State {
  readonly blobs: ReadonlyMap<number, Uint8Array>;
  readonly roots: ReadonlyMap<number, number>;
}

export interface Commit {
  readonly seq: number;
  readonly intent: Intent;
  readonly state: State;
  readonly digest: string;
}

/** How much was committed and promised at one moment, in commits. */
export interface Mark {
  readonly issued: number;
  readonly written: number;
  readonly synced: number;
  readonly idMax: number;
  readonly seqMax: number;
}

const NOTHING: State = { blobs: new Map(), roots: new Map() };

const sums = new WeakMap<Uint8Array, string>();

function sumOf(bytes: Uint8Array): string {
  const sum = sums.get(bytes) ?? createHash('md5').update(bytes).digest('base64');
  sums.set(bytes, sum);
  return sum;
}

/** What is compared of a blob, as a copy. */
export function comparable(bytes: Uint8Array): Uint8Array {
  return bytes.slice(0, COMPARED_BYTES);
}

export function digestOf({ blobs, roots }: State): string {
  const ids = [...blobs.keys()].sort((a, b) => a - b);
  const owners = [...roots].filter(([, id]) => id !== 0).sort(([a], [b]) => a - b);
  const parts = ids.map((id) => `${id}:${sumOf(blobs.get(id) as Uint8Array)}`);
  return `${parts.join(' ')} roots ${owners.join(' ')}`;
}

const EMPTY_DIGEST = digestOf(NOTHING);

export class History {
  readonly commits: Commit[];
  synced = 0;
  written = 0;
  /** Highest id and seq that anybody has heard of. */
  idMax = 0;
  seqMax = 0;
  readonly violations: string[] = [];

  constructor(commits: readonly Commit[] = []) {
    this.commits = [...commits];
  }

  get state(): State {
    return this.commits.at(-1)?.state ?? NOTHING;
  }

  /** The same up to a commit, which is all that is left: it is safe, and what came later is lost. */
  after(count: number, { idMax, seqMax }: Pick<Mark, 'idMax' | 'seqMax'>): History {
    const history = new History(this.commits.slice(0, count));
    history.synced = count;
    history.written = count;
    history.idMax = idMax;
    history.seqMax = seqMax;
    return history;
  }

  mark(): Mark {
    const { synced, written, idMax, seqMax } = this;
    return { issued: this.commits.length, synced, written, idMax, seqMax };
  }

  /** Notes a commit; the bytes are those that the op has left. */
  add(seq: number, intent: Intent, touched: Touched, bytes: ReadonlyMap<number, Uint8Array>): void {
    const blobs = new Map(this.state.blobs);
    for (const [id, content] of bytes) blobs.set(id, content);
    for (const id of touched.deleted) blobs.delete(id);
    const roots = new Map([...this.state.roots, ...touched.roots]);
    const state = { blobs, roots };
    if (seq <= this.seqMax) this.violations.push(`seq ${seq} again, after ${this.seqMax}`);
    this.seqMax = Math.max(this.seqMax, seq);
    this.commits.push({ seq, intent, state, digest: digestOf(state) });
  }

  noteId(id: number, isNew: boolean): void {
    if (isNew && id <= this.idMax) this.violations.push(`id ${id} again, after ${this.idMax}`);
    this.idMax = Math.max(this.idMax, id);
  }

  acknowledge(level: 'written' | 'synced', count = this.commits.length): void {
    this.written = Math.max(this.written, count);
    if (level === 'synced') this.synced = Math.max(this.synced, count);
  }

  digestAt(count: number): string {
    return count === 0 ? EMPTY_DIGEST : (this.commits[count - 1]?.digest ?? '');
  }

  /**
   * After how many commits the state was this one, from the last to the first: more than one if a
   * commit has changed nothing, or a later one has changed it back.
   */
  findAll(digest: string, from: number, to: number): number[] {
    const counts: number[] = [];
    for (let count = to; count >= from; count--) {
      if (this.digestAt(count) === digest) counts.push(count);
    }
    return counts;
  }

  /** What differs from the state after so many commits. */
  describe(found: State, count: number): string {
    const expected = this.commits[count - 1]?.state ?? NOTHING;
    const differences: string[] = [];
    for (const id of new Set([...found.blobs.keys(), ...expected.blobs.keys()])) {
      const [a, b] = [found.blobs.get(id), expected.blobs.get(id)];
      if (a === undefined || b === undefined) {
        differences.push(`${id} ${a === undefined ? 'missing' : 'not expected'}`);
      } else if (sumOf(a) !== sumOf(b)) {
        const stamp = (bytes: Uint8Array) => new DataView(bytes.buffer).getUint32(4, true);
        differences.push(`${id} has stamp ${stamp(a)}, not ${stamp(b)}`);
      }
    }
    for (const owner of new Set([...found.roots.keys(), ...expected.roots.keys()])) {
      const [a = 0, b = 0] = [found.roots.get(owner), expected.roots.get(owner)];
      if (a !== b) differences.push(`root of ${owner} is ${a}, not ${b}`);
    }
    return differences.join(', ');
  }
}
