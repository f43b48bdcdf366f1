/** What the store's tests share: contexts, temporary directories, random numbers, comparable images. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { KERNELS_WASM } from '../../../src/generated/assets.ts';
import { Checksummer } from '../../../src/memory/checksum.ts';
import { wasm } from '../../../src/memory/webassembly.ts';
import type { BackendContext, StoreImage } from '../../../src/store/contract.ts';
import { Random } from '../../support/seed.ts';

export const BLOB_BYTES = 4096;

const kernels = new wasm.Module(Buffer.from(KERNELS_WASM, 'base64'));

export function newChecksummer(): Checksummer {
  return new Checksummer(kernels, 65536);
}

export const checksummer: Checksummer = newChecksummer();

export function newShared(): BigInt64Array {
  return new BigInt64Array(new SharedArrayBuffer(16 * BigInt64Array.BYTES_PER_ELEMENT));
}

export function newContext(blobBytes = BLOB_BYTES, shared = newShared()): BackendContext {
  return { blobBytes, checksummer, shared };
}

/** An empty directory that is removed when the test is over. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-store-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Numbers below `end`; `n` tells the generators of one seed apart. */
export function randomFrom(seed: number, n = 0): (end: number) => number {
  const random = Random.fork(seed, n);
  return (end) => random.int(end);
}

/** An image without its epoch, for comparison: maps and sets as sorted plain data. */
export function comparable(image: StoreImage): unknown {
  return {
    blobs: [...image.blobs].sort((a, b) => a.id - b.id).map((blob) => ({ ...blob })),
    roots: [...image.roots].sort(([a], [b]) => a - b),
    nextBlobId: image.nextBlobId,
    commitNumber: image.commitNumber,
    checkpointSeq: image.checkpointSeq,
  };
}

export function errorFrom(action: () => unknown): Error & Record<string, unknown> {
  try {
    action();
  } catch (error) {
    return error as Error & Record<string, unknown>;
  }
  throw new Error('expected an error');
}

export async function rejectionOf(
  action: Promise<unknown>,
): Promise<Error & Record<string, unknown>> {
  return action.then(
    () => {
      throw new Error('expected a rejection');
    },
    (error: unknown) => error as Error & Record<string, unknown>,
  );
}
