/** Pools with a log on a simulated disk, in one thread: 4 frames of 4 KiB. */
import { onTestFinished } from 'vitest';
import type { FileSystem } from '../../../src/fs/file-system.ts';
import { patched, systemError } from '../../../src/harness/faulty-file-system.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import type { PoolOptions } from '../../../src/pool/options.ts';
import { BufferPool } from '../../../src/pool/pool.ts';
import type { Owners } from '../../../src/recovery/replay.ts';
import type { BlobId } from '../../../src/store/contract.ts';

export const DIRECTORY = '/sim';
export const INDEX = 0;
export const NO_ROUNDS = { intervalMs: 0, ageMs: 0, dirtyFrames: 0 } as const;

/** For tests in which waits are in vain. */
export const BRIEF = { frameWaitMs: 50 } as const;

/** A record of these owners is a blob id and its new value; a created blob comes without an id. */
export const REGISTERS: Owners = {
  [INDEX]: {
    replay(record, op) {
      const [id = 0, value = 0] = words(record.payload);
      const blob = id === 0 ? op.create() : op.write(id);
      op.seal(record.payload.length);
      blob.u32[0] = value;
    },
  },
};

export function words(bytes: Uint8Array): number[] {
  return [...new Uint32Array(bytes.slice().buffer)];
}

export function record(...values: number[]): Uint8Array {
  return new Uint8Array(new Uint32Array(values).buffer);
}

export async function openLogged(
  fileSystem: FileSystem | undefined,
  options: PoolOptions = {},
  directory = DIRECTORY,
): Promise<BufferPool> {
  const pool = await BufferPool.open(directory, {
    blobBytes: 4096,
    frames: 4,
    log: { ringBytes: 16384, bytesMax: 1 << 20 },
    checkpoint: NO_ROUNDS,
    threads: 'inline',
    owners: REGISTERS,
    ...(fileSystem && { fileSystem }),
    ...options,
  });
  onTestFinished(() => pool.close().catch(() => undefined));
  return pool;
}

/** Creates a register with a value. */
export function createRegister(pool: BufferPool, value: number): BlobId {
  return pool.change((op) => {
    const blob = op.create();
    op.seal(8);
    blob.u32[0] = value;
    op.commit(record(0, value));
    return blob.id;
  });
}

/** Sets a register: the seq. */
export function setRegister(pool: BufferPool, id: BlobId, value: number): number {
  return pool.change((op) => {
    const blob = op.write(id);
    op.seal(8);
    blob.u32[0] = value;
    return op.commit(record(id, value));
  });
}

export function registerValue(pool: BufferPool, id: BlobId): number {
  return pool.optimistic(id, ({ u32 }) => u32[0] as number);
}

/**
 * What the disk holds if the process is gone now and everything that it wrote has survived. The pool
 * goes on with a disk of its own, and is closed so that the directory's lock is free.
 */
export async function afterKill(disk: SimFileSystem, pool: BufferPool): Promise<SimFileSystem> {
  const after = disk.afterCrash((end) => (end === 3 ? 1 : 0));
  for (const name of after.list(DIRECTORY)) {
    if (name.startsWith('lock')) after.unlink(`${DIRECTORY}/${name}`);
  }
  await pool.close().catch(() => undefined);
  return after;
}

export function newDisk(): SimFileSystem {
  return new SimFileSystem(DIRECTORY);
}

/** The disk, whose log cannot be written while `failing` names an errno. */
export interface FailingLog {
  readonly fileSystem: FileSystem;
  failing: string | undefined;
}

export function failingLog(disk: SimFileSystem): FailingLog {
  const logs = new Set<number>();
  const state: { fileSystem: FileSystem; failing: string | undefined } = {
    failing: undefined,
    fileSystem: patched(disk, {
      open: (path, flags) => {
        const fd = disk.open(path, flags);
        if (path.includes('/wal-')) logs.add(fd);
        return fd;
      },
      write: (fd, source, position) => {
        if (logs.has(fd) && state.failing !== undefined) throw systemError(state.failing);
        return disk.write(fd, source, position);
      },
    }),
  };
  return state;
}
