/**
 * Handles of pools: what comes from another thread is looked at before anything is done with it.
 *
 * Owns:        the checks. A handle that does not fit the memory that it names would have this thread
 *              write where others have something else.
 * Threads:     the thread that joins.
 */
import { WeirpoolError } from '../errors.ts';
import {
  ABI_VERSION,
  H_ABI,
  H_BLOB_BYTES,
  H_FRAMES,
  H_MAGIC,
  H_RING,
  H_RING_MASK,
  H_STAGING_COUNT,
  MAGIC,
  SLOTS_MAX,
} from '../generated/layout.ts';
import { framesPerArenaOf, type PoolMemory, scratchBytesOf } from '../memory/pool-memory.ts';
import { type WasmMemory, wasm } from '../memory/webassembly.ts';
import { DURABILITY_LEVELS } from '../wal/durability.ts';
import type { PoolHandle } from './attach.ts';

const WORD = Uint32Array.BYTES_PER_ELEMENT;
const BACKEND_BYTES = 16 * BigInt64Array.BYTES_PER_ELEMENT;
const WAIT_MS_MAX = 2 ** 31 - 1;

function notAHandle(what: string): TypeError {
  return new TypeError(
    `Not the handle of a pool (${what}): pass \`pool.handle\` of the thread that opened it`,
  );
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function isMemory(value: unknown): value is WasmMemory {
  return value instanceof wasm.Memory && value.buffer instanceof SharedArrayBuffer;
}

function isCount(value: unknown, max: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max;
}

/** What the memory says of itself against what the handle says of it. */
function assertSizes(memory: PoolMemory): void {
  const header = new Uint32Array(memory.control.buffer);
  const word = (offset: number): number => header[offset / WORD] ?? 0;
  if (word(H_MAGIC) !== MAGIC) throw notAHandle('its memory is not that of a pool');
  if (word(H_ABI) !== ABI_VERSION) {
    throw new WeirpoolError(
      'ABI_MISMATCH',
      `The pool has layout ${word(H_ABI)}, this code expects ${ABI_VERSION}. Use the same version of ` +
        'weirpool in every thread.',
      { details: { found: word(H_ABI), expected: ABI_VERSION } },
    );
  }
  const { frames, stagingFrames, ringBytes, blobBytes, scratchBytes, framesPerArena } = memory;
  const hasRing = word(H_RING) !== 0;
  const fits =
    frames === word(H_FRAMES) &&
    blobBytes === word(H_BLOB_BYTES) &&
    stagingFrames === word(H_STAGING_COUNT) &&
    ringBytes === (hasRing ? word(H_RING_MASK) + 1 : 0) &&
    scratchBytes === (hasRing ? scratchBytesOf(blobBytes) : 0) &&
    framesPerArena === framesPerArenaOf(blobBytes, scratchBytes);
  if (!fits) throw notAHandle('its sizes are not those of its memory');
}

function assertArenas(memory: PoolMemory): void {
  const { arenas, framesPerArena, blobBytes, scratchBytes } = memory;
  const all = memory.frames + memory.stagingFrames;
  const isWhole =
    Array.isArray(arenas) &&
    arenas.length === Math.ceil(all / framesPerArena) &&
    // A copy: `every` passes over what was left out.
    [...arenas].every((arena: unknown, index) => {
      const here = Math.min(all - index * framesPerArena, framesPerArena);
      const bytes = here * blobBytes + SLOTS_MAX * scratchBytes;
      return isMemory(arena) && arena.buffer.byteLength >= bytes;
    });
  if (!isWhole) throw notAHandle('its arenas are not those of its memory');
}

function isLog(log: PoolHandle['log']): boolean {
  if (log === undefined) return true;
  return (
    isObject(log) && DURABILITY_LEVELS.includes(log.durability) && typeof log.debug === 'boolean'
  );
}

/**
 * @throws {TypeError} not a handle, or one that was changed; {WeirpoolError} `ABI_MISMATCH`.
 */
export function assertHandle(handle: PoolHandle): void {
  const memory = isObject(handle) ? handle.memory : undefined;
  if (!isObject(memory) || !isMemory(memory.control)) throw notAHandle('it has no memory');
  const { control, kernels } = isObject(memory.modules) ? memory.modules : {};
  if (!(control instanceof wasm.Module && kernels instanceof wasm.Module)) {
    throw notAHandle('it has no modules');
  }
  assertSizes(memory);
  assertArenas(memory);
  const { backend, backendWords, frameWaitMs, readOnly, log } = handle;
  const hasWords =
    backendWords instanceof SharedArrayBuffer && backendWords.byteLength >= BACKEND_BYTES;
  if (!hasWords) throw notAHandle('it has no words of a store');
  if (backend !== undefined && !isObject(backend)) throw notAHandle('it has no store');
  if (!isCount(frameWaitMs, WAIT_MS_MAX) || typeof readOnly !== 'boolean') {
    throw notAHandle('its options are none');
  }
  if (!isLog(log) || (log !== undefined) !== memory.ringBytes > 0)
    throw notAHandle('it has no log');
}
