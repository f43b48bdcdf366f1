/**
 * Making a store out of a backup.
 *
 * Owns:        one descriptor of the backup's data file while it reads.
 * Invariants:  nothing is written to the backup; see copy-store.ts for the new store.
 * Threads:     the caller's; it yields between batches of blobs.
 */
import { join, resolve } from 'node:path';
import { WeirpoolError } from '../errors.ts';
import { type FileSystem, nodeFileSystem } from '../fs/file-system.ts';
import { DirectorySync, readOwn } from '../fs/files.ts';
import { Checksummer } from '../memory/checksum.ts';
import type { WasmModule } from '../memory/webassembly.ts';
import type { BlobMapping } from '../store/contract.ts';
import { DataFile } from '../store/data-file.ts';
import { DATA_FILE } from '../store/file-backend.ts';
import { manifestPath, newestGeneration } from '../store/manifest-files.ts';
import { type ManifestContent, readManifest } from '../store/manifest-reader.ts';
import { blobCorrupt } from '../store/mapped-store.ts';
import { listLogFiles } from '../wal/segment-files.ts';
import { assertVacant, type CopyOptions, type CopyReport, copyStore } from './copy-store.ts';
import type { VerifyReport } from './verify.ts';

/** What a manifest is summed with, piece by piece. */
const SCRATCH_BYTES = 64 * 1024;

export interface RestoreOptions extends CopyOptions {
  readonly kernels: WasmModule;
  /** Checks the backup. */
  readonly verify: () => Promise<VerifyReport>;
  /** Every file call; for simulations. */
  readonly fileSystem?: FileSystem;
}

function assertFit(path: string, { findings, logRecords }: VerifyReport): void {
  const [first] = findings;
  if (first === undefined && logRecords === 0) return;
  const why =
    first === undefined
      ? `its log has ${logRecords} records that are in no blob yet. Open it once for writing and ` +
        'close it'
      : `${first.message} (${findings.length} findings in all). Take another backup`;
  throw new WeirpoolError('BACKUP_UNFIT', `${path} cannot be restored from: ${why}.`, {
    details: { path, findings: findings.length, logRecords },
  });
}

/** Every opening for writing begins a manifest of its own. */
function assertSame(path: string, { generation }: VerifyReport, now: number): void {
  if (now === generation) return;
  throw new WeirpoolError(
    'BACKUP_UNFIT',
    `${path} was opened for writing while it was checked. Close it, and restore again.`,
    { details: { path } },
  );
}

function readState(fs: FileSystem, directory: string, checksummer: Checksummer): ManifestContent {
  const access = { fs, directory, directorySync: new DirectorySync(fs) };
  const generation = newestGeneration(access);
  const path = manifestPath(directory, generation);
  return readManifest(checksummer, { path, generation, bytes: readOwn(fs, path) });
}

/** Errors: see `restore` in src/tree/restore.ts. */
export async function restoreStore(
  backup: string,
  directory: string,
  { kernels, verify, fileSystem: fs = nodeFileSystem, ...options }: RestoreOptions,
): Promise<CopyReport> {
  const from = resolve(backup);
  options.signal?.throwIfAborted();
  assertVacant(fs, resolve(directory));
  const report = await verify();
  assertFit(from, report);
  const { header, state } = readState(fs, from, new Checksummer(kernels, SCRATCH_BYTES));
  assertSame(from, report, header.generation);
  const { blobBytes } = header;
  const path = join(from, DATA_FILE);
  const data = new DataFile(fs, { path, blobBytes, directWrites: false, access: 'read' });
  const read = (blob: BlobMapping, into: Checksummer): void => {
    data.readSlot(blob.slot, into.scratch(blobBytes));
    if (into.ofScratch(blobBytes, blob.id) !== blob.checksum) throw blobCorrupt(blob, blobBytes);
  };
  try {
    const access = { fs, directory: from, directorySync: new DirectorySync(fs) };
    const logged = state.checkpointSeq > 0 || listLogFiles(access).segments.length > 0;
    const source = { fs, kernels, blobBytes, state, logged, read };
    return await copyStore(source, directory, options);
  } finally {
    await data.close();
  }
}
