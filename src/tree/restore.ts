/**
 * Making a store out of a backup: the way in for users.
 *
 * Owns:        nothing; src/recovery/restore.ts does the work.
 * Threads:     the caller's; it yields between batches of blobs.
 */

import { modules } from '../pool/modules.ts';
import type { CopyOptions, CopyReport } from '../recovery/copy-store.ts';
import { restoreStore } from '../recovery/restore.ts';
import { verify } from './verify.ts';

/**
 * Checks a backup, as `verify` does, and makes a store of it in `directory`, which does not exist or
 * is empty. The store appears whole, with its name as the last step, or not at all.
 *
 * @throws {WeirpoolError} `BACKUP_UNFIT` the backup is damaged, or has been written to since;
 *         `DIRECTORY_NOT_EMPTY`; `STORE_LOCKED` somebody has the backup open; `BLOB_CORRUPT`,
 *         `STORE_IO`. The signal's reason when it was aborted. Nothing is left then.
 */
export async function restore(
  backup: string,
  directory: string,
  options: CopyOptions = {},
): Promise<CopyReport> {
  if (typeof directory !== 'string' || directory === '') {
    throw new TypeError('directory must be a path that is not empty');
  }
  const { kernels } = modules();
  return restoreStore(backup, directory, {
    ...options,
    kernels,
    verify: () => verify(backup, { signal: options.signal }),
  });
}
