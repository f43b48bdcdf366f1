/**
 * Opening a pool's log: replay what is above the cut, then begin a segment of its own.
 *
 * Owns:        the order of these steps, in the opener.
 * Threads:     the opener.
 */
import { InlineServices } from '../checkpoint/inline.ts';
import { WeirpoolError } from '../errors.ts';
import { type FileSystem, nodeFileSystem } from '../fs/file-system.ts';
import { DirectorySync } from '../fs/files.ts';
import {
  H_DIRTY_TRIGGER,
  H_LOG_BASE,
  H_LOG_BOUND,
  H_LOG_CONSUMED,
  H_LOG_DURABLE,
  H_LOG_TAIL,
  H_LOG_TAKEN,
  H_LOG_TRIGGER,
  H_LOG_WRITTEN,
  H_OPENED_AT,
  H_RECORD_SEED,
} from '../generated/layout.ts';
import { NoServices } from '../memory/services.ts';
import type { WasmModule } from '../memory/webassembly.ts';
import { type Owners, Recovery } from '../recovery/replay.ts';
import { type BlobId, BULK_OWNER, type StoreImage } from '../store/contract.ts';
import type { DirectoryAccess } from '../store/manifest-files.ts';
import { LogSums } from '../wal/format.ts';
import { Journal } from '../wal/journal.ts';
import type { LogRing } from '../wal/ring.ts';
import { listLogFiles } from '../wal/segment-files.ts';
import { type LogParts, LogWriter, type LogWriterState } from '../wal/segment-writer.ts';
import type { PoolCore } from './core.ts';
import { publishLater } from './events.ts';
import type { LogSettings } from './log-options.ts';
import type { PoolLog } from './pool-log.ts';

const F64 = Float64Array.BYTES_PER_ELEMENT;
const STAGING_MIN = 4;
const STAGING_MAX = 64;
/** A staging frame for so many frames. */
const FRAMES_PER_STAGING = 8;
/** A round is asked for at this share of the bound. */
const TRIGGER_SHARE = 0.5;

/** What the journal worker needs to open the log where the opener has left it. */
export interface JournalHandle {
  readonly directory: string;
  readonly storeId: bigint;
  readonly epoch: number;
  readonly segmentBytes: number;
  readonly recordBytesMax: number;
  readonly intervalMs: number;
  readonly state: LogWriterState;
}

/** Frames in which rounds keep images. */
export function stagingFramesOf(frames: number): number {
  const wanted = Math.ceil(frames / FRAMES_PER_STAGING);
  return Math.max(STAGING_MIN, Math.min(STAGING_MAX, wanted));
}

export function accessOf(directory: string, fs: FileSystem = nodeFileSystem): DirectoryAccess {
  return { fs, directory, directorySync: new DirectorySync(fs) };
}

/** Whether the store in the directory has a log. */
export function hasLog(image: StoreImage, access: DirectoryAccess): boolean {
  return image.checkpointSeq > 0 || listLogFiles(access).segments.length > 0;
}

/**
 * Whether the store in the directory is to be opened with a log.
 *
 * @throws {WeirpoolError} `LOGGED_POOL`: it has one, and was to be opened without.
 */
export function wantsLog(log: boolean | undefined, has: boolean, access: DirectoryAccess): boolean {
  if (has && log === false) {
    throw new WeirpoolError(
      'LOGGED_POOL',
      `The store in ${access.directory} has a log, and records in it may be in no blob yet: open ` +
        'it without `log: false`.',
    );
  }
  return log ?? has;
}

/** Everything that the opener knows about the log. */
export interface LogPlan {
  readonly settings: LogSettings;
  readonly access: DirectoryAccess;
  readonly image: StoreImage;
  readonly kernels: WasmModule;
  readonly owners: Owners;
}

export interface OpenedLog {
  /** For the journal worker; undefined when everything runs inline. */
  readonly handle: JournalHandle | undefined;
  readonly services: InlineServices;
}

function publishSettings({ memory }: PoolCore, plan: LogPlan, sums: LogSums): void {
  const { bytesMax, checkpoint } = plan.settings;
  memory.f64[H_RECORD_SEED / F64] = sums.seed(plan.image.storeId, plan.image.epoch);
  memory.f64[H_LOG_BOUND / F64] = bytesMax;
  memory.f64[H_LOG_TRIGGER / F64] = Math.floor(bytesMax * TRIGGER_SHARE);
  memory.store(H_DIRTY_TRIGGER, checkpoint.dirtyFrames);
  memory.storeU64(H_OPENED_AT, Date.now());
}

