/**
 * Whether there is a store in a directory, without opening it.
 *
 * Threads:     any.
 */
import { errnoOf } from '../errors.ts';
import { type FileSystem, nodeFileSystem } from '../fs/file-system.ts';

const MANIFEST = /^manifest-\d+$/;

/** @throws Node's error when the directory cannot be read. */
export function holdsStore(directory: string, fs: FileSystem = nodeFileSystem): boolean {
  try {
    return fs.list(directory).some((name) => MANIFEST.test(name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}
