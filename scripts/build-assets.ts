/**
 * Builds what the TypeScript sources import but nobody writes by hand:
 *
 *   src/generated/layout.ts   constants and signatures, read out of the compiled control module
 *   src/generated/assets.ts   the wasm modules (base64) and the bundled service worker (text)
 *
 * Because both are plain modules, the package runs from source, from `dist` and out of any bundle
 * without looking for files. The root can be another copy of the project: tests build deliberately
 * broken variants that way.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import binaryen from 'binaryen';
import { build } from 'esbuild';
import { type WasmGlobal, wasm as webAssembly } from '../src/memory/webassembly.ts';
import { compileTarget, WASM_TARGETS, type WasmTarget, writeWhole } from './compile-wasm.ts';

const TYPE_NAMES: ReadonlyMap<number, string> = new Map([
  [binaryen.i32, 'number'],
  [binaryen.f64, 'number'],
  [binaryen.i64, 'bigint'],
  [binaryen.none, 'void'],
]);

function typeName(type: number): string {
  const name = TYPE_NAMES.get(type);
  if (name === undefined) throw new Error(`no TypeScript type for wasm type ${type}`);
  return name;
}

/** One line for each exported function, `name(a: number, ...): number`. */
function signatures(wasm: Uint8Array): string[] {
  const module = binaryen.readBinary(wasm);
  const lines: string[] = [];
  for (let i = 0; i < module.getNumExports(); i++) {
    const info = binaryen.getExportInfo(module.getExportByIndex(i));
    if (info.kind !== binaryen.ExternalFunction) continue;
    const fn = binaryen.getFunctionInfo(module.getFunction(info.value));
    const params = binaryen.expandType(fn.params).map((type, n) => `p${n}: ${typeName(type)}`);
    lines.push(`  ${info.name}(${params.join(', ')}): ${typeName(fn.results)};`);
  }
  module.dispose();
  return lines.sort();
}

/** The values of all exported globals: the layout. */
function constants(wasm: Uint8Array): [string, number | bigint][] {
  const memory = new webAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
  const { exports } = new webAssembly.Instance(new webAssembly.Module(wasm), { env: { memory } });
  return Object.entries(exports)
    .filter((entry): entry is [string, WasmGlobal] => entry[1] instanceof webAssembly.Global)
    .map(([name, global]): [string, number | bigint] => [name, global.value])
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

// Offsets are unsigned, result codes signed; wasm knows only i32.
function literal(name: string, value: number | bigint): string {
  if (typeof value === 'bigint') return `${BigInt.asUintN(64, value)}n`;
  return String(name.startsWith('LOCK_WAITED') || name.endsWith('_MASK') ? value >>> 0 : value);
}

function writeIfChanged(path: string, contents: Uint8Array | string): void {
  if (existsSync(path) && Buffer.compare(readFileSync(path), Buffer.from(contents)) === 0) return;
  writeWhole(path, contents);
}

function writeGenerated(path: string, lines: string[]): void {
  writeIfChanged(path, `// Written by scripts/build-assets.ts.\n${lines.join('\n')}\n`);
}

function writeLayout(root: string, control: Uint8Array, kernels: Uint8Array): void {
  const all = constants(control);
  writeGenerated(join(root, 'src/generated/layout.ts'), [
    ...all.map(([name, value]) => `export const ${name} = ${literal(name, value)} as const;`),
    '',
    '/** The same as a table, for the comparison at start-up. */',
    'export const LAYOUT: Readonly<Record<string, number | bigint>> = {',
    ...all.map(([name]) => `  ${name},`),
    '};',
    '',
    'export interface ControlExports {',
    ...signatures(control),
    '}',
    '',
    'export interface KernelExports {',
    ...signatures(kernels),
    '}',
  ]);
}

/** Bundles the internal worker; it gets its wasm modules from the handle, not from a file. */
async function bundleService(root: string): Promise<string> {
  const require = createRequire(import.meta.url);
  const result = await build({
    entryPoints: [join(root, 'src/service/main.ts')],
    absWorkingDir: root,
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    minify: true,
    keepNames: true,
    nodePaths: [join(dirname(require.resolve('esbuild/package.json')), '..')],
    external: ['*/generated/assets.ts'],
    logLevel: 'silent',
  });
  const text = result.outputFiles[0]?.text;
  if (text === undefined) throw new Error('the service bundle is empty');
  return text;
}

export interface AssetOptions {
  /**
   * The modules to compile; the others are left empty, so that loading one fails. The layout is
   * read out of whichever control module is there.
   */
  readonly targets?: readonly WasmTarget[];
}

/** Compiles, bundles and writes everything that is generated below `root`. */
export async function buildAssets(root: string, options: AssetOptions = {}): Promise<void> {
  const modules = new Map<WasmTarget, Uint8Array>();
  for (const target of options.targets ?? WASM_TARGETS) {
    const wasm = await compileTarget(root, target);
    modules.set(target, wasm);
    writeIfChanged(join(root, `build/${target}.wasm`), wasm);
  }
  const control = modules.get('control') ?? modules.get('control-fenced');
  const kernels = modules.get('kernels');
  if (control === undefined || kernels === undefined) {
    throw new TypeError('targets must name kernels and a control module');
  }
  writeLayout(root, control, kernels);
  const base64 = (target: WasmTarget) => Buffer.from(modules.get(target) ?? []).toString('base64');
  const service = await bundleService(root);
  writeGenerated(join(root, 'src/generated/assets.ts'), [
    `export const CONTROL_WASM: string = '${base64('control')}';`,
    `export const CONTROL_FENCED_WASM: string = '${base64('control-fenced')}';`,
    `export const KERNELS_WASM: string = '${base64('kernels')}';`,
    `export const SERVICE_SOURCE: string = ${JSON.stringify(service)};`,
  ]);
}
