/**
 * The part of the WebAssembly interface that is used here. TypeScript declares it only together
 * with the browser's document model, which a Node.js library must not ask its users to include.
 */

export interface WasmMemory {
  readonly buffer: SharedArrayBuffer;
}

export interface WasmGlobal {
  readonly value: number | bigint;
}

/** Compiled code; can be posted to another thread. */
export type WasmModule = object;

interface WebAssemblyApi {
  readonly Module: new (bytes: Uint8Array) => WasmModule;
  readonly Instance: new (
    module: WasmModule,
    imports: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  ) => { readonly exports: Readonly<Record<string, unknown>> };
  readonly Memory: new (descriptor: {
    readonly initial: number;
    readonly maximum: number;
    readonly shared: true;
  }) => WasmMemory;
  readonly Global: new (descriptor: { readonly value: string }, value: number) => WasmGlobal;
}

export const wasm: WebAssemblyApi = (globalThis as unknown as { WebAssembly: WebAssemblyApi })
  .WebAssembly;
