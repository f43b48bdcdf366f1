/**
 * Compiles the AssemblyScript targets of asconfig.json, in this process.
 *
 * The fenced build gets the same passes as every other, but for `precompute` and
 * `precompute-propagate`: these delete `atomic.fence` as if it had no effect. They also run inside
 * other passes (after inlining, for one), so they are skipped by name instead of left out of a
 * list. A build by the compiler's command line alone therefore has no fences; check-wasm.ts
 * refuses it.
 *
 * What was compiled once is kept, named after the content of everything that it depends on.
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const WASM_TARGETS = ['control', 'control-fenced', 'kernels'] as const;
export type WasmTarget = (typeof WASM_TARGETS)[number];

const ENTRIES: Readonly<Record<WasmTarget, string>> = {
  control: 'assembly/control.ts',
  'control-fenced': 'assembly/control.ts',
  kernels: 'assembly/kernels.ts',
};

/** Binaryen passes that must not see the target. */
const SKIPPED_PASSES: Readonly<Record<WasmTarget, readonly string[]>> = {
  control: [],
  'control-fenced': ['precompute', 'precompute-propagate'],
  kernels: [],
};

const require = createRequire(import.meta.url);
const CACHE = join(dirname(fileURLToPath(import.meta.url)), '../node_modules/.cache/weirpool');

// As a plain string: the compiler's own declarations would bring AssemblyScript's globals along.
const ASC: string = 'assemblyscript/asc';

interface AscIo {
  readFile?(name: string, baseDir: string): string | null;
  writeFile(name: string, contents: Uint8Array | string, baseDir: string): void;
  listFiles?(dir: string, baseDir: string): string[];
}

interface AscModule {
  main(
    argv: readonly string[],
    io: AscIo,
  ): Promise<{ error: Error | null; stderr: { toString(): string } }>;
}

/** Writes a file that others may be reading: they see the old one or the new one. */
export function writeWhole(path: string, contents: Uint8Array | string): void {
  mkdirSync(dirname(path), { recursive: true });
  const draft = `${path}.${process.pid}.draft`;
  writeFileSync(draft, contents);
  renameSync(draft, path);
}

// The list of skipped passes is one for the whole process: one compilation at a time.
let last: Promise<unknown> = Promise.resolve();

async function runAsc(
  argv: readonly string[],
  skipped: readonly string[],
  io: Omit<AscIo, 'writeFile'>,
): Promise<Uint8Array> {
  const asc = (await import(ASC)) as AscModule;
  const { default: binaryen } = await import('binaryen');
  let wasm: Uint8Array | undefined;
  const writeFile = (_name: string, contents: Uint8Array | string) => {
    if (typeof contents !== 'string') wasm = Uint8Array.from(contents);
  };
  for (const pass of skipped) binaryen.addPassToSkip(pass);
  try {
    const result = await asc.main(argv, { ...io, writeFile });
    if (result.error !== null) throw new Error(`asc: ${result.stderr.toString()}`);
  } finally {
    binaryen.clearPassesToSkip();
  }
  if (wasm === undefined) throw new Error(`asc wrote no module: ${argv.join(' ')}`);
  return wasm;
}

/** Runs the compiler with the given arguments; returns the module, writes nothing. */
export function compileAsc(
  argv: readonly string[],
  skipped: readonly string[] = [],
  io: Omit<AscIo, 'writeFile'> = {},
): Promise<Uint8Array> {
  const done = last.then(() => runAsc(argv, skipped, io));
  last = done.catch(() => undefined);
  return done;
}

function digest(root: string, target: WasmTarget, argv: readonly string[]): string {
  const hash = createHash('sha256');
  const add = (text: string | Uint8Array) => hash.update(text).update('\0');
  for (const dependency of ['assemblyscript', 'binaryen']) {
    add(readFileSync(require.resolve(`${dependency}/package.json`)));
  }
  add(JSON.stringify([argv, SKIPPED_PASSES[target]]));
  add(readFileSync(join(root, 'asconfig.json')));
  for (const name of readdirSync(join(root, 'assembly')).sort()) {
    add(name);
    add(readFileSync(join(root, 'assembly', name)));
  }
  return hash.digest('hex').slice(0, 32);
}

/** Compiles one target of `root`/asconfig.json; `extra` goes to the compiler. */
export async function compileTarget(
  root: string,
  target: WasmTarget,
  extra: readonly string[] = [],
): Promise<Uint8Array> {
  const argv = [ENTRIES[target], '--target', target, '--config', 'asconfig.json', ...extra];
  const kept = join(CACHE, `${target}-${digest(root, target, argv)}.wasm`);
  if (existsSync(kept)) return readFileSync(kept);
  const wasm = await compileAsc([...argv, '--baseDir', root], SKIPPED_PASSES[target]);
  writeWhole(kept, wasm);
  return wasm;
}

/** The same as the compiler would do it alone, with nothing skipped: loses the fences. */
export function compileTargetNaively(root: string, target: WasmTarget): Promise<Uint8Array> {
  const argv = [ENTRIES[target], '--target', target, '--config', 'asconfig.json'];
  return compileAsc([...argv, '--baseDir', root]);
}
