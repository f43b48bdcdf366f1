/** Test programs for workers and child processes, which run without Vitest's loader. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { afterAll } from 'vitest';

let folder: string | undefined;
const made = new Map<string, string>();

afterAll(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

/** Path of the program, as one JavaScript module. */
export function bundled(entry: URL): string {
  const path = fileURLToPath(entry);
  const known = made.get(path);
  if (known !== undefined) return known;
  folder ??= mkdtempSync(join(tmpdir(), 'weirpool-bundle-'));
  const outfile = join(folder, `${basename(path, '.ts')}.mjs`);
  buildSync({
    entryPoints: [path],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'error',
  });
  made.set(path, outfile);
  return outfile;
}
