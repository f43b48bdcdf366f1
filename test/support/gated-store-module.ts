/** The gated store as a file that every thread of a scenario can import, for `env` of a scenario. */
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { GATED_STORE_ENV } from './gated-store.ts';
import { PROJECT, temporaryDirectory } from './variant.ts';

let bundled: string | undefined;

export function gatedStoreEnv(): Readonly<Record<string, string>> {
  if (bundled === undefined) {
    bundled = join(temporaryDirectory('gated-store'), 'gated-store.mjs');
    buildSync({
      entryPoints: [join(PROJECT, 'test/support/gated-store.ts')],
      outfile: bundled,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      logLevel: 'silent',
    });
  }
  return { [GATED_STORE_ENV]: bundled };
}
