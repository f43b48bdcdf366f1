import { join } from 'node:path';
import binaryen from 'binaryen';
import { expect, it } from 'vitest';
import { checkWasm, countFences, rulesFor } from '../../../scripts/check-wasm.ts';
import {
  compileAsc,
  compileTarget,
  compileTargetNaively,
  WASM_TARGETS,
} from '../../../scripts/compile-wasm.ts';

const ROOT = join(import.meta.dirname, '../../..');
const PLAIN = rulesFor('control.wasm');
const FENCED = rulesFor('control-fenced.wasm');

/** A module of one source text, compiled with the options of the product. */
function compile(source: string): Promise<Uint8Array> {
  const options =
    '--runtime stub --importMemory --sharedMemory --maximumMemory 16 --enable threads';
  return compileAsc(
    [
      'bad.ts',
      '--outFile',
      'bad.wasm',
      '--config',
      'none',
      '-O3',
      '--use',
      'abort=',
      ...options.split(' '),
    ],
    [],
    { readFile: (name) => (name === 'bad.ts' ? source : null), listFiles: () => [] },
  );
}

function assemble(...lines: string[]): Uint8Array {
  const memory = '(import "env" "memory" (memory 1 16 shared))';
  const module = binaryen.parseText(`(module ${memory} ${lines.join('\n')})`);
  module.setFeatures(binaryen.Features.All);
  const wasm = module.emitBinary();
  module.dispose();
  return wasm;
}

it.each(WASM_TARGETS)('the module %s passes', async (target) => {
  const wasm = await compileTarget(ROOT, target);
  expect(checkWasm(wasm, rulesFor(`${target}.wasm`))).toEqual([]);
});

it('a string becomes a data segment and is refused', async () => {
  const wasm = await compile(
    'export function f(): i32 { return "weir".length + load<u8>(changetype<usize>("a")); }',
  );
  expect(checkWasm(wasm, PLAIN)).toContainEqual(expect.stringContaining('data section'));
});

it('a mutable global is refused', async () => {
  const wasm = await compile('let calls = 0; export function f(): i32 { return ++calls; }');
  expect(checkWasm(wasm, PLAIN)).toEqual([expect.stringContaining('a mutable global')]);
});

it('the allocator that `new` brings along is refused', async () => {
  const wasm = await compile('class A { x: i32 = 1 } export function f(): A { return new A(); }');
  expect(checkWasm(wasm, PLAIN)).toContainEqual(expect.stringContaining('a mutable global'));
});

it('an import of anything but the memory is refused', async () => {
  const wasm = await compile(
    'declare function now(): f64; export function f(): f64 { return now(); }',
  );
  expect(checkWasm(wasm, PLAIN)).toEqual([expect.stringMatching(/import/)]);
});

it('a wait anywhere but in park is refused', async () => {
  const wait = 'atomic.wait<i32>(p, 0, 1);';
  const alone = await compile(`export function park(p: usize): void { ${wait} }`);
  expect(checkWasm(alone, PLAIN)).toEqual([]);
  const other = await compile(
    `export function take(p: usize): i64 { ${wait} return load<i64>(p); }`,
  );
  expect(checkWasm(other, PLAIN)).toEqual([expect.stringContaining('a wait outside of park')]);
});

it('a start function is refused', () => {
  const wasm = assemble('(func $s (i32.atomic.store (i32.const 0) (i32.const 1)))', '(start $s)');
  expect(checkWasm(wasm, PLAIN)).toEqual(['a start function']);
});

it('a module with a memory of its own is refused', () => {
  const module = binaryen.parseText('(module (memory 1 1) (func (export "f")))');
  expect(checkWasm(module.emitBinary(), PLAIN)).toEqual(['no import of env.memory']);
});

it('the fenced build without its pass settings loses its fences and is refused', async () => {
  const wasm = await compileTargetNaively(ROOT, 'control-fenced');
  expect(countFences(wasm)).toBe(0);
  expect(checkWasm(wasm, FENCED)).toEqual([
    'no fence in validate',
    'no fence in upgrade',
    'no fence in acquireExclusive',
  ]);
});

it('the fenced build keeps the fences of validation and of both acquisitions', async () => {
  expect(countFences(await compileTarget(ROOT, 'control-fenced'))).toBeGreaterThanOrEqual(3);
  expect(countFences(await compileTarget(ROOT, 'control'))).toBe(0);
});

it('one lost fence is refused, and a fence in a called function counts', () => {
  const fenced = (name: string) => `(func (export "${name}") (atomic.fence))`;
  const helper = '(func $order (atomic.fence)) (func (export "upgrade") (call $order))';
  const good = assemble(fenced('validate'), helper, fenced('acquireExclusive'));
  expect(checkWasm(good, FENCED)).toEqual([]);
  const lost = assemble(fenced('validate'), helper, '(func (export "acquireExclusive"))');
  expect(checkWasm(lost, FENCED)).toEqual(['no fence in acquireExclusive']);
  const gone = assemble(fenced('validate'), helper);
  expect(checkWasm(gone, FENCED)).toEqual(['no export acquireExclusive']);
});

it('a fence in the plain build is refused', () => {
  const wasm = assemble('(func (export "validate") (atomic.fence))');
  expect(checkWasm(wasm, PLAIN)).toEqual([expect.stringContaining('a fence in the plain build')]);
});

it('the plain source has no fence to begin with, instead of one that is optimised away', async () => {
  const wasm = await compileTarget(ROOT, 'control', ['--optimizeLevel', '0']);
  expect(countFences(wasm)).toBe(0);
});
