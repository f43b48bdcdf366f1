/** What is held in a pool although nobody can hold anything. */
import {
  B_WAITERS,
  DESC_B,
  DESC_SHIFT,
  FRAME_VALID,
  H_FRAME_WAITERS,
  LOCKS,
  LOCKS_END,
} from '../../../src/generated/layout.ts';
import type { BufferPool } from '../../../src/index.ts';
import { ThreadMemory } from '../../../src/memory/pool-memory.ts';

const LINE = 64;

const LOOKS_MAX = 300;
const PAUSE_MS = 10;

/**
 * Services go on, and hold what they need for moments: only what stays is wrong.
 *
 * @param threads  That are attached, services included.
 */
export async function heldOf(pool: BufferPool, threads: number): Promise<string[]> {
  for (let look = 1; ; look++) {
    const found = heldNow(pool, threads);
    if (found.length === 0 || look === LOOKS_MAX) return found;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

function heldNow(pool: BufferPool, threads: number): string[] {
  const memory = new ThreadMemory(pool.handle.memory);
  const { control } = memory;
  const found: string[] = [];
  const note = (value: number, what: string): void => {
    if (value !== 0) found.push(`G1 ${what}: ${value} although nobody lives who has it`);
  };
  for (let frame = 0; frame < memory.shared.frames; frame++) {
    note(control.holdsOf(frame), `holds of frame ${frame}`);
    note(memory.load(DESC_B + frame * 2 ** DESC_SHIFT + B_WAITERS), `waiters of frame ${frame}`);
    if (control.stateOf(frame) === FRAME_VALID) {
      note(control.latchFlags(frame), `latch flags of frame ${frame}`);
    }
  }
  note(memory.load(H_FRAME_WAITERS), 'threads that wait for a frame');
  for (let lock = LOCKS; lock < LOCKS_END; lock += LINE) {
    note(control.lockOwner(lock), `owner of the lock at ${lock}`);
  }
  note(pool.stats().loading, 'frames that load');
  note(pool.stats().threads - threads, 'threads too many');
  return found;
}
