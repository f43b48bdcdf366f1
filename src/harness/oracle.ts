/**
 * The oracle: what was committed, what was promised, and what may be left after a crash.
 *
 * Owns:        the facts after each commit, in log order, and how many commits were acknowledged as
 *              written and as synced.
 * Invariants:  synced <= written <= commits. After the death of the process the state must be the
 *              one after k commits with written <= k <= issued, after a power loss with synced <= k
 *              <= issued: the prefixes of the log that are promised, and nothing else. Issued are
 *              the commits, and one more while an operation is under way.
 * Threads:     one; several threads report to it in the order of their seqs.
 */
import { createHash } from 'node:crypto';
import type { Acknowledged, Changes, Facts } from './subject.ts';

/** @typeParam N  What is kept beside a commit. */
export interface Commit<N = undefined> {
  readonly seq: number;
  readonly facts: Facts;
  readonly digest: string;
  readonly note: N;
}

/** How much was committed and promised at one moment, in commits. */
export interface Mark {
  readonly issued: number;
  readonly written: number;
  readonly synced: number;
  readonly idMax: number;
  readonly seqMax: number;
}

/**
 * How a state has come to be: everybody has stopped and says what is there, the store was closed,
 * the process has died, the power was lost.
 */
export type End = 'quiet' | 'close' | 'death' | 'power loss';

/** The fewest commits that must be there after such an end. */
export function leastAfter(
  end: End,
  { issued, written, synced }: Pick<Mark, 'issued' | 'written' | 'synced'>,
): number {
  if (end === 'death') return written;
  return end === 'power loss' ? synced : issued;
}

const NOTHING: Facts = new Map();
const DIFFERENCES_MAX = 8;

export function digestOf(facts: Facts): string {
  const hash = createHash('md5');
  for (const name of [...facts.keys()].sort()) hash.update(`${name}\0${facts.get(name)}\n`);
  return hash.digest('base64');
}

const EMPTY_DIGEST = digestOf(NOTHING);

/** The facts after a change. */
export function changed(facts: Facts, changes: Changes): Facts {
  const next = new Map(facts);
  for (const [name, value] of changes) {
    if (value === undefined) next.delete(name);
    else next.set(name, value);
  }
  return next;
}

/** What differs between what was found and what is expected, for people. */
export function differences(found: Facts, expected: Facts): string {
  const all: string[] = [];
  for (const name of new Set([...expected.keys(), ...found.keys()])) {
    const [is, should] = [found.get(name), expected.get(name)];
    if (is === should) continue;
    if (is === undefined) all.push(`${name} is missing`);
    else if (should === undefined) all.push(`${name} is not expected`);
    else all.push(`${name} is ${is}, not ${should}`);
  }
  const more = all.length > DIFFERENCES_MAX ? `, and ${all.length - DIFFERENCES_MAX} more` : '';
  return all.slice(0, DIFFERENCES_MAX).join(', ') + more;
}

export class Oracle<N = undefined> {
  readonly commits: Commit<N>[];
  synced = 0;
  written = 0;
  /** Highest blob id and seq that anybody has heard of. */
  idMax = 0;
  seqMax = 0;
  /** What came back although it must not: seqs, ids, blobs that differ. */
  readonly violations: string[] = [];
  /** The operation that is under way. */
  #pending: { readonly facts: Facts; readonly digest: string } | undefined;

  constructor(commits: readonly Commit<N>[] = []) {
    this.commits = [...commits];
  }

  get facts(): Facts {
    return this.commits.at(-1)?.facts ?? NOTHING;
  }

  get last(): Commit<N> | undefined {
    return this.commits.at(-1);
  }

  /** The same up to a commit, which is all that is left: it is safe, and what came later is lost. */
  after(count: number, { idMax, seqMax }: Pick<Mark, 'idMax' | 'seqMax'>): Oracle<N> {
    const oracle = new Oracle<N>(this.commits.slice(0, count));
    const pending = this.#pending;
    if (count > this.commits.length && pending !== undefined) {
      oracle.commits.push({ seq: seqMax, ...pending, note: undefined as N });
    }
    oracle.synced = count;
    oracle.written = count;
    oracle.idMax = idMax;
    oracle.seqMax = seqMax;
    return oracle;
  }

