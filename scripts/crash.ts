/**
 * `npm run crash -- <mode> [--runs N] [--seconds S] [--seed X] [--run N] [--subject S] [--json]`
 *
 * Bundles the harness and what it crashes as plain JavaScript, and runs it in a process of its own:
 * that program starts itself again as the processes and threads that it kills.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { bundleProgram } from '../test/support/scenario.ts';
import { PROJECT } from '../test/support/variant.ts';
import { buildAssets } from './build-assets.ts';

const ASSETS = join(PROJECT, 'src/generated/assets.ts');

if (!existsSync(ASSETS)) await buildAssets(PROJECT);
const program = await bundleProgram('test/crash/main.ts');
const argv = ['--enable-source-maps', program, ...process.argv.slice(2)];
const { status } = spawnSync(process.execPath, argv, { stdio: 'inherit' });
process.exitCode = status ?? 1;
