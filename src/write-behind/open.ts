/**
 * Opening and joining a durable cache.
 *
 * Owns:        the tree of facts about it (format, who has it open); which caches this thread has.
 * Invariants:  one thread opens a cache, the others join by its handle: they must share its words.
 * Threads:     any that has the pool.
 */

import { pid } from 'node:process';
import { threadId } from 'node:worker_threads';
import { WeirpoolError } from '../errors.ts';
import { H_OPENED_AT, S_NODE_THREAD, SLOT_BYTES, SLOTS, SLOTS_MAX } from '../generated/layout.ts';
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
}

/** A cache as one thread has it. */
export interface OpenedCache<K, V> {
  readonly entries: DurableEntries<K, V>;
  readonly handle: CacheHandle;
  /** This thread has it no more. */
  readonly leave: () => void;
}

/** Who has a cache open. */
interface Session {
  readonly pid: number;
  readonly openedAt: number;
  readonly thread: number;
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
  const handle = { db: db.handle, name, durability, words: words.buffer };
  const codecs = codecsOf(options);
  const facts = db.tree(`${prefixOf(name)}/facts`, { key: 'utf8', value: 'json' });
  checkFormat(facts, name);
  const leave = enter(db, name);
  try {
    claimSession(facts, db, name);
    const entries = new DurableEntries({
      db,
      prefix: prefixOf(name),
      words,
      durability,
      ...codecs,
    });
    entries.count();
    return {
      entries,
      handle,
      leave: () => {
        leave();
        facts.delete(FACT_SESSION);
      },
    };
  } catch (error) {
    leave();
    throw error;
  }
}

/** @throws {WeirpoolError} `CACHE_OPEN`: this thread has it already. {TypeError} no handle. */
export function joinCache<K, V>(
  db: Weirpool,
  handle: CacheHandle,
  options: AttachOptions<K, V>,
): OpenedCache<K, V> {
  const words = SharedWords.from((handle as Partial<CacheHandle> | null)?.words);
  const { name, durability } = handle;
  const codecs = codecsOf(options);
  const leave = enter(db, name);
  const entries = new DurableEntries({ db, prefix: prefixOf(name), words, durability, ...codecs });
  return { entries, handle, leave };
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

function claimSession(facts: Facts, db: Weirpool, name: string): void {
  const { core } = db.tree(`${prefixOf(name)}/facts`).place.store;
  const openedAt = core.memory.loadU64(H_OPENED_AT);
  const mine: Session = { pid, openedAt, thread: threadId };
  for (;;) {
    const seen = facts.get(FACT_SESSION) as Session | undefined;
    const isOfPool = seen?.pid === pid && seen.openedAt === openedAt;
    if (isOfPool && seen.thread !== threadId && hasThread(core, seen.thread)) {
      throw cacheOpen(name, 'another thread has opened it: attach by its handle');
    }
    if (facts.compareAndSwap(FACT_SESSION, seen, mine) !== undefined) return;
  }
}

/** Whether a thread of that number has the pool. */
function hasThread({ control, memory }: PoolCore, thread: number): boolean {
  for (let slot = 0; slot < SLOTS_MAX; slot++) {
    if (control.attachedState(slot) === 0) continue;
    if (memory.load(SLOTS + slot * SLOT_BYTES + S_NODE_THREAD) === thread) return true;
  }
  return false;
}

function cacheOpen(name: string, why: string): WeirpoolError {
  const message = `The cache ${JSON.stringify(name)} is open: ${why}.`;
  return new WeirpoolError('CACHE_OPEN', message, { details: { name } });
}
