/**
 * Values of keys in sessions, behind a write-back cache (Kafka: CachingSessionStore,
 * SessionKeySchema).
 *
 *   key    the user's key | end of the session, 8 bytes big-endian | its start, 8 bytes big-endian
 *   value  as it was put
 *
 * Owns:        the format.
 * Threads:     private to a thread.
 */

import type { Answer, ByteStore, Entries } from './byte-store.ts';
import { type Bytes, bytesOf, copyOf, readTime, TIME_BYTES, TIME_MAX, writeTime } from './bytes.ts';
import { CachingStore } from './caching-store.ts';
import type { RecordContext } from './context.ts';
import type { MakeItem } from './merge.ts';
import {
  areCrossed,
  endOfKeys,
  isKeyBetween,
  keyWithTime,
  lowerTime,
  timeOf,
  upperTime,
} from './times.ts';

const SUFFIX_BYTES = 2 * TIME_BYTES;

/** A session of a key, from its first record to its last one, in milliseconds. */
export interface Session {
  readonly key: Bytes;
  readonly start: number;
  readonly end: number;
}

/** A session with its value. */
export interface SessionEntry extends Session {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/**
 * The key that a session is stored by.
 *
 * @throws {RangeError} {TypeError} times that are none, or an end before the start.
 */
export function sessionKey({ key, start, end }: Session): Uint8Array {
  timeOf(start, 'The start of a session');
  timeOf(end, 'The end of a session');
  if (end < start) throw new RangeError(`A session cannot end at ${end} and start at ${start}`);
  const bytes = bytesOf(key, 'A key');
  const stored = keyWithTime(bytes, end, TIME_BYTES);
  writeTime(stored, bytes.length + TIME_BYTES, start);
  return stored;
}

export class SessionStore<S extends ByteStore> extends CachingStore<S> {
  /**
   * Puts the value of a session; undefined removes it. Sessions of a key may overlap.
   *
   * @throws {RangeError} as `sessionKey`. Otherwise as `KeyValueStore.put`.
   */
  put(session: Session, value: Bytes | undefined, context?: RecordContext): Answer<S, void> {
    const stored = sessionKey(session);
    const bytes = value === undefined ? undefined : copyOf(bytesOf(value, 'A value'));
    return this.putRaw(stored, bytes, context);
  }

  /** Removes a session. Removing what is not there is no error. */
  remove(session: Session, context?: RecordContext): Answer<S, void> {
    return this.putRaw(sessionKey(session), undefined, context);
  }

  /** As of all stores; `storeKey` must be one of `sessionKey`. */
  override putInner(storeKey: Bytes, value: Bytes): Answer<S, void> {
    const key = bytesOf(storeKey, 'A stored key');
    if (!isSessionKey(key)) {
      throw new RangeError('Not the key of a session: key bytes and two times of 8 bytes');
    }
    return super.putInner(key, value);
  }

  /** The value of one session. */
  fetchSession(key: Bytes, start: number, end: number): Answer<S, Uint8Array | undefined> {
    this.assertOpen();
    return this.fetchRaw(sessionKey({ key, start, end }), false);
  }

  /**
   * Sessions of a key that end at `earliestEnd` or later and start at `latestStart` or earlier: those
   * that a record between the two would be merged with. In order of end, then start. A negative
   * `earliestEnd`, or none, means all; a `latestStart` that is undefined or Infinity is unlimited.
   */
  findSessions(key: Bytes, earliestEnd?: number, latestStart?: number): Entries<S, SessionEntry> {
    return this.#ofKey(copyOf(bytesOf(key, 'A key')), [earliestEnd, latestStart], false);
  }

  /** The same from the last one down (KIP-617). */
  backwardFindSessions(
    key: Bytes,
    earliestEnd?: number,
    latestStart?: number,
  ): Entries<S, SessionEntry> {
    return this.#ofKey(copyOf(bytesOf(key, 'A key')), [earliestEnd, latestStart], true);
  }

  /**
   * The same of all keys from `keyFrom` to `keyTo`, both inclusive; undefined: from the first, to the
   * last (KIP-763). In the order of the stored keys: by key, end and start, if keys have one length.
   */
  findSessionsOfKeys(
    keyFrom: Bytes | undefined,
    keyTo: Bytes | undefined,
    earliestEnd?: number,
    latestStart?: number,
  ): Entries<S, SessionEntry> {
    return this.#ofKeys([keyFrom, keyTo], [earliestEnd, latestStart], false);
  }

