/** Directories of the harness: they go with the process that has made them, at the latest. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const directories = new Set<string>();
let registered = false;

/** A new, empty directory. */
export function temporaryDirectory(label: string): string {
  if (!registered) {
    registered = true;
    process.once('exit', () => {
      for (const directory of directories) rmSync(directory, { recursive: true, force: true });
    });
  }
  const directory = mkdtempSync(join(tmpdir(), `weirpool-${label}-`));
  directories.add(directory);
  return directory;
}

export function removeDirectory(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  directories.delete(directory);
}
