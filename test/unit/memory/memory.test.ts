/** Shared memory of a pool, poison, and the check of the layout. */
import { describe, expect, it } from 'vitest';
import { CONTROL_FENCED_WASM, CONTROL_WASM, KERNELS_WASM } from '../../../src/generated/assets.ts';
import { H_STATUS, OK, STATUS_CLOSED, STATUS_OPEN } from '../../../src/generated/layout.ts';
import { poison, stoppedError } from '../../../src/memory/poison.ts';
import { createPoolMemory, ThreadMemory } from '../../../src/memory/pool-memory.ts';
import { PoolThread } from '../../../src/memory/thread.ts';
import { compileModules, instantiateControl } from '../../../src/memory/wasm.ts';
import { wasm } from '../../../src/memory/webassembly.ts';

const SOURCES = {
  control: CONTROL_WASM,
  controlFenced: CONTROL_FENCED_WASM,
  kernels: KERNELS_WASM,
};
const BLOB_BYTES = 4096;

function newMemory(frames = 4, blobBytes = BLOB_BYTES, arch: string = process.arch) {
  const plan = { frames, blobBytes, shards: 1, blobsMax: 64, slotsMin: 0 };
  const memory = createPoolMemory(plan, compileModules(SOURCES, arch));
  const view = new ThreadMemory(memory);
  view.store(H_STATUS, STATUS_OPEN);
  return { memory, view };
}

describe('frames', () => {
  it('I4 do not overlap, and every thread sees the same bytes', () => {
    const { memory, view } = newMemory();
    for (let n = 0; n < 4; n++) view.frame(n).bytes.fill(n + 1);
    const other = new ThreadMemory(memory);
    for (let n = 0; n < 4; n++) {
      const { bytes, index } = other.frame(n);
      expect([index, bytes.length, bytes.every((byte) => byte === n + 1)]).toEqual([
        n,
        BLOB_BYTES,
        true,
      ]);
      expect(other.frame(n)).toBe(other.frame(n));
    }
    expect(() => view.frame(4)).toThrow(RangeError);
  });

  it('are copied whole; the checksum depends on every byte and on the id', () => {
    const { view } = newMemory();
    view.frame(0).bytes.forEach((_, at, bytes) => {
      bytes[at] = at * 7;
    });
    view.copy(3, 0);
    expect(Buffer.compare(view.frame(3).bytes, view.frame(0).bytes)).toBe(0);
    const sum = view.checksum(0, 1);
    expect([view.checksum(3, 1) === sum, view.checksum(0, 2) === sum]).toEqual([true, false]);
    const { bytes } = view.frame(3);
    for (let at = 0; at < BLOB_BYTES; at++) {
      bytes[at] = (bytes[at] as number) ^ 1;
      expect(view.checksum(3, 1)).not.toBe(sum);
      bytes[at] = (bytes[at] as number) ^ 1;
    }
    expect(view.checksum(3, 1)).toBe(sum);
  });

  it('lie in several arenas when one is too small', () => {
    const blobBytes = 4 * 1024 * 1024;
    const { memory, view } = newMemory(1025, blobBytes);
    expect(memory.arenas.map(({ buffer }) => buffer.byteLength / blobBytes)).toEqual([1024, 1]);
    view.frame(1024).u32[0] = 7;
    view.frame(0).u32[0] = 8;
    view.copy(1, 1024); // across
    expect([view.frame(1).u32[0], view.frame(1024).u32[0]]).toEqual([7, 7]);
    expect(view.checksum(1, 5)).toBe(view.checksum(1024, 5));
  });
});

describe('the modules', () => {
  it('validation is the same in the fenced build', () => {
    for (const arch of ['x64', 'arm64']) {
      const { memory } = newMemory(4, BLOB_BYTES, arch);
      const { control, me } = new PoolThread(memory);
      const frame = control.takeFree(me, 0);
      control.publishLoading(1, frame, me, 0);
      control.finishLoad(frame, me, 0);
      const version = control.optimistic(frame);
      expect(control.validate(frame, version)).toBe(1);
      expect(control.upgrade(frame, version, me)).toBe(OK);
      expect(control.validate(frame, version)).toBe(0);
    }
  });

  it('ABI_MISMATCH for a module with another layout', () => {
    const { kernels } = compileModules(SOURCES);
    const memory = new wasm.Memory({ initial: 1, maximum: 1, shared: true });
    expect(() => instantiateControl(kernels, memory)).toThrow(
      expect.objectContaining({ code: 'ABI_MISMATCH' }),
    );
  });
});

describe('poison', () => {
  it('keeps the first cause, in every thread', () => {
    const { memory, view } = newMemory();
    poison(view, 'WORKER_DIED', 'the first reason');
    poison(view, 'STORE_IO', 'a later one');
    const error = stoppedError(new ThreadMemory(memory));
    expect(error).toMatchObject({
      code: 'POISONED',
      outcome: 'unknown',
      details: { cause: 'WORKER_DIED' },
    });
    expect(error.cause).toMatchObject({ code: 'WORKER_DIED', message: 'the first reason' });
  });

  it('cuts a cause that is too long, at a whole character', () => {
    const { view } = newMemory();
    poison(view, 'STORE_IO', 'ä'.repeat(400));
    const { message } = stoppedError(view).cause as Error;
    expect(message).toBe('ä'.repeat(256));
  });

  it('leaves a pool that is closed closed', () => {
    const { view } = newMemory();
    view.store(H_STATUS, STATUS_CLOSED);
    poison(view, 'STORE_IO', 'late');
    expect(stoppedError(view)).toMatchObject({ code: 'POOL_CLOSED', outcome: 'not_applied' });
  });
});

describe('a thread of the pool', () => {
  it('G1 gives back what it holds when it leaves, once', () => {
    const { memory } = newMemory();
    const thread = new PoolThread(memory);
    const other = new PoolThread(memory);
    const { control, me } = thread;
    const frame = control.takeFree(me, 0);
    control.publishLoading(1, frame, me, 0);
    control.finishLoad(frame, me, 0);
    control.acquireShared(frame, me, 0);
    expect(thread.latchesHeld).toBe(1);
    thread.detach();
    thread.detach();
    expect([control.holdsOf(frame), thread.attached]).toEqual([0, false]);
    expect(() => thread.assertRunning()).toThrow(expect.objectContaining({ code: 'POOL_CLOSED' }));
    other.assertRunning();
    expect(control.evictFrame(frame, 1, other.me, 0)).toBe(OK);
  });

  it('does not take itself or another living thread for dead', () => {
    const { memory } = newMemory();
    const [one, two] = [new PoolThread(memory), new PoolThread(memory)];
    one.reaper.reapVanished();
    one.lookAround();
    two.reaper.reapNodeThread(12345);
    expect(one.control.attachedState(one.me) * one.control.attachedState(two.me)).not.toBe(0);
  });
});
