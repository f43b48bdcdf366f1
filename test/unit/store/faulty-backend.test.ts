/** The backend that fails as planned does exactly that. */
import { describe, expect, it } from 'vitest';
import { type BackendFault, FaultyBackend } from '../../../src/store/faulty-backend.ts';
import { MemoryBackend } from '../../../src/store/memory-backend.ts';
import { change, mapping } from './file-support.ts';
import { BLOB_BYTES, errorFrom, newContext, rejectionOf } from './support.ts';

const ONES = new Uint8Array(BLOB_BYTES).fill(1);

async function faulty(...faults: BackendFault[]) {
  const backend = new FaultyBackend(new MemoryBackend(newContext()), faults);
  await backend.open();
  return backend;
}

function read(backend: FaultyBackend, slot: number): Uint8Array {
  const target = new Uint8Array(BLOB_BYTES);
  backend.readSlot(slot, target);
  return target;
}

describe('the faulty backend', () => {
  it('fails the n-th call of an operation once, before anything happens', async () => {
    const backend = await faulty({ operation: 'writeSlot', call: 2, errno: 'ENOSPC' });
    backend.writeSlot(0, ONES);
    expect(errorFrom(() => backend.writeSlot(1, ONES))).toMatchObject({
      code: 'STORE_IO',
      outcome: 'not_applied',
      details: { operation: 'writeSlot', errno: 'ENOSPC', slot: 1 },
      cause: { code: 'ENOSPC' },
    });
    expect(read(backend, 1)[0]).toBe(0);
    backend.writeSlot(1, ONES);
    expect(read(backend, 1)[0]).toBe(1);
  });

  it('fails for ever until it is healed', async () => {
    const backend = await faulty({ operation: 'sync', call: 2, forEver: true });
    backend.sync();
    for (let i = 0; i < 3; i++) {
      expect(errorFrom(() => backend.sync())).toMatchObject({ outcome: 'unknown' });
    }
    backend.heal();
    backend.sync();
  });

  it('fails after the call was done, with an unknown outcome', async () => {
    const backend = await faulty({ operation: 'commit', effect: 'failAfter' });
    expect(errorFrom(() => backend.commit(mapping(1)))).toMatchObject({ outcome: 'unknown' });
    const { data } = backend.inner as MemoryBackend;
    const again = await new MemoryBackend(newContext(), data).open();
    expect(again.blobs).toHaveLength(1);
  });

  it('fails a commit before it, which leaves the store as it was', async () => {
    const backend = await faulty({ operation: 'commit' });
    expect(errorFrom(() => backend.commit(mapping(1)))).toMatchObject({ outcome: 'not_applied' });
    const { data } = backend.inner as MemoryBackend;
    const again = await new MemoryBackend(newContext(), data).open();
    expect(again.blobs).toEqual([]);
  });

  it('tears a write in the middle of the slot', async () => {
    const backend = await faulty({ operation: 'writeSlot', effect: 'tear', forEver: true });
    expect(errorFrom(() => backend.writeSlot(0, ONES))['code']).toBe('STORE_IO');
    const [result] = await backend.writeSlots([{ slot: 1, source: ONES }]);
    expect(result).toMatchObject({ slot: 1, error: { code: 'STORE_IO' } });
    for (const slot of [0, 1]) {
      const bytes = read(backend, slot);
      expect(bytes[BLOB_BYTES / 2 - 1]).toBe(1);
      expect(bytes[BLOB_BYTES / 2]).not.toBe(1);
    }
  });

  it('flips the bit that it was told to in what is read', async () => {
    const backend = await faulty({ operation: 'readSlot', effect: 'flip', bit: 8 * 100 + 3 });
    backend.writeSlot(0, ONES);
    const wrong = read(backend, 0);
    expect(wrong[100]).toBe(1 ^ 8);
    wrong[100] = 1;
    expect(wrong).toEqual(ONES);
    expect(read(backend, 0)).toEqual(ONES);
  });

  it('hits single writes of a batch, or the batch as a whole', async () => {
    const backend = await faulty({ operation: 'writeSlot', call: 2 });
    const writes = [0, 1, 2].map((slot) => ({ slot, source: ONES }));
    const results = await backend.writeSlots(writes);
    expect(results.map(({ error }) => error === undefined)).toEqual([true, false, true]);
    expect(read(backend, 1)[0]).toBe(0);
    expect(read(backend, 2)[0]).toBe(1);
    backend.plan({ operation: 'writeSlots' });
    expect((await rejectionOf(backend.writeSlots(writes)))['code']).toBe('STORE_IO');
  });

  it('is late when it was told to be', async () => {
    const backend = await faulty(
      { operation: 'sync', effect: 'delay', delayMs: 1 },
      { operation: 'writeSlot', effect: 'delay', delayMs: 1 },
      { operation: 'close', effect: 'delay', delayMs: 1 },
    );
    backend.sync();
    const [result] = await backend.writeSlots([{ slot: 0, source: ONES }]);
    expect(result).toEqual({ slot: 0, error: undefined });
    await backend.close();
  });

  it('plans from now on, and records every call with the fault that hit it', async () => {
    const backend = await faulty();
    backend.sync();
    const fault: BackendFault = { operation: 'sync', call: 2 };
    backend.plan(fault);
    backend.sync();
    expect(() => backend.sync()).toThrow();
    backend.writeSlot(7, ONES);
    backend.commit(change());
    expect(backend.trace).toEqual([
      { operation: 'open', call: 1, slot: undefined, fault: undefined },
      { operation: 'sync', call: 1, slot: undefined, fault: undefined },
      { operation: 'sync', call: 2, slot: undefined, fault: undefined },
      { operation: 'sync', call: 3, slot: undefined, fault: { operation: 'sync', call: 3 } },
      { operation: 'writeSlot', call: 1, slot: 7, fault: undefined },
      { operation: 'commit', call: 1, slot: undefined, fault: undefined },
    ]);
  });
});