function makeRecovery(core: PoolCore, log: PoolLog, plan: LogPlan): Recovery {
  const { settings, access, image, kernels, owners } = plan;
  const sums = new LogSums(kernels);
  publishSettings(core, plan, sums);
  log.roots.set(image.roots, 0);
  const { storeId, epoch, checkpointSeq } = image;
  const { segmentBytes, recordBytesMax } = settings;
  const writerParts: LogParts = { access, sums, storeId, epoch, segmentBytes, recordBytesMax };
  const source = { access, sums, storeId, checkpointSeq };
  return new Recovery({ thread: core.thread, source, writerParts, owners });
}

/** Replays in memory, and writes nothing. */
export function replayToRead(core: PoolCore, log: PoolLog, plan: LogPlan): void {
  const services = new NoServices();
  core.thread.services = services;
  services.hopeless = true;
  makeRecovery(core, log, plan).replayAll(log.transactions);
  services.hopeless = false;
  const { memory } = core;
  const { checkpointSeq } = plan.image;
  const end = Math.max(memory.loadU64(H_LOG_TAIL), checkpointSeq);
  for (const word of [H_LOG_TAIL, H_LOG_TAKEN, H_LOG_CONSUMED, H_LOG_WRITTEN, H_LOG_DURABLE]) {
    memory.storeU64(word, end);
  }
  memory.storeU64(H_LOG_BASE, checkpointSeq);
  const left = unadopted(core, plan.image);
  core.store.forget(left.ids);
  for (const id of left.ids) core.residency.drop(id);
}

function replay(recovery: Recovery, log: PoolLog): LogWriter {
  try {
    recovery.replayAll(log.transactions);
    return recovery.finish();
  } catch (error) {
    recovery.abandon();
    throw error;
  }
}

/** Replays, and opens the log for writing. */
export function openLog(core: PoolCore, log: PoolLog, plan: LogPlan, inline: boolean): OpenedLog {
  const { settings, access, image } = plan;
  const { thread, store } = core;
  const { storeId, epoch } = image;
  const { segmentBytes, recordBytesMax, intervalMs } = settings;
  const recovery = makeRecovery(core, log, plan);
  let journal: Journal | undefined;
  const theJournal = (): Journal => {
    journal ??= new Journal(thread, log.ring, recovery.writer(), intervalMs);
    return journal;
  };
  const logWaitMs = core.residency.frameWaitMs;
  const host = { thread, store, logWaitMs, onRound: publishLater };
  const services = new InlineServices(host, theJournal, settings.checkpoint);
  thread.services = services;
  const writer = replay(recovery, log);
  theJournal();
  dropUnadopted(core, log, image);
  if (inline) return { handle: undefined, services };
  const common = { directory: access.directory, storeId, epoch, segmentBytes, recordBytesMax };
  return { handle: { ...common, intervalMs, state: writer.handOver() }, services };
}

/** What is left of bulk loads that no record has adopted. */
function unadopted({ control, store }: PoolCore, image: StoreImage) {
  const ranges = [...image.roots].filter(
    ([owner]) => owner >= BULK_OWNER && control.rootOf(owner) !== 0,
  );
  const isOf = (id: BlobId): boolean =>
    ranges.some(([owner, last]) => owner - BULK_OWNER <= id && id <= last);
  const owners = ranges.map(([owner]) => owner);
  return { owners, ids: owners.length === 0 ? [] : store.list().filter(isOf) };
}

function dropUnadopted(core: PoolCore, { roots }: PoolLog, image: StoreImage): void {
  const { store, residency } = core;
  const { owners, ids: deleted } = unadopted(core, image);
  if (owners.length === 0) return;
  const gone = new Map(owners.map((owner): [number, 0] => [owner, 0]));
  const { leaseEnd: nextBlobId } = store;
  store.exclusively(() => {
    store.commitSynced({ mapped: [], deleted, nextBlobId, roots: gone });
    // A record may have changed one of them: a round must not bring it back.
    for (const id of deleted) residency.drop(id);
  });
  roots.set(gone, 0);
}

/** The journal in its worker, where the opener has left it. */
export function adoptJournal(core: PoolCore, ring: LogRing, handle: JournalHandle): Journal {
  const sums = new LogSums(core.memory.shared.modules.kernels);
  const { directory, storeId, epoch, segmentBytes, recordBytesMax, intervalMs, state } = handle;
  const access = accessOf(directory);
  const parts = { access, sums, storeId, epoch, segmentBytes, recordBytesMax };
  // As many as one round trims: making new ones would write every byte of the log twice.
  const trigger = core.memory.f64[H_LOG_TRIGGER / F64] as number;
  const reuse = { keptMax: Math.ceil(trigger / segmentBytes), directWrites: true };
  return new Journal(core.thread, ring, LogWriter.adopt({ ...parts, ...reuse }, state), intervalMs);
}
