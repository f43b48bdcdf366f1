/**
 * Opening a pool: the store first, then the memory, then the services.
 *
 * Owns:        the order, and giving everything back when a step fails.
 * Threads:     the opener. It holds the store for the process until it closes.
 */
import { resolve } from 'node:path';
import { SERVICE_SOURCE } from '../generated/assets.ts';
import {
  H_OPENER,
  H_SERVICES,
  H_STATUS,
  SERVICES_STOP,
  STATUS_CLOSED,
  STATUS_OPEN,
} from '../generated/layout.ts';
import { Checksummer } from '../memory/checksum.ts';
import { wakeAll } from '../memory/poison.ts';
import { createPoolMemory, type MemoryPlan } from '../memory/pool-memory.ts';
import { PoolThread } from '../memory/thread.ts';
import type { WasmModule } from '../memory/webassembly.ts';
import type { Owners } from '../recovery/replay.ts';
import { createBackend, type MemoryStoreSpec } from '../store/attach-backend.ts';
import type { BackendContext, StoreBackend, StoreImage } from '../store/contract.ts';
import { storedBlobBytes } from '../store/file-backend.ts';
import { MappedStore } from '../store/mapped-store.ts';
import { backendContext, type PoolHandle } from './attach.ts';
import { PoolCore } from './core.ts';
import { resolveLog } from './log-options.ts';
import { LogService } from './log-service.ts';
import { modules } from './modules.ts';
import {
  accessOf,
  hasLog,
  type LogPlan,
  openLog,
  replayToRead,
  stagingFramesOf,
  wantsLog,
} from './open-log.ts';
import {
  BLOB_BYTES_DEFAULT,
  type PoolOptions,
  type ResolvedOptions,
  resolveBlobsMax,
  resolveOptions,
} from './options.ts';
import type { PoolLog } from './pool-log.ts';
import { BackgroundSweep, LoaderService } from './services.ts';

/** Words of shared memory that a backend may use, see BackendContext. */
const BACKEND_WORDS = 16;
/** More than the header of a manifest takes. */
const MANIFEST_HEADER_BYTES_MAX = 64 * 1024;

/** The store that the options name; `directory` means nothing to stores that are not files. */
async function makeBackend(
  directory: string,
  options: ResolvedOptions,
  context: BackendContext,
): Promise<StoreBackend> {
  const { store } = options;
  if (typeof store === 'function') return store(context);
  if (store === 'file') {
    const { fileSystem, readOnly } = options;
    const spec = { kind: 'file', directory, readOnly } as const;
    return createBackend(fileSystem === undefined ? spec : { ...spec, fileSystem }, context);
  }
  if (store === 'memory') return createBackend(memorySpec(options, context), context);
  return createBackend({ kind: 'module', ...store }, context);
}

/** Twice `blobsMax` blobs if that is given, since new bytes go to fresh slots; else 1 GiB. */
function memorySpec({ blobsMax }: ResolvedOptions, { blobBytes }: BackendContext): MemoryStoreSpec {
  if (blobsMax === undefined) return { kind: 'memory' };
  return { kind: 'memory', capacityBytes: 2 * blobsMax * blobBytes };
}

/** The size that was asked for, else the one of the store that is there. */
function resolveBlobBytes(directory: string, options: ResolvedOptions): number {
  const { blobBytes, store, fileSystem } = options;
  if (blobBytes !== undefined) return blobBytes;
  if (store !== 'file') return BLOB_BYTES_DEFAULT;
  const checksummer = new Checksummer(modules().kernels, MANIFEST_HEADER_BYTES_MAX);
  return storedBlobBytes(directory, checksummer, fileSystem) ?? BLOB_BYTES_DEFAULT;
}

/** What the opener has beyond what every thread has. */
export interface OpenedPool {
  readonly core: PoolCore;
  readonly handle: PoolHandle;
  readonly loader: LoaderService | undefined;
  readonly sweep: BackgroundSweep | undefined;
  /** Undefined for a pool without a log, and for reading only. */
  readonly log: LogService | undefined;
}

