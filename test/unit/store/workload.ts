/**
 * A scripted workload for a file store, on a file system that fails, and the check afterwards.
 *
 * Each step writes some blobs to slots that the committed mapping does not name, syncs, and commits
 * them with a deletion now and then. What was acknowledged must be there after reopening; of what
 * was under way it is there whole or not at all; the bytes of every blob must match. Slots are
 * given out lowest first, so that one which was left by a commit is written again at once.
 */
import type { FileSystem } from '../../../src/fs/file-system.ts';
import type { ProcessTable } from '../../../src/fs/processes.ts';
import type { StoreChange } from '../../../src/store/contract.ts';
import { FileBackend, type FileBackendOptions } from '../../../src/store/file-backend.ts';
import { recordOf, StoreState } from '../../../src/store/store-state.ts';
import { BLOB_BYTES, checksummer, comparable, newContext } from './support.ts';

export const STEPS = 9;

/** A process of its own for each run: those of earlier runs are dead. */
function processesOf(run: number): ProcessTable {
  return {
    self: () => ({ pid: 1000 + run, startTime: 1, host: 'sim', scope: 'sim' }),
    stateOf: ({ pid }) => (pid === 1000 + run ? 'alive' : 'dead'),
  };
}

export function simOptions(run: number, fileSystem: FileSystem): FileBackendOptions {
  const unsupported = async () => 'unsupported' as const;
  const sockets = { listen: unsupported, ask: unsupported };
  return {
    fileSystem,
    lock: { sockets, processes: processesOf(run) },
    manifestLogBytes: 8192,
    newStoreId: 77n,
  };
}

function clone(state: StoreState): StoreState {
  const copy = new StoreState();
  copy.apply(state.snapshot());
  return copy;
}

function bytesOf(id: number, step: number): Uint8Array {
  const bytes = new Uint8Array(BLOB_BYTES);
  new Uint32Array(bytes.buffer).fill(id * 1000 + step);
  return bytes;
}

/** What is known to be committed, and what may be. */
export class History {
  acknowledged = new StoreState();
  maybe: StoreState | undefined;
  runs = 0;

  /** The states that a reopened store may have. */
  get possible(): unknown[] {
    const states = this.maybe === undefined ? [] : [this.maybe];
    return [this.acknowledged, ...states].map((state) => comparable(state.image(0n)));
  }
}

interface StepResult {
  /** Whether the workload may go on. */
  readonly goOn: boolean;
}

function stepChange(history: History, step: number): StoreChange {
  const { blobs } = history.acknowledged;
  const used = new Set([...blobs.values()].map(({ slot }) => slot));
  const ids = [1 + (step % 3), 4 + (step % 2)];
  let slot = 0;
  const mapped = ids.map((id) => {
    while (used.has(slot)) slot++;
    return { id, slot: slot++, checksum: checksummer.of(bytesOf(id, step), id) };
  });
  const deleted = step % 4 === 3 ? [1 + ((step + 1) % 3)] : [];
  return { mapped, deleted, nextBlobId: 10 + step, checkpointSeq: step };
}

function outcomeOf(error: unknown): string | undefined {
  return (error as { outcome?: string }).outcome;
}

async function runStep(backend: FileBackend, history: History, step: number): Promise<StepResult> {
  const change = stepChange(history, step);
  const writes = change.mapped.map(({ id, slot }) => ({ slot, source: bytesOf(id, step) }));
  const results = await backend.writeSlots(writes);
  if (results.some(({ error }) => error !== undefined)) return { goOn: true };
  try {
    backend.sync();
  } catch {
    return { goOn: false };
  }
  const next = clone(history.acknowledged);
  next.apply(recordOf(change, history.acknowledged));
  try {
    backend.commit(change);
  } catch (error) {
    if (outcomeOf(error) !== 'unknown') return { goOn: true };
    history.maybe = next;
    return { goOn: false };
  }
  history.acknowledged = next;
  return { goOn: true };
}

export interface RunOptions {
  /** Whether the process dies at the first call that fails: nothing more happens then. */
  readonly died: () => boolean;
  readonly close: boolean;
}

/** Opens the store and runs the steps, as far as they go. */
export async function runWorkload(
  fs: FileSystem,
  history: History,
  { died, close }: RunOptions,
): Promise<void> {
  const backend = new FileBackend('/sim', newContext(), simOptions(history.runs++, fs));
  try {
    const { epoch } = await backend.open();
    history.acknowledged.epoch = epoch;
  } catch {
    return;
  }
  for (let step = 0; step < STEPS; step++) {
    const before = history.acknowledged;
    const { goOn } = await runStep(backend, history, step);
    if (died() && history.acknowledged === before && history.maybe === undefined) {
      // It died somewhere in this step; if within the commit, that may have happened.
      const next = clone(before);
      next.apply(recordOf(stepChange(history, step), before));
      history.maybe = next;
    }
    if (died() || !goOn) break;
  }
  if (close && !died()) await backend.close().catch(() => undefined);
}

/** What is wrong with the store after reopening, or undefined. */
export async function findViolation(fs: FileSystem, history: History): Promise<string | undefined> {
  const backend = new FileBackend('/sim', newContext(), simOptions(history.runs++, fs));
  try {
    const image = await backend.open();
    const found = JSON.stringify(comparable(image), plain);
    if (!history.possible.some((state) => JSON.stringify(state, plain) === found)) {
      return `state ${found}`;
    }
    const bytes = new Uint8Array(BLOB_BYTES);
    for (const { id, slot, checksum } of image.blobs) {
      backend.readSlot(slot, bytes);
      if (checksummer.of(bytes, id) !== checksum) return `bytes of blob ${id} in slot ${slot}`;
    }
    return undefined;
  } catch (error) {
    return String(error);
  } finally {
    await backend.close().catch(() => undefined);
  }
}

function plain(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}
