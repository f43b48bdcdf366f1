/**
 * The compiled wasm modules.
 *
 * Owns:        one set for each thread.
 * Threads:     those that open stores; others get the modules with the pool's handle.
 */
import { CONTROL_FENCED_WASM, CONTROL_WASM, KERNELS_WASM } from '../generated/assets.ts';
import { compileModules, type WasmModules } from '../memory/wasm.ts';

let compiled: WasmModules | undefined;

/** Compiled once for each thread, used by every pool that it opens. */
export function modules(): WasmModules {
  compiled ??= compileModules({
    control: CONTROL_WASM,
    controlFenced: CONTROL_FENCED_WASM,
    kernels: KERNELS_WASM,
  });
  return compiled;
}
