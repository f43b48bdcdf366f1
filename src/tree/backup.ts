/**
 * Backups: one committed cut of an open store, copied while writers go on.
 *
 * Owns:        nothing beyond the call; src/recovery/copy-store.ts writes.
 * Invariants:  I6  the slots of the cut are kept until the copy has ended, however it ends.
 * Threads:     any thread of the pool; it yields between batches of blobs.
 */
import { resolve } from 'node:path';
import {
  assertVacant,
  type CopyOptions,
  type CopyReport,
  copyStore,
} from '../recovery/copy-store.ts';
import type { BlobMapping } from '../store/contract.ts';
import { FileBackend } from '../store/file-backend.ts';
import type { Snapshots } from './snapshot.ts';
import type { TreeStore } from './store.ts';

/** Errors: see `Weirpool.backup`. */
export async function backupStore(
  { core, log }: TreeStore,
  snapshots: Snapshots,
  directory: string,
  options: CopyOptions,
): Promise<CopyReport> {
  if (typeof directory !== 'string' || directory === '') {
    throw new TypeError('directory must be a path that is not empty');
  }
  snapshots.assertOpen();
  core.assertWritable('backup');
  const { store } = core;
  const { backend, blobBytes } = store;
  if (!(backend instanceof FileBackend)) throw new TypeError('Only a store in files is backed up');
  options.signal?.throwIfAborted();
  const { fileSystem: fs } = backend;
  assertVacant(fs, resolve(directory));
  if (!log.rounds.isSettled) await log.rounds.run();
  // Under one lock: the manifest's state is that of the cut whose slots are kept.
  const { cut, state } = store.exclusively(() => {
    const committed = backend.committed();
    return { cut: snapshots.cuts.takeLocked(), state: committed };
  });
  try {
    const { kernels } = core.memory.shared.modules;
    const read: Parameters<typeof copyStore>[0]['read'] = (blob: BlobMapping, into) =>
      store.readKept(blob, into.scratch(blobBytes), () => into.ofScratch(blobBytes, blob.id));
    const source = { fs, kernels, blobBytes, state, logged: true, read };
    return await copyStore(source, directory, options);
  } finally {
    snapshots.release(cut);
  }
}
