/**
 * Opening and joining a durable cache.
 *
 * Owns:        the tree of facts about it (format, session); which caches this thread has.
 * Invariants:  one thread opens a cache, the others join by its handle: they must share its words;
 *              B8   while any thread of a session lives nobody begins another one, whose words would
 *                   know nothing of what that thread does.
 * Threads:     any that has the pool.
 */

import { pid } from 'node:process';
import { WeirpoolError } from '../errors.ts';
import { H_OPENED_AT } from '../generated/layout.ts';
import type { PoolCore } from '../pool/core.ts';
import type { BufferPool } from '../pool/pool.ts';
import { type Codec, codecOf } from '../tree/codec.ts';
import type { Tree } from '../tree/tree.ts';
import type { Weirpool, WeirpoolHandle } from '../tree/weirpool.ts';
import { DurableEntries } from './durable-entries.ts';
import { type AttachOptions, capacityOf, type DurableOptions } from './options.ts';
import { FORMAT } from './record.ts';
import { SharedWords } from './words.ts';

/** For other threads: goes by `workerData` or `postMessage`. */
export interface CacheHandle {
  /** Of the Weirpool, which the thread joins first. */
  readonly db: WeirpoolHandle;
  readonly name: string;
  readonly durability: 'written' | 'synced';
  /** @internal */
  readonly words: SharedArrayBuffer;
  /** @internal Number of the session that the words are those of. */
  readonly session: number;
}

/** A cache as one thread has it. */
export interface OpenedCache<K, V> {
  readonly entries: DurableEntries<K, V>;
  readonly handle: CacheHandle;
  /** This thread has it no more. */
  readonly leave: () => void;
}

/** A thread that has a cache: its slot in the pool, and the slot's state, which its end changes. */
type Member = readonly [slot: number, state: number];

/** From an opening to the end of the last thread that has joined it. */
interface Session {
  readonly pid: number;
  /** Of the pool. */
  readonly openedAt: number;
  /** Tells it from earlier ones. */
  readonly number: number;
  readonly members: readonly Member[];
}

type Facts = Tree<string, unknown>;

const FACT_FORMAT = 'format';
const FACT_SESSION = 'session';
const NAME = 'cache';

const here = new WeakMap<BufferPool, Set<string>>();

/**
 * @throws {WeirpoolError} `CACHE_OPEN`, `FORMAT_UNSUPPORTED`, `READ_ONLY`. {TypeError}, {RangeError}.
 */
export function openCache<K, V>(db: Weirpool, options: DurableOptions<K, V>): OpenedCache<K, V> {
  const { name = NAME, durability = 'written' } = options;
  if (typeof name !== 'string' || name === '') throw new TypeError('name is a string, not empty');
  if (durability !== 'written' && durability !== 'synced') {
    throw new TypeError("durability is 'written' or 'synced'");
  }
  const words = SharedWords.make(capacityOf(options));
  const codecs = codecsOf(options);
  const place = placeOf(db, name);
  checkFormat(place.facts, name);
  const leaveThread = enter(db, name);
  try {
    const session = beginSession(place);
    const handle = { db: db.handle, name, durability, words: words.buffer, session };
    return whileJoined(place, leaveThread, () => {
      const prefix = prefixOf(name);
      const entries = new DurableEntries({ db, prefix, words, durability, ...codecs });
      entries.count();
      return { entries, handle };
    });
  } catch (error) {
    leaveThread();
    throw error;
  }
}

/**
 * @throws {WeirpoolError} `CACHE_OPEN`: this thread has it already; `CACHE_CLOSED`: it was closed, and
 *         opened again. {TypeError} no handle.
 */
export function joinCache<K, V>(
  db: Weirpool,
  handle: CacheHandle,
  options: AttachOptions<K, V>,
): OpenedCache<K, V> {
  const words = SharedWords.from((handle as Partial<CacheHandle> | null)?.words);
  const { name, durability, session } = handle;
  const codecs = codecsOf(options);
  const place = placeOf(db, name);
  const leaveThread = enter(db, name);
  try {
    joinSession(place, session);
    return whileJoined(place, leaveThread, () => {
      const prefix = prefixOf(name);
      const entries = new DurableEntries({ db, prefix, words, durability, ...codecs });
      return { entries, handle };
    });
  } catch (error) {
    leaveThread();
    throw error;
  }
}

/** Makes what this thread has of a cache whose session it is in; a failure leaves nothing behind. */
function whileJoined<K, V>(
  place: Place,
  leaveThread: () => void,
  make: () => Omit<OpenedCache<K, V>, 'leave'>,
): OpenedCache<K, V> {
  const leave = (): void => {
    leaveThread();
    leaveSession(place);
  };
  try {
    return { ...make(), leave };
  } catch (error) {
    leave();
    throw error;
  }
}

