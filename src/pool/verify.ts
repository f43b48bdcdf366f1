/**
 * Checking a store that nobody has open: the way in for users.
 *
 * Owns:        nothing; src/recovery/verify.ts does the work.
 * Threads:     the caller's, which it keeps busy.
 */
import { resolve } from 'node:path';
import type { WeirpoolError } from '../errors.ts';
import { nodeFileSystem } from '../fs/file-system.ts';
import { type VerifyReport, verifyStore } from '../recovery/verify.ts';
import { DirectoryLock } from '../store/directory-lock.ts';
import { modules } from './modules.ts';

/**
 * Checks manifest, mapping, every blob's bytes, every record of the log, and writes nothing.
 *
 * @returns Everything that was found; damage is never thrown.
 * @throws {WeirpoolError} `STORE_LOCKED`: somebody has the store open for writing.
 */
export async function verify(directory: string): Promise<VerifyReport> {
  if (typeof directory !== 'string' || directory === '') {
    throw new TypeError('directory must be a path that is not empty');
  }
  try {
    await DirectoryLock.probe(nodeFileSystem, resolve(directory));
  } catch (error) {
    // Why else it cannot be looked at, is found again, and reported.
    if ((error as WeirpoolError).code === 'STORE_LOCKED') throw error;
  }
  return verifyStore(directory, { kernels: modules().kernels });
}
