/** Pools for the tests in this folder: 4 frames of 4 KiB, in memory or in a temporary directory. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { WeirpoolError } from '../../../src/errors.ts';
import {
  A_RECENCY,
  DESC_A,
  DESC_SHIFT,
  H_STATUS,
  S_NODE_THREAD,
  SLOT_BYTES,
  SLOTS,
  SLOTS_MAX,
} from '../../../src/generated/layout.ts';
import { ThreadMemory } from '../../../src/memory/pool-memory.ts';
import type { PoolOptions } from '../../../src/pool/options.ts';
import { BufferPool } from '../../../src/pool/pool.ts';
import type { PoolStats } from '../../../src/pool/stats.ts';
import type { BackendContext, StoreBackend } from '../../../src/store/contract.ts';
import { FaultyBackend } from '../../../src/store/faulty-backend.ts';
import { createMemoryStore, MemoryBackend } from '../../../src/store/memory-backend.ts';

export const BLOB_BYTES = 4096;
export const FRAMES = 4;

export const SMALL = { blobBytes: BLOB_BYTES, frames: FRAMES, frameWaitMs: 20 } as const;

/** An empty directory that is removed when the test is over. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-pool-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A small pool that is closed when the test is over, whatever became of it. */
export async function openSmall(
  directory = 'memory',
  options: PoolOptions = { store: 'memory' },
): Promise<BufferPool> {
  const pool = await BufferPool.open(directory, { ...SMALL, ...options });
  closeAfterTest(pool);
  return pool;
}

export function closeAfterTest(pool: BufferPool): void {
  onTestFinished(async () => {
    await pool.close().catch(() => undefined);
  });
}

/** A pool whose store is in this thread, fails as planned and counts its calls. */
export async function openFaulty(options: PoolOptions = {}) {
  let backend: FaultyBackend | undefined;
  const data = createMemoryStore(BLOB_BYTES, { capacityBytes: 256 * BLOB_BYTES });
  const store = (context: BackendContext): StoreBackend => {
    backend = new FaultyBackend(new MemoryBackend(context, data));
    return backend;
  };
  const pool = await openSmall('unused', { store, threads: 'inline', ...options });
  return { pool, backend: backend as FaultyBackend };
}

export function filled(value: number): Uint8Array {
  return new Uint8Array(BLOB_BYTES).fill(value);
}

/** Allocates and writes `count` blobs; blob `id` is full of `id`. */
export function writeBlobs(pool: BufferPool, count: number): number[] {
  const ids = Array.from({ length: count }, () => pool.allocate());
  for (const id of ids) pool.writeBlob(id, filled(id));
  return ids;
}

/** The one value that all bytes of the blob have; NaN if they differ. */
export function blobValue(pool: BufferPool, id: number): number {
  const bytes = new Uint8Array(BLOB_BYTES);
  pool.readInto(id, bytes);
  return uniform(bytes);
}

export function uniform(bytes: Uint8Array): number {
  const value = bytes[0] as number;
  return bytes.every((byte) => byte === value) ? value : Number.NaN;
}

/** Changes the blob in its frame: dirty from then on. */
export function dirty(pool: BufferPool, id: number, value: number): void {
  const guard = pool.write(id);
  guard.bytes.fill(value);
  guard.release();
}

export const COUNTERS = [
  'hits',
  'misses',
  'restarts',
  'fallbacks',
  'evictions',
  'loads',
  'loadFailures',
  'parks',
] as const satisfies readonly (keyof PoolStats)[];

export function counters(pool: BufferPool): Record<string, number> {
  const stats = pool.stats();
  return Object.fromEntries(COUNTERS.map((name) => [name, stats[name]]));
}

/** The pool's words as this thread sees them. */
export function look(pool: BufferPool): ThreadMemory {
  return new ThreadMemory(pool.handle.memory);
}

export function recencies(pool: BufferPool): number[] {
  const memory = look(pool);
  const at = (frame: number): number => DESC_A + frame * 2 ** DESC_SHIFT + A_RECENCY;
  return Array.from({ length: memory.shared.frames }, (_, frame) => memory.load(at(frame)));
}

/** Numbers that no thread has. */
const OTHER_THREADS = 1_000_000;

/**
 * Attaches to the pool in this thread as if it were another one: for the pool the two are threads
 * of their own, only that neither can park for the other. A thread is refused a second place, so
 * those that it has are given the numbers of other threads.
 */
export async function attachOther(pool: BufferPool): Promise<BufferPool> {
  const memory = look(pool);
  for (let slot = 0; slot < SLOTS_MAX; slot++) {
    memory.store(SLOTS + slot * SLOT_BYTES + S_NODE_THREAD, OTHER_THREADS + slot);
  }
  return BufferPool.attach(pool.handle);
}

export function setStatus(pool: BufferPool, status: number): void {
  look(pool).store(H_STATUS, status);
}

export interface Caught {
  readonly code: string | undefined;
  readonly error: Error;
  readonly details: Readonly<Record<string, unknown>>;
}

function caught(error: unknown): Caught {
  if (!(error instanceof Error)) throw new Error(`not an error: ${String(error)}`);
  const known = error instanceof WeirpoolError ? error : undefined;
  return { code: known?.code ?? error.name, error, details: known?.details ?? {} };
}

/** What `action` throws; its code is the class's name for errors without one. */
export function errorOf(action: () => unknown): Caught {
  try {
    action();
  } catch (error) {
    return caught(error);
  }
  throw new Error('nothing was thrown');
}

export async function rejectionOf(promise: Promise<unknown>): Promise<Caught> {
  try {
    await promise;
  } catch (error) {
    return caught(error);
  }
  throw new Error('nothing was thrown');
}
