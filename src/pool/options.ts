/**
 * Options of a pool: defaults, bounds, and the refusal of everything else before anything happens.
 */
import type { FileSystem } from '../fs/file-system.ts';
import { FRAMES_MAX, SHARDS_MAX } from '../generated/layout.ts';
import type { Owners } from '../recovery/replay.ts';
import {
  BLOB_BYTES_MAX,
  BLOB_BYTES_MIN,
  isBlobSize,
  type StoreBackend,
} from '../store/contract.ts';
import type { DurabilityLevel } from '../wal/durability.ts';
import { integerBetween } from './integer-between.ts';
import {
  type CheckpointOptions,
  type LogGiven,
  type LogOptions,
  resolveLog,
  resolveOwners,
} from './log-options.ts';

export const BLOB_BYTES_DEFAULT: number = 512 * 1024;
/** Of frames, unless their number is given. */
const POOL_BYTES_DEFAULT = 256 * 1024 * 1024;
const FRAMES_MIN = 4;
const BLOBS_MAX_DEFAULT = 65536;
/** Mapping and spans of more would not fit the 4 GiB of the control memory. */
export const BLOBS_MAX_LIMIT: number = 2 ** 25;
const FRAME_WAIT_MS_DEFAULT = 5000;
const TIME_MS_MAX = 2 ** 31 - 1;
/** Fewer frames than this do not deserve a shard of their own. */
const FRAMES_PER_SHARD = 64;

/** Frees frames in the background, so that a miss finds one. Off unless given. */
export interface SweepOptions {
  /** Time between two looks, in ms. Default 1000. */
  readonly intervalMs?: number;
  /** Looks without a hit after which a blob may go. Default 3. */
  readonly idleTicks?: number;
  /** Free frames at which the sweep stops: it never evicts more than that. Default frames / 16. */
  readonly framesFree?: number;
}

/** A store that every thread builds for itself from a module. */
export interface StoreModule {
  /** Absolute path or `file:` URL of a module that exports `createBackend(context, options)`. */
  readonly module: string;
  /** Cloneable; passed on as it is. */
  readonly options?: unknown;
}

export interface PoolOptions {
  /** Frames of the pool, 4 to 65,536. Default: as many as are 256 MiB, outside the heap. */
  readonly frames?: number;
  /** Bytes of a blob, a power of two from 4 KiB to 4 MiB. Default: the store's, 512 KiB if new. */
  readonly blobBytes?: number;
  /** Blobs that the store may hold. Default 65,536, and four times what it holds already. */
  readonly blobsMax?: number;
  /** Where the blobs are. Default `file`. */
  readonly store?: 'file' | 'memory' | StoreModule | StoreBackendFactory;
  /** How long to wait for a frame that may be evicted, in ms, before `POOL_EXHAUSTED`. Default 5000. */
  readonly frameWaitMs?: number;
  /** Background sweep. Default off. */
  readonly sweep?: SweepOptions;
  /**
   * `workers`: a loader thread serves `prefetch`. `inline`: everything happens in the thread that
   * asks for it, and the pool cannot be attached elsewhere. Default `workers`.
   */
  readonly threads?: 'workers' | 'inline';
  /**
   * The write-ahead log: with it every change is a mini-transaction (`change`) and survives a crash.
   * Default: whether the store in the directory has one already; `true` begins one.
   */
  readonly log?: boolean | LogOptions;
  /** What `durable` waits for unless told otherwise. Default `written`. */
  readonly durability?: DurabilityLevel;
  /** When rounds write dirty blobs to the store by themselves. */
  readonly checkpoint?: CheckpointOptions;
  /** Whose records the log holds, and how they are done again after a crash. */
  readonly owners?: Owners;
  /** Prove by checksums that no blob is changed before the seal of its mini-transaction. Slow. */
  readonly debug?: boolean;
  /**
   * Opens a store that must be there, and writes nothing: records of its log are done again in
   * memory, where there must be `frames` enough for what they change. Several readers may have a
   * store open; beside a writer opening is refused with `STORE_LOCKED`. Default false.
   */
  readonly readOnly?: boolean;
  /** Every file call; for simulated disks, with `threads: 'inline'`. */
  readonly fileSystem?: FileSystem;
}

/** A backend that lives in the opener alone: for simulated stores, with `threads: 'inline'`. */
export type StoreBackendFactory = (
  context: import('../store/contract.ts').BackendContext,
) => StoreBackend | Promise<StoreBackend>;

export interface ResolvedOptions {
  readonly frames: number;
  readonly shards: number;
  readonly blobBytes: number | undefined;
  readonly blobsMax: number | undefined;
  readonly store: NonNullable<PoolOptions['store']>;
  readonly frameWaitMs: number;
  readonly sweep: Required<SweepOptions> | undefined;
  readonly threads: 'workers' | 'inline';
  /** Undefined: as the store has it. */
  readonly log: boolean | undefined;
  readonly logGiven: LogGiven;
  readonly readOnly: boolean;
  readonly owners: Owners;
  readonly fileSystem: FileSystem | undefined;
}

