/**
 * Compiling and instantiating the wasm modules.
 *
 * Owns:        the choice between the plain control module and the fenced one.
 * Threads:     the opener compiles once; the modules travel in the pool's handle, so that every
 *              thread runs exactly what the opener runs.
 */
import { WeirpoolError } from '../errors.ts';
import { type ControlExports, type KernelExports, LAYOUT } from '../generated/layout.ts';
import { type WasmMemory, type WasmModule, wasm } from './webassembly.ts';

/** Loads pass loads on these; everywhere else validation needs its fence (assembly/latch.ts). */
const STRONGLY_ORDERED: readonly string[] = ['x64', 'ia32'];

export interface WasmModules {
  readonly control: WasmModule;
  readonly kernels: WasmModule;
}

export interface WasmSources {
  readonly control: string;
  readonly controlFenced: string;
  readonly kernels: string;
}

/** Compiles the modules from base64 for the processor that this process runs on. */
export function compileModules(sources: WasmSources, arch: string = process.arch): WasmModules {
  const control = STRONGLY_ORDERED.includes(arch) ? sources.control : sources.controlFenced;
  return {
    control: new wasm.Module(Buffer.from(control, 'base64')),
    kernels: new wasm.Module(Buffer.from(sources.kernels, 'base64')),
  };
}

/** The layout that TypeScript was compiled with against the one that the module exports. */
function checkLayout(exports: Readonly<Record<string, unknown>>): void {
  for (const [name, expected] of Object.entries(LAYOUT)) {
    const actual = exports[name];
    const value: unknown = actual instanceof wasm.Global ? actual.value : undefined;
    const same =
      typeof expected === 'bigint'
        ? typeof value === 'bigint' && BigInt.asUintN(64, value) === expected
        : typeof value === 'number' && value >>> 0 === expected >>> 0;
    if (!same) {
      throw new WeirpoolError(
        'ABI_MISMATCH',
        `The control module has ${name} = ${String(value)}, this code expects ${expected}. ` +
          'Use the same version of weirpool in every thread.',
        { details: { name, expected } },
      );
    }
  }
}

export function instantiateControl(module: WasmModule, memory: WasmMemory): ControlExports {
  const { exports } = new wasm.Instance(module, { env: { memory } });
  checkLayout(exports);
  return exports as unknown as ControlExports;
}

export function instantiateKernels(module: WasmModule, memory: WasmMemory): KernelExports {
  const { exports } = new wasm.Instance(module, { env: { memory } });
  return exports as unknown as KernelExports;
}
