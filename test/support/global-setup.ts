/**
 * Brings src/generated up to date before any test: scenarios and variants are made of the sources,
 * and the compiled modules must be of the same state. Takes what was compiled already from the
 * cache.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildAssets } from '../../scripts/build-assets.ts';
import { TEMPORARY_ENV } from './protocol.ts';

export default async function setup(): Promise<() => void> {
  await buildAssets(join(import.meta.dirname, '../..'));
  // The processes of the test runner are killed in the end, and could not clean up themselves.
  const temporary = mkdtempSync(join(tmpdir(), 'weirpool-tests-'));
  process.env[TEMPORARY_ENV] = temporary;
  return () => rmSync(temporary, { recursive: true, force: true });
}
