/** Handles that were changed on the way are refused before anything is done with them. */
import { describe, expect, it } from 'vitest';
import { BufferPool } from '../../../src/pool/pool.ts';
import { Weirpool, type WeirpoolHandle } from '../../../src/tree/weirpool.ts';
import { temporaryDirectory } from './support.ts';

type Fields = Record<string, unknown>;

/** The handle with another value at a path. */
function changed(handle: object, path: string, value: unknown): Fields {
  const [name = '', ...rest] = path.split('.');
  const copy: Fields = { ...(handle as Fields) };
  copy[name] = rest.length === 0 ? value : changed(copy[name] as object, rest.join('.'), value);
  return copy;
}

const CHANGES: readonly (readonly [string, unknown])[] = [
  ['pool', undefined],
  ['pool.memory', null],
  ['pool.memory.control', { buffer: new SharedArrayBuffer(1024 * 1024) }],
  ['pool.memory.arenas', []],
  ['pool.memory.arenas', new Array(1)],
  ['pool.memory.modules', {}],
  ['pool.memory.frames', 65],
  ['pool.memory.frames', Number.NaN],
  ['pool.memory.stagingFrames', 0],
  ['pool.memory.ringBytes', 2 ** 32],
  ['pool.memory.framesPerArena', 1],
  ['pool.memory.scratchBytes', 0],
  ['pool.memory.blobBytes', 8192],
  ['pool.backendWords', new SharedArrayBuffer(8)],
  ['pool.backend', 7],
  ['pool.frameWaitMs', Number.NaN],
  ['pool.readOnly', undefined],
  ['pool.log', undefined],
  ['pool.log.durability', 'soon'],
  ['flushBytes', 'many'],
];

describe('a handle', () => {
  it.each(CHANGES)('with another %s is a TypeError: %o', async (path, value) => {
    const log = { ringBytes: 64 * 1024 };
    const options = { blobBytes: 4096, frames: 64, log };
    const db = await Weirpool.open(temporaryDirectory(), options);
    const slots = db.stats().threads;
    const handle = changed(db.handle, path, value) as unknown as WeirpoolHandle;
    await expect(Weirpool.attach(handle)).rejects.toThrow(TypeError);
    expect(db.stats().threads).toEqual(slots);
    await db.close();
  });

  it.each([undefined, null, 'handle', {}])('is none: %o', async (value) => {
    await expect(Weirpool.attach(value as unknown as WeirpoolHandle)).rejects.toThrow(TypeError);
    await expect(BufferPool.attach(value as never)).rejects.toThrow(TypeError);
  });
});
