/** What others check of a package: its manifest, its types, and what importing each entry costs. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { beforeAll, expect, it } from 'vitest';
import { PROJECT, temporaryDirectory } from '../support/variant.ts';
import { type Packed, pack, run } from './installed.ts';

const TIMEOUT_MS = 120_000;

let packed: Packed;

beforeAll(() => {
  packed = pack();
});

it('publint finds nothing in its manifest and files', async () => {
  const pkgDir = join(packed.project, 'node_modules/weirpool');
  const { messages, pkg } = await publint({ pkgDir, pack: false, level: 'suggestion' });
  expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
});

/**
 * Modules alone, which `require` takes as well in every Node that it runs on: what is told of older
 * ones, and of resolution without `exports`, does not apply.
 */
it('the types of every entry are found, and are those of what is run', {
  timeout: TIMEOUT_MS,
}, () => {
  const attw = join(PROJECT, 'node_modules/@arethetypeswrong/cli/dist/index.js');
  const args = [attw, packed.tarball, '--profile', 'esm-only', '--format', 'json'];
  const { status, stdout, stderr } = run(process.execPath, args, packed.project);
  expect(stderr).toBe('');
  const { analysis } = JSON.parse(stdout) as {
    readonly analysis: { readonly entrypoints: Readonly<Record<string, unknown>> };
  };
  expect(Object.keys(analysis.entrypoints)).toEqual(Object.keys(entriesOf(packed)));
  expect(status).toBe(0);
});

function entriesOf({ manifest }: Packed): Readonly<Record<string, unknown>> {
  return manifest['exports'] as Readonly<Record<string, unknown>>;
}

it('the API reference is what `npm run docs` makes of the sources', { timeout: TIMEOUT_MS }, () => {
  const out = temporaryDirectory('api');
  const typedoc = join(PROJECT, 'node_modules/typedoc/bin/typedoc');
  const { status, stderr } = run(process.execPath, [typedoc, '--out', out], PROJECT);
  expect([status, stderr]).toEqual([0, '']);
  const textsIn = (folder: string): Record<string, string> =>
    Object.fromEntries(
      readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.md'))
        .sort()
        .map((name) => [name, readFileSync(join(folder, name), 'utf8')]),
    );
  expect(textsIn(join(PROJECT, 'docs/api'))).toEqual(textsIn(out));
});

/** At most so many KiB, minified, without what the user installs beside it. */
const BUDGETS_KIB: Readonly<Record<string, number>> = {
  '.': 480,
  './level': 480,
  './metrics': 8,
  './harness': 340,
  './streams': 32,
  './write-behind': 34,
};
/** Peers, and what only the command line and the harness load. */
const OTHERS = ['prom-client', 'abstract-level'];

interface Import {
  readonly kib: number;
  /** Paths in `dist`. */
  readonly modules: readonly string[];
}

async function importOf(entry: string): Promise<Import> {
  const { outputFiles, metafile } = await build({
    stdin: {
      contents: `export * from 'weirpool${entry.slice(1)}';`,
      resolveDir: packed.project,
    },
    absWorkingDir: packed.project,
    nodePaths: [join(PROJECT, 'node_modules')],
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    platform: 'node',
    format: 'esm',
    external: OTHERS,
    logLevel: 'silent',
  });
  const modules = Object.keys(metafile.inputs).flatMap((path) => {
    const inside = path.split('node_modules/weirpool/dist/')[1];
    return inside === undefined ? [] : [inside];
  });
  return { kib: (outputFiles[0]?.contents.length ?? 0) / 1024, modules };
}

it('has a budget for every entry', () => {
  const entries = Object.keys(entriesOf(packed)).filter((entry) => entry !== './package.json');
  expect(Object.keys(BUDGETS_KIB)).toEqual(entries);
});

it.each(Object.entries(BUDGETS_KIB))(
  'importing weirpool with %s takes at most %i KiB',
  async (entry, kib) => {
    const found = await importOf(entry);
    expect(found.kib).toBeLessThanOrEqual(kib);
    // A budget that is far away bounds nothing.
    expect(found.kib).toBeGreaterThan(kib * 0.7);
  },
);

it('the main entry loads nothing of the other entries', async () => {
  const { modules } = await importOf('.');
  const folders = Object.keys(BUDGETS_KIB).map((entry) => `${entry.slice(2)}/`);
  const others = ['cli/', ...folders.filter((folder) => folder !== '/')];
  expect(modules.filter((path) => others.some((folder) => path.startsWith(folder)))).toEqual([]);
});
