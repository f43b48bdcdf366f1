/** What once went wrong in rounds. */
import { describe, expect, it } from 'vitest';
import { Round } from '../../../src/checkpoint/round.ts';
import type { LogServices } from '../../../src/memory/services.ts';
import { openCore } from '../../../src/pool/open.ts';
import type { BackendContext, SlotWrite, StoreBackend } from '../../../src/store/contract.ts';
import { createMemoryStore, MemoryBackend } from '../../../src/store/memory-backend.ts';
import { rejectionOf } from '../pool/support.ts';
import { DIRECTORY, NO_ROUNDS, newDisk, record } from './log-support.ts';

/** Each batch does what the plan says; `unsettled` counts those that have not settled. */
class PlannedBackend extends MemoryBackend {
  readonly plan: ('reject' | 'nothing' | 'late')[] = [];
  unsettled = 0;

  override async writeSlots(writes: readonly SlotWrite[]) {
    const what = this.plan.shift();
    if (what === 'reject') throw new Error('the whole batch has failed');
    if (what === 'nothing') return [];
    this.unsettled++;
    if (what === 'late') await new Promise((done) => setTimeout(done, 20));
    this.unsettled--;
    return super.writeSlots(writes);
  }
}

async function openPlanned() {
  let backend: PlannedBackend | undefined;
  const data = createMemoryStore(4096, { capacityBytes: 64 * 4096 });
  const store = (context: BackendContext): StoreBackend => {
    backend = new PlannedBackend(context, data);
    return backend;
  };
  const { core } = await openCore(DIRECTORY, {
    blobBytes: 4096,
    frames: 8,
    log: { ringBytes: 16384, bytesMax: 1 << 20 },
    checkpoint: NO_ROUNDS,
    threads: 'inline',
    fileSystem: newDisk(),
    store,
  });
  return { core, backend: backend as unknown as PlannedBackend };
}

describe('a batch that a store gives no result for', () => {
  it.each(['reject', 'nothing'] as const)(
    'I6 fails the round after every other write has settled: %s',
    async (what) => {
      const { core, backend } = await openPlanned();
      for (let n = 0; n < 3; n++) {
        core.log?.transactions.change((op) => {
          op.create();
          op.seal(4);
          op.commit(record(n));
        });
      }
      const { thread, store, control } = core;
      const services = thread.services as LogServices;
      const host = { thread, store, services, logWaitMs: 50, onRound: () => {} };
      const newRound = (): Round => new Round(host);
      const free = control.stagingFree();
      backend.plan.push('late', what, 'late');
      const { code } = await rejectionOf(newRound().runAsync());
      expect(code).toBe('STORE_IO');
      expect(backend.unsettled, 'writes under way').toBe(0);
      expect(control.stagingFree()).toBe(free);
      const outcome = await newRound().runAsync();
      expect(outcome.frames).toBe(3);
      expect(store.list()).toHaveLength(3);
      expect(store.verify()).toEqual([]);
    },
  );
});