  /** The same from the last stored key down (KIP-617). */
  backwardFindSessionsOfKeys(
    keyFrom: Bytes | undefined,
    keyTo: Bytes | undefined,
    earliestEnd?: number,
    latestStart?: number,
  ): Entries<S, SessionEntry> {
    return this.#ofKeys([keyFrom, keyTo], [earliestEnd, latestStart], true);
  }

  /** All sessions of a key, or of all keys from one to another. */
  fetch(keyFrom: Bytes, keyTo?: Bytes): Entries<S, SessionEntry> {
    return keyTo === undefined
      ? this.findSessions(keyFrom)
      : this.findSessionsOfKeys(keyFrom, keyTo);
  }

  /** The same from the last stored key down (KIP-617). */
  backwardFetch(keyFrom: Bytes, keyTo?: Bytes): Entries<S, SessionEntry> {
    return keyTo === undefined
      ? this.backwardFindSessions(keyFrom)
      : this.backwardFindSessionsOfKeys(keyFrom, keyTo);
  }

  /** All sessions. */
  all(): Entries<S, SessionEntry> {
    return this.findSessionsOfKeys(undefined, undefined);
  }

  /** The same from the last stored key down (KIP-617). */
  backwardAll(): Entries<S, SessionEntry> {
    return this.backwardFindSessionsOfKeys(undefined, undefined);
  }

  #ofKey(key: Uint8Array, times: Times, reverse: boolean): Entries<S, SessionEntry> {
    const [earliestEnd, latestStart] = [lowerTime(times[0]), upperTime(times[1])];
    const length = key.length + SUFFIX_BYTES;
    // Between the bounds all begin with the key; those of other keys are longer.
    const make: MakeItem<SessionEntry> = (slot) => {
      if (slot.keyEnd - slot.keyAt !== length) return undefined;
      const start = readTime(slot.key, slot.keyEnd - TIME_BYTES);
      if (start > latestStart) return undefined;
      const end = readTime(slot.key, slot.keyEnd - SUFFIX_BYTES);
      return { key, start, end, value: slot.valueFrom() };
    };
    const isEmpty = earliestEnd > TIME_MAX || latestStart < 0;
    const low = isEmpty ? key : keyWithTime(key, earliestEnd);
    const high = isEmpty ? key : keyWithTime(key, TIME_MAX + 1);
    return this.entries({ low, high, reverse }, make);
  }

  #ofKeys(keys: Keys, times: Times, reverse: boolean): Entries<S, SessionEntry> {
    const [keyFrom, keyTo] = keys.map((key) =>
      key === undefined ? undefined : copyOf(bytesOf(key, 'A key')),
    );
    const [earliestEnd, latestStart] = [lowerTime(times[0]), upperTime(times[1])];
    const make: MakeItem<SessionEntry> = (slot) => {
      const at = slot.keyEnd - SUFFIX_BYTES;
      if (at < slot.keyAt) return undefined;
      const end = readTime(slot.key, at);
      const start = readTime(slot.key, at + TIME_BYTES);
      const isInTime = end >= earliestEnd && start <= latestStart;
      if (!isInTime || !isKeyBetween(slot, at, keyFrom, keyTo)) return undefined;
      return { key: copyOf(slot.keyBut(SUFFIX_BYTES)), start, end, value: slot.valueFrom() };
    };
    const isEmpty = earliestEnd > TIME_MAX || latestStart < 0 || areCrossed(keyFrom, keyTo);
    const low = isEmpty ? NO_KEY : keyFrom;
    const high = isEmpty ? NO_KEY : keyTo && endOfKeys(keyTo, TIME_MAX);
    return this.entries({ low, high, reverse }, make);
  }
}

type Times = readonly [earliestEnd: number | undefined, latestStart: number | undefined];
type Keys = readonly [from: Bytes | undefined, to: Bytes | undefined];

const NO_KEY = new Uint8Array(0);

function isSessionKey(stored: Uint8Array): boolean {
  const at = stored.length - SUFFIX_BYTES;
  if (at < 0) return false;
  const [end, start] = [readTime(stored, at), readTime(stored, at + TIME_BYTES)];
  return start >= 0 && start <= end && end <= TIME_MAX;
}
