/** What optimistic reads are made of: the caller's callback, and what comes of an attempt. */
import type { Frame } from '../memory/frame.ts';

/** What `tryOptimistic` gives when nothing valid was read: not cached, or changed meanwhile. */
export const RESTART: unique symbol = Symbol('weirpool.restart');

/**
 * A reading callback. It may run several times and may see bytes that are changing: what it
 * returns or throws counts only once the bytes have been found untouched. It must not write, and
 * must check every length and offset that it reads before it uses it.
 */
export type Read<T, A> = (frame: Frame, arg: A) => T;
