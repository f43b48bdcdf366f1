/** Gated control modules of the product, made by a process that can compile. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import type { ModulePaths } from '../../support/schedule/jobs.ts';

const MAKER = 'test/support/schedule/make-modules.ts';

export interface GatedModules {
  /** Gates before atomic instructions. */
  readonly atomic: ModulePaths;
  /** And before plain stores. */
  readonly plain: ModulePaths;
}

/** Why there are none here, or undefined. */
export function gatedModulesMissing(): string | undefined {
  return existsSync(MAKER) ? undefined : `it has to be run where ${MAKER} is`;
}

export async function makeGatedModules(): Promise<GatedModules> {
  const argv = ['--import', 'tsx', MAKER];
  const { stdout } = await promisify(execFile)(process.execPath, argv, { maxBuffer: 2 ** 24 });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as GatedModules;
}
