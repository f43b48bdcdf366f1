/** `Atomics.waitAsync`, which TypeScript declares only in later editions. */
export type WaitAsync = (
  words: Int32Array,
  index: number,
  value: number,
  timeoutMs?: number,
) => { readonly async: boolean; readonly value: Promise<string> | string };

export const waitAsync: WaitAsync = (Atomics as unknown as { waitAsync: WaitAsync }).waitAsync;
