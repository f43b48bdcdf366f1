/**
 * Checking a store that nobody has open: the way in for users.
 *
 * Owns:        nothing; src/recovery/verify.ts does the work, verify-trees.ts knows the trees.
 * Threads:     the caller's, which it keeps busy; other work of the thread has its turns.
 */
import { resolve } from 'node:path';
import type { WeirpoolError } from '../errors.ts';
import { nodeFileSystem } from '../fs/file-system.ts';
import { modules } from '../pool/modules.ts';
import type { PaceOptions } from '../recovery/pace.ts';
import { type VerifyPhase, type VerifyReport, verifyStore } from '../recovery/verify.ts';
import { DirectoryLock } from '../store/directory-lock.ts';
import { checkTrees } from './verify-trees.ts';

/** `onProgress` is told how far it is; `signal` breaks it off. */
export type VerifyOptions = PaceOptions<VerifyPhase>;

/**
 * @throws {WeirpoolError} `STORE_LOCKED`; {TypeError} no path.
 */
export async function assertNotOpen(directory: string): Promise<void> {
  if (typeof directory !== 'string' || directory === '') {
    throw new TypeError('directory must be a path that is not empty');
  }
  try {
    await DirectoryLock.probe(nodeFileSystem, resolve(directory));
  } catch (error) {
    // Why else it cannot be looked at, is found again, and reported.
    if ((error as WeirpoolError).code === 'STORE_LOCKED') throw error;
  }
}

/**
 * Checks manifest, mapping, every blob's bytes, every record of the log, and the trees as the last
 * checkpoint has them; writes nothing. docs/verify.md lists what it finds. What the log has beyond
 * the checkpoint is checked record by record, and not applied to the trees.
 *
 * @returns Everything that was found; damage is never thrown.
 * @throws {WeirpoolError} `STORE_LOCKED`: somebody has the store open for writing. The reason of
 *                         `options.signal`.
 */
export async function verify(
  directory: string,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  await assertNotOpen(directory);
  const { onProgress, signal } = options;
  const { kernels } = modules();
  return verifyStore(directory, { kernels, content: checkTrees, onProgress, signal });
}