/** A blob size that is allowed, or an error that says what is. */
export function checkBlobBytes(value: unknown): number {
  const bytes = integerBetween('blobBytes', value, BLOB_BYTES_MIN, BLOB_BYTES_MAX);
  if (!isBlobSize(bytes)) {
    throw new RangeError(`blobBytes must be a power of two, not ${bytes}`);
  }
  return bytes;
}

function resolveSweep(sweep: SweepOptions, frames: number): Required<SweepOptions> {
  if (typeof sweep !== 'object' || sweep === null) throw new TypeError('sweep: not an object');
  const { intervalMs = 1000, idleTicks = 3, framesFree = Math.ceil(frames / 16) } = sweep;
  return {
    intervalMs: integerBetween('sweep.intervalMs', intervalMs, 1, TIME_MS_MAX),
    idleTicks: integerBetween('sweep.idleTicks', idleTicks, 1, 1_000_000),
    framesFree: integerBetween('sweep.framesFree', framesFree, 1, frames),
  };
}

function checkStore(store: NonNullable<PoolOptions['store']>): void {
  if (store === 'file' || store === 'memory' || typeof store === 'function') return;
  if (typeof store === 'object' && typeof store?.module === 'string') return;
  throw new TypeError("store must be 'file', 'memory', { module } or a function");
}

/** The blob capacity of a store that holds `blobs` already. */
export function resolveBlobsMax(wanted: number | undefined, blobs: number): number {
  const least = Math.max(blobs, 1);
  if (wanted !== undefined) return Math.max(wanted, least);
  return Math.min(BLOBS_MAX_LIMIT, Math.max(BLOBS_MAX_DEFAULT, blobs * 4));
}

export function resolveOptions(options: PoolOptions): ResolvedOptions {
  if (typeof options !== 'object' || options === null)
    throw new TypeError('options: not an object');
  // Defaults are for what is left out alone: null is a value of the wrong type.
  const { threads = 'workers', store = 'file', frameWaitMs = FRAME_WAIT_MS_DEFAULT } = options;
  const { blobBytes, blobsMax, sweep } = options;
  const frames = framesOf(options);
  const shards = 2 ** Math.floor(Math.log2(Math.max(1, frames / FRAMES_PER_SHARD)));
  if (threads !== 'workers' && threads !== 'inline') {
    throw new TypeError("threads must be 'workers' or 'inline'");
  }
  checkStore(store);
  const { log, durability = 'written', checkpoint = {}, fileSystem } = options;
  if (log !== undefined && log !== false && store === 'memory') {
    throw new TypeError('A store in memory has no log: nothing of it survives anyway');
  }
  if (fileSystem !== undefined && threads !== 'inline') {
    throw new TypeError("A simulated file system lives in one thread: use threads: 'inline'");
  }
  const logGiven = {
    log: log === undefined || typeof log === 'boolean' ? {} : log,
    durability,
    checkpoint,
    debug: options.debug === true,
  };
  resolveLog(logGiven, frames);
  if (typeof store === 'function' && threads !== 'inline') {
    throw new TypeError("A store given as a function lives in one thread: use threads: 'inline'");
  }
  return {
    frames,
    shards: Math.min(SHARDS_MAX, shards),
    blobBytes: blobBytes === undefined ? undefined : checkBlobBytes(blobBytes),
    blobsMax:
      blobsMax === undefined ? undefined : integerBetween('blobsMax', blobsMax, 1, BLOBS_MAX_LIMIT),
    store,
    frameWaitMs: integerBetween('frameWaitMs', frameWaitMs, 0, TIME_MS_MAX),
    sweep: sweep === undefined ? undefined : resolveSweep(sweep, frames),
    threads,
    log: log === undefined ? undefined : log !== false,
    logGiven,
    readOnly: readOnlyOf(options),
    owners: resolveOwners(options.owners),
    fileSystem,
  };
}

function readOnlyOf({ readOnly = false, store = 'file' }: PoolOptions): boolean {
  if (typeof readOnly !== 'boolean') throw new TypeError('readOnly must be true or false');
  if (readOnly && store !== 'file') {
    throw new TypeError("readOnly is for stores in a directory: leave `store` out, or 'file'");
  }
  return readOnly;
}

/** Before the size of the blobs is known it is that of a new store. */
function framesOf({ frames, blobBytes = BLOB_BYTES_DEFAULT }: PoolOptions): number {
  const count = frames === undefined ? POOL_BYTES_DEFAULT / checkBlobBytes(blobBytes) : frames;
  return integerBetween('frames', count, FRAMES_MIN, FRAMES_MAX);
}