function planLog(
  directory: string,
  options: ResolvedOptions,
  image: StoreImage,
  kernels: WasmModule,
): LogPlan | undefined {
  if (options.store === 'memory') return undefined;
  const access = accessOf(resolve(directory), options.fileSystem);
  // A store that is no directory has no log unless it is asked for one.
  if (options.log === undefined && options.store !== 'file') return undefined;
  const has = hasLog(image, access);
  if (!wantsLog(options.log, has, access) || (options.readOnly && !has)) return undefined;
  const settings = resolveLog(options.logGiven, options.frames);
  return { settings, access, image, kernels, owners: options.owners };
}

function ringOf(plan: LogPlan | undefined, frames: number): Pick<MemoryPlan, 'log'> {
  if (plan === undefined) return {};
  const { ringBytes } = plan.settings;
  return { log: { ringBytes, stagingFrames: stagingFramesOf(frames) } };
}

/** Owners that come with the package, made of the pool's parts before anything is replayed. */
export type MakeOwners = (core: PoolCore, log: PoolLog) => Owners;

interface StartParts {
  readonly core: PoolCore;
  readonly log: PoolLog;
  readonly plan: LogPlan;
  readonly handle: PoolHandle;
  readonly options: ResolvedOptions;
  readonly makeOwners: MakeOwners | undefined;
}

/** Replays, then starts journal and checkpointer. */
function startLog(parts: StartParts): LogService | undefined {
  const { core, log, handle, options, makeOwners } = parts;
  const owners = { ...parts.plan.owners, ...makeOwners?.(core, log) };
  const plan = { ...parts.plan, owners };
  const inline = options.threads === 'inline';
  try {
    if (options.readOnly) {
      replayToRead(core, log, plan);
      return undefined;
    }
    const opened = openLog(core, log, plan, inline);
    return new LogService(core, handle, opened, plan.settings.checkpoint, SERVICE_SOURCE);
  } catch (error) {
    // A service that has been started ends, whatever it is at.
    core.memory.store(H_SERVICES, SERVICES_STOP);
    core.memory.store(H_STATUS, STATUS_CLOSED);
    wakeAll(core.memory);
    core.detach();
    throw error;
  }
}

/** Opens the store at `directory`. Errors: see `BufferPool.open`. */
export async function openCore(
  directory: string,
  given: PoolOptions,
  makeOwners?: MakeOwners,
): Promise<OpenedPool> {
  if (typeof directory !== 'string' || directory === '') {
    throw new TypeError('directory must be a path that is not empty');
  }
  const blobBytes = resolveBlobBytes(directory, resolveOptions(given));
  const options = resolveOptions({ ...given, blobBytes });
  const wasm = modules();
  const backendWords = new SharedArrayBuffer(BACKEND_WORDS * BigInt64Array.BYTES_PER_ELEMENT);
  const context = backendContext(wasm.kernels, blobBytes, backendWords);
  const backend = await makeBackend(directory, options, context);
  try {
    const image = await backend.open();
    const { frames, shards, frameWaitMs } = options;
    const inline = options.threads === 'inline';
    const plan = planLog(directory, options, image, wasm.kernels);
    const blobsMax = resolveBlobsMax(options.blobsMax, image.blobs.length);
    const slotsMin = image.blobs.reduce((end, { slot }) => Math.max(end, slot + 1), 0);
    const sizes = { frames, blobBytes, shards, blobsMax, slotsMin };
    const memory = createPoolMemory({ ...sizes, ...ringOf(plan, frames) }, wasm);
    const thread = new PoolThread(memory);
    const store = new MappedStore(thread, backend, new Checksummer(wasm.kernels, blobBytes));
    store.load(image);
    const log = plan?.settings;
    const { readOnly } = options;
    const core = new PoolCore({ thread, store, frameWaitMs, readOnly, log });
    thread.memory.store(H_OPENER, thread.me + 1);
    thread.memory.store(H_STATUS, STATUS_OPEN);
    const handle: PoolHandle = {
      memory,
      backend: inline ? undefined : backend.handle(),
      backendWords,
      frameWaitMs,
      readOnly,
      log: log && { durability: log.durability, debug: log.debug },
    };
    // First what may fail: nothing else is running then.
    const parts = core.log && plan && { core, log: core.log, plan, handle, options, makeOwners };
    const service = parts && startLog(parts);
    return {
      core,
      handle,
      loader: inline ? undefined : new LoaderService(core, handle, SERVICE_SOURCE),
      sweep: options.sweep && new BackgroundSweep(core, options.sweep),
      log: service,
    };
  } catch (error) {
    await backend.close();
    throw error;
  }
}
