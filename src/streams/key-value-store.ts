/**
 * Keys and values behind a write-back cache (Kafka: CachingKeyValueStore).
 *
 * Owns:        nothing of its own.
 * Threads:     private to a thread.
 */

import type { Answer, ByteStore, Entries } from './byte-store.ts';
import { type Bytes, bytesOf, copyOf, prefixEnd } from './bytes.ts';
import { CachingStore } from './caching-store.ts';
import type { RecordContext } from './context.ts';
import { type Steps, settled } from './steps.ts';

/** A key with its value; without a value the key is deleted. */
export type KeyValue = readonly [key: Bytes, value: Bytes | undefined];

export class KeyValueStore<S extends ByteStore> extends CachingStore<S> {
  /** The value of a key, which is kept in the cache when it was read from the inner store. */
  override get(key: Bytes): Answer<S, Uint8Array | undefined> {
    this.assertOpen();
    return this.fetchRaw(bytesOf(key, 'A key'), true);
  }

  /**
   * Puts a value; undefined deletes the key. The cache has it when the call returns.
   *
   * @returns  over an asynchronous inner store a promise that waits while there is no room.
   * @throws {FlushError} `FLUSH_FAILED`: there was no room, and making it failed; the value is in the
   *         cache all the same. {WeirpoolError} `CACHE_CLOSED`. What the inner store says of an entry
   *         that it could never take: nothing was put.
   */
  put(key: Bytes, value: Bytes | undefined, context?: RecordContext): Answer<S, void> {
    return this.putRaw(copyOf(bytesOf(key, 'A key')), ownValue(value), context);
  }

  /**
   * Puts a value unless the key has one: undefined, or the value that is there. Nobody else's change
   * of the key comes in between; over an asynchronous inner store it takes effect when it has looked.
   */
  putIfAbsent(
    key: Bytes,
    value: Bytes,
    context?: RecordContext,
  ): Answer<S, Uint8Array | undefined> {
    this.assertWritable();
    const to = copyOf(bytesOf(key, 'A key'));
    const bytes = copyOf(bytesOf(value, 'A value'));
    return this.run(this.#putIfAbsent(to, bytes, context));
  }

  *#putIfAbsent(
    key: Uint8Array,
    value: Uint8Array,
    context: RecordContext | undefined,
  ): Steps<Uint8Array | undefined> {
    const there = yield* this.decideOn(key, (current) => {
      if (current === undefined) this.putCached(key, value, context);
      return current;
    });
    if (there === undefined) yield* settled(this.makeRoom());
    return there;
  }

  /** Puts one after the other. */
  putAll(entries: Iterable<KeyValue>, context?: RecordContext): Answer<S, void> {
    // Looked at before any of them is put.
    const copies = Array.from(entries, ([key, value]): [Uint8Array, Uint8Array | undefined] => [
      copyOf(bytesOf(key, 'A key')),
      ownValue(value),
    ]);
    return this.run(this.#putAll(copies, context));
  }

  *#putAll(
    entries: readonly [Uint8Array, Uint8Array | undefined][],
    context: RecordContext | undefined,
  ): Steps<void> {
    for (const [key, value] of entries) yield* settled(this.putRaw(key, value, context));
  }

  /**
   * Deletes a key: the value that it had at the call.
   *
   * @throws as `put`; what the inner store says when that value cannot be read: one that answers at once
   *         before the key is deleted, an asynchronous one afterwards.
   */
  delete(key: Bytes, context?: RecordContext): Answer<S, Uint8Array | undefined> {
    this.assertWritable();
    const from = copyOf(bytesOf(key, 'A key'));
    this.assertEntry(from, undefined);
    // Asked for before the tombstone can get there.
    const old = this.current(from);
    return this.run(this.#delete(from, old, context));
  }

  *#delete(
    key: Uint8Array,
    old: Answer<S, Uint8Array | undefined>,
    context: RecordContext | undefined,
  ): Steps<Uint8Array | undefined> {
    this.putCached(key, undefined, context);
    const room = this.makeRoom();
    // Both are awaited together: neither may reject unseen.
    const [value] = yield* settled(bothOf(old, room));
    return value;
  }

  /** Entries whose keys begin with `prefix` (KIP-614). */
  prefixScan(prefix: Bytes): Entries<S, [Uint8Array, Uint8Array]> {
    const low = copyOf(bytesOf(prefix, 'A prefix'));
    return this.range(low, prefixEnd(low));
  }

  /** All entries. */
  all(): Entries<S, [Uint8Array, Uint8Array]> {
    return this.range();
  }

  /** All entries, from the last key down (KIP-617). */
  reverseAll(): Entries<S, [Uint8Array, Uint8Array]> {
    return this.reverseRange();
  }
}

function ownValue(value: Bytes | undefined): Uint8Array | undefined {
  return value === undefined ? undefined : copyOf(bytesOf(value, 'A value'));
}

type Both = readonly [Uint8Array | undefined, unknown];

function bothOf(old: unknown, room: unknown): Both | Promise<Both> {
  if (!(room instanceof Promise)) return [old as Uint8Array | undefined, room];
  return Promise.all([old as Promise<Uint8Array | undefined>, room]);
}
