/**
 * Pools with a log for tests: changes as lists of steps, which are also the records, and copies of
 * a directory as a killed process leaves it.
 */
import { cpSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { PoolOptions } from '../../../src/pool/options.ts';
import { BufferPool } from '../../../src/pool/pool.ts';
import type { Owners } from '../../../src/recovery/replay.ts';
import type { BulkRange } from '../../../src/txn/bulk-load.ts';
import type { Op } from '../../../src/txn/op.ts';
import type { ChangeOptions } from '../../../src/txn/transactions.ts';
import type { LogRecord } from '../../../src/wal/format.ts';
import { BLOB_BYTES, closeAfterTest, temporaryDirectory } from './support.ts';

/** Blobs are full of one value. */
export type Step =
  | { readonly create: number }
  | { readonly put: number; readonly value: number }
  | { readonly delete: number }
  | { readonly root: number; readonly id: number }
  | { readonly adopt: Pick<BulkRange, 'first' | 'last'> };

export function encode(steps: readonly Step[]): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(steps));
}

export function decode({ payload }: Pick<LogRecord, 'payload'>): Step[] {
  return JSON.parse(new TextDecoder().decode(payload)) as Step[];
}

/** Acquires what the steps need: the blobs that were created, and what is to be done when sealed. */
export function acquire(op: Op, steps: readonly Step[]) {
  const made: number[] = [];
  const writes: (() => void)[] = [];
  for (const step of steps) {
    if ('create' in step) {
      const blob = op.create();
      made.push(blob.id);
      writes.push(() => blob.bytes.fill(step.create));
    } else if ('put' in step) {
      const blob = op.write(step.put);
      writes.push(() => blob.bytes.fill(step.value));
    } else if ('delete' in step) op.delete(step.delete);
    else if ('root' in step) op.setRoot(step.root, step.id);
    else op.adopt(step.adopt);
  }
  const fill = (): void => {
    for (const write of writes) write();
  };
  return { made, fill };
}

/** Makes the change: the ids that were created. */
export function change(
  pool: BufferPool,
  steps: readonly Step[],
  options: ChangeOptions = {},
): number[] {
  return pool.change((op) => {
    const { made, fill } = acquire(op, steps);
    const record = encode(steps);
    op.seal(record.length);
    fill();
    op.commit(record);
    return made;
  }, options);
}

export const OWNERS: Owners = {
  0: {
    replay(record, op) {
      const { fill } = acquire(op, decode(record));
      op.seal();
      fill();
    },
  },
};

/** Nothing happens by itself, and little is set aside. */
export const LOGGED = {
  frames: 16,
  blobBytes: BLOB_BYTES,
  frameWaitMs: 200,
  log: { ringBytes: 16384, bytesMax: 1 << 20, intervalMs: 0 },
  checkpoint: { intervalMs: 0, ageMs: 0, dirtyFrames: 0 },
  owners: OWNERS,
  threads: 'inline',
} as const satisfies PoolOptions;

export async function openLogged(
  directory: string,
  options: PoolOptions = {},
): Promise<BufferPool> {
  const pool = await BufferPool.open(directory, { ...LOGGED, ...options });
  closeAfterTest(pool);
  return pool;
}

/** What is left when the process that has the directory open is killed now. */
export function killed(directory: string): string {
  const copy = temporaryDirectory();
  cpSync(directory, copy, { recursive: true });
  // Their process is dead for whoever opens the copy.
  for (const name of readdirSync(copy)) if (name.startsWith('lock-')) rmSync(join(copy, name));
  return copy;
}
