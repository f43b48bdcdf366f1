/** `npm run build`: wasm, generated modules, then `dist`. */
import { spawnSync } from 'node:child_process';
import { chmodSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildAssets } from './build-assets.ts';

const EXECUTABLE = 0o755;
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
await buildAssets(root);
rmSync(join(root, 'dist'), { recursive: true, force: true });
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
const { status } = spawnSync(process.execPath, [tsc, '-p', root], { stdio: 'inherit' });
if (status === 0) chmodSync(join(root, 'dist/cli/main.js'), EXECUTABLE);
process.exitCode = status ?? 1;
