/** Pools with a log, in directories of their own: what the suites of durability share. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { H_LOG_BASE, H_LOG_DISK_BYTES, H_LOG_TAIL } from '../../src/generated/layout.ts';
import type { BufferPool } from '../../src/index.ts';

/** Payload of every record, in bytes. */
export const PAYLOAD_BYTES = 128;
/** The same with its header, as docs/format.md has it: so far the seq moves with each record. */
export const RECORD_BYTES: number = 40 + PAYLOAD_BYTES;

/** No rounds but those that are asked for. */
export const NO_ROUNDS = { intervalMs: 0, ageMs: 0, dirtyFrames: 0 } as const;

/** Runs with a directory of its own, on a real disk where the system's temporary one is. */
export async function withDirectory(
  name: string,
  body: (directory: string) => Promise<void>,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), `weirpool-bench-${name}-`));
  try {
    await body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function word({ handle }: BufferPool, offset: number): number {
  const words = new BigUint64Array(handle.memory.control.buffer, offset, 1);
  return Number(Atomics.load(words, 0));
}

/** Seq of the last record that any thread has appended. */
export function logTail(pool: BufferPool): number {
  return word(pool, H_LOG_TAIL);
}

/** Bytes of records that are in no round yet. */
export function logBacklog(pool: BufferPool): number {
  return logTail(pool) - word(pool, H_LOG_BASE);
}

/** Bytes of the log's files. */
export function logDiskBytes(pool: BufferPool): number {
  return word(pool, H_LOG_DISK_BYTES);
}