  /** The same, as it is now: what comes later is not noted in it. */
  fork(): Oracle<N> {
    const oracle = this.after(this.commits.length, this);
    oracle.#pending = this.#pending;
    oracle.synced = this.synced;
    oracle.written = this.written;
    return oracle;
  }

  mark(): Mark {
    const { synced, written, idMax, seqMax } = this;
    const issued = this.commits.length + (this.#pending === undefined ? 0 : 1);
    return { issued, synced, written, idMax, seqMax };
  }

  /** An operation begins: from now on what it changes may be there. */
  begin(changes: Changes): void {
    if (this.#pending !== undefined) throw new Error('how the last operation ended is undecided');
    const facts = changed(this.facts, changes);
    this.#pending = { facts, digest: digestOf(facts) };
  }

  /** The operation was not done. */
  cancel(): void {
    this.#pending = undefined;
  }

  /** Whether an operation has begun of which nobody has said how it ended. */
  get isUndecided(): boolean {
    return this.#pending !== undefined;
  }

  /** The operation was done: it is the last commit now. A seq that nobody was told is undefined. */
  commit(seq: number | undefined, note: N): void {
    if (this.#pending === undefined) throw new Error('no operation has begun');
    const { facts, digest } = this.#pending;
    this.#pending = undefined;
    if (seq !== undefined) this.#noteSeq(seq);
    this.commits.push({ seq: seq ?? this.seqMax, facts, digest, note });
  }

  /** Notes a commit that was not announced. */
  add(seq: number, changes: Changes, note: N): void {
    this.begin(changes);
    this.commit(seq, note);
  }

  #noteSeq(seq: number): void {
    if (seq <= this.seqMax) this.violations.push(`seq ${seq} again, after ${this.seqMax}`);
    this.seqMax = Math.max(this.seqMax, seq);
  }

  /** A blob was created with this id. */
  noteId(id: number): void {
    if (id <= this.idMax) this.violations.push(`id ${id} again, after ${this.idMax}`);
    this.idMax = Math.max(this.idMax, id);
  }

  acknowledge(level: Acknowledged, count: number = this.commits.length): void {
    this.written = Math.max(this.written, count);
    if (level === 'synced') this.synced = Math.max(this.synced, count);
  }

  digestAt(count: number): string {
    if (count === 0) return EMPTY_DIGEST;
    return this.commits[count - 1]?.digest ?? this.#pending?.digest ?? '';
  }

  /**
   * After how many commits the facts were these, from the last to the first: more than one if a
   * commit has changed nothing, or a later one has changed it back.
   */
  findAll(facts: Facts, from: number, to: number): number[] {
    const digest = digestOf(facts);
    const counts: number[] = [];
    for (let count = to; count >= from; count--) {
      if (this.digestAt(count) === digest) counts.push(count);
    }
    return counts;
  }

  /** Why facts are none of those that may be there: the difference to the nearest of them. */
  explain(found: Facts, least: number, most: number): string {
    const older = this.findAll(found, 0, this.commits.length)[0];
    if (older !== undefined)
      return `no state from ${least} to ${most}: it is the one after ${older}`;
    const texts = Array.from({ length: most - least + 1 }, (_, n) => {
      const count = least + n;
      const expected = count > this.commits.length ? this.#pending?.facts : this.factsAt(count);
      return differences(found, expected ?? NOTHING);
    });
    const nearest = texts.reduce((best, text) => (text.length < best.length ? text : best));
    return `no state from ${least} to ${most}: ${nearest}`;
  }

  /** Facts after so many commits. */
  factsAt(count: number): Facts {
    return this.commits[count - 1]?.facts ?? NOTHING;
  }
}