function prefixOf(name: string): string {
  return `write-behind/${name}`;
}

function codecsOf<K, V>(
  options: Pick<DurableOptions<K, V>, 'key' | 'value'>,
): {
  readonly key: Codec<K>;
  readonly value: Codec<V>;
} {
  return {
    key: codecOf<K>(options.key ?? 'utf8', 'key'),
    value: codecOf<V>(options.value ?? 'json', 'value'),
  };
}

function checkFormat(facts: Facts, name: string): void {
  const format = facts.get(FACT_FORMAT);
  if (format === undefined) facts.put(FACT_FORMAT, FORMAT);
  else if (format !== FORMAT) {
    throw new WeirpoolError(
      'FORMAT_UNSUPPORTED',
      `The cache ${JSON.stringify(name)} has another format than this version reads.`,
      { details: { format: String(format), known: FORMAT } },
    );
  }
}

/** Two objects of one thread would wait for each other. */
function enter({ pool }: Weirpool, name: string): () => void {
  const names = here.get(pool) ?? new Set();
  here.set(pool, names);
  if (names.has(name)) throw cacheOpen(name, 'this thread has it already: pass the object on');
  names.add(name);
  return () => {
    names.delete(name);
  };
}

// --- sessions ----------------------------------------------------------------------------------------

/** Where a thread finds the session of a cache. */
interface Place {
  readonly name: string;
  readonly facts: Facts;
  readonly core: PoolCore;
  readonly openedAt: number;
  readonly me: Member;
}

function placeOf(db: Weirpool, name: string): Place {
  const facts: Facts = db.tree(`${prefixOf(name)}/facts`, { key: 'utf8', value: 'json' });
  const { core } = facts.place.store;
  const { me: slot } = core.thread;
  const openedAt = core.memory.loadU64(H_OPENED_AT);
  return { name, facts, core, openedAt, me: [slot, core.control.attachedState(slot)] };
}

/** The members of the session that live; none if it was of another pool. */
function membersOf(session: Session | undefined, { core, openedAt }: Place): readonly Member[] {
  if (session?.pid !== pid || session.openedAt !== openedAt) return [];
  return session.members.filter(([slot, state]) => core.control.attachedState(slot) === state);
}

function isOther([slot]: Member, { me }: Place): boolean {
  return slot !== me[0];
}

/** The number of a new session, of which this thread is the only member. */
function beginSession(place: Place): number {
  const { facts, name, openedAt, me, core } = place;
  // Somebody who has died without a word may not be known to be dead yet.
  core.thread.lookAround();
  for (;;) {
    const seen = facts.get(FACT_SESSION) as Session | undefined;
    if (membersOf(seen, place).some((member) => isOther(member, place))) {
      throw cacheOpen(name, 'another thread has it: attach by its handle');
    }
    const number = (seen?.number ?? 0) + 1;
    const mine: Session = { pid, openedAt, number, members: [me] };
    if (facts.compareAndSwap(FACT_SESSION, seen, mine) !== undefined) return number;
  }
}

function joinSession(place: Place, number: number): void {
  const { facts, name, openedAt, me } = place;
  for (;;) {
    const seen = facts.get(FACT_SESSION) as Session | undefined;
    const isIt = seen?.number === number && seen.pid === pid && seen.openedAt === openedAt;
    if (!isIt) {
      const message = `The cache ${JSON.stringify(name)} of this handle was closed, and opened again.`;
      throw new WeirpoolError('CACHE_CLOSED', message);
    }
    const others = membersOf(seen, place).filter((member) => isOther(member, place));
    const joined: Session = { ...seen, members: [...others, me] };
    if (facts.compareAndSwap(FACT_SESSION, seen, joined) !== undefined) return;
  }
}

/** The session itself stays: whoever has its handle may go on with its words. */
function leaveSession(place: Place): void {
  const { facts, core, me } = place;
  // The slot was given back: that has ended the membership.
  if (core.control.attachedState(me[0]) !== me[1]) return;
  for (;;) {
    const seen = facts.get(FACT_SESSION) as Session | undefined;
    if (seen === undefined) return;
    const left: Session = {
      ...seen,
      members: membersOf(seen, place).filter((member) => isOther(member, place)),
    };
    if (facts.compareAndSwap(FACT_SESSION, seen, left) !== undefined) return;
  }
}

function cacheOpen(name: string, why: string): WeirpoolError {
  const message = `The cache ${JSON.stringify(name)} is open: ${why}.`;
  return new WeirpoolError('CACHE_OPEN', message, { details: { name } });
}
