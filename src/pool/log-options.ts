/** Options of a pool's log and rounds: defaults, bounds, and the refusal of everything else. */
import type { Owner, Owners } from '../recovery/replay.ts';
import { checkOwner } from '../txn/roots.ts';
import { checkDurability, type DurabilityLevel } from '../wal/durability.ts';
import { LOG_BLOCK_BYTES, RING_BYTES_MAX, segmentBytesFor } from '../wal/format.ts';
import { ringRecordBytesMax } from '../wal/ring.ts';
import { defaultSegmentBytes, SEGMENT_BYTES_MAX } from '../wal/segment-writer.ts';
import { integerBetween } from './integer-between.ts';

const RING_BYTES_DEFAULT = 8 * 1024 * 1024;
const RING_BYTES_MIN = 16 * 1024;
const LOG_BYTES_MAX_DEFAULT = 128 * 1024 * 1024;
const LOG_BYTES_MAX_LIMIT = 2 ** 40;
const INTERVAL_MS_DEFAULT = 200;
const ROUND_INTERVAL_MS_DEFAULT = 5000;
const AGE_MS_DEFAULT = 5000;
const DIRTY_SHARE = 3 / 4;
const MS_MAX = 2 ** 31 - 1;

/** How the write-ahead log is kept. */
export interface LogOptions {
  /**
   * Bytes of the ring in memory, a power of two from 16 KiB to 64 MiB. Default 8 MiB. The largest
   * record is half of it.
   */
  readonly ringBytes?: number;
  /** Bytes of a segment file, a multiple of 4 KiB. Default: 16 MiB, or four of the largest records. */
  readonly segmentBytes?: number;
  /**
   * Bytes of records above the last round at which writers wait for the next one; a round is asked
   * for at half of it. Default 128 MiB; at least twice the ring.
   */
  readonly bytesMax?: number;
  /** Everything is written and synced at least so often, in ms; 0: only on request. Default 200. */
  readonly intervalMs?: number;
}

/** When rounds run by themselves. 0 switches a trigger off. */
export interface CheckpointOptions {
  /** Time between rounds while there is anything to write, in ms. Default 5000. */
  readonly intervalMs?: number;
  /** Age of the frame that has been dirty longest, in ms. Default 5000. */
  readonly ageMs?: number;
  /** Dirty frames. Default three quarters of the frames: misses replace the clean ones. */
  readonly dirtyFrames?: number;
}

export interface LogSettings {
  readonly ringBytes: number;
  readonly segmentBytes: number;
  readonly recordBytesMax: number;
  readonly bytesMax: number;
  readonly intervalMs: number;
  readonly durability: DurabilityLevel;
  readonly checkpoint: Required<CheckpointOptions>;
  readonly debug: boolean;
}

export interface LogGiven {
  readonly log: LogOptions;
  readonly durability: unknown;
  readonly checkpoint: CheckpointOptions;
  readonly debug: boolean;
}

function ringBytesOf({ ringBytes = RING_BYTES_DEFAULT }: LogOptions): number {
  integerBetween('log.ringBytes', ringBytes, RING_BYTES_MIN, RING_BYTES_MAX);
  if (Number.isInteger(Math.log2(ringBytes))) return ringBytes;
  throw new RangeError(`log.ringBytes must be a power of two, not ${ringBytes}`);
}

function segmentBytesOf({ segmentBytes }: LogOptions, recordBytesMax: number): number {
  if (segmentBytes === undefined) return defaultSegmentBytes(recordBytesMax);
  const least = segmentBytesFor(recordBytesMax);
  integerBetween('log.segmentBytes', segmentBytes, least, SEGMENT_BYTES_MAX);
  if (segmentBytes % LOG_BLOCK_BYTES === 0) return segmentBytes;
  throw new RangeError(`log.segmentBytes must be a multiple of ${LOG_BLOCK_BYTES}`);
}

function checkpointOf(given: CheckpointOptions, frames: number): Required<CheckpointOptions> {
  if (typeof given !== 'object' || given === null) throw new TypeError('checkpoint: not an object');
  const { intervalMs = ROUND_INTERVAL_MS_DEFAULT, ageMs = AGE_MS_DEFAULT } = given;
  const { dirtyFrames = Math.ceil(frames * DIRTY_SHARE) } = given;
  return {
    intervalMs: integerBetween('checkpoint.intervalMs', intervalMs, 0, MS_MAX),
    ageMs: integerBetween('checkpoint.ageMs', ageMs, 0, MS_MAX),
    dirtyFrames: integerBetween('checkpoint.dirtyFrames', dirtyFrames, 0, frames),
  };
}

/** @throws {TypeError} something that cannot replay; {RangeError} the name of no owner. */
export function resolveOwners(owners: Owners = {}): Owners {
  if (typeof owners !== 'object' || owners === null) throw new TypeError('owners: not an object');
  for (const [name, owner] of Object.entries(owners) as [string, Partial<Owner> | null][]) {
    if (String(checkOwner(Number(name))) !== name) throw new RangeError(`${name} is no owner`);
    if (typeof owner?.replay === 'function') continue;
    throw new TypeError(`owners[${name}] must have a function replay`);
  }
  return owners;
}

/** @throws {TypeError}, {RangeError} an option of the wrong type or out of its bounds. */
export function resolveLog(given: LogGiven, frames: number): LogSettings {
  const { log } = given;
  if (typeof log !== 'object' || log === null) {
    throw new TypeError('log must be true, false or an object');
  }
  const ringBytes = ringBytesOf(log);
  const recordBytesMax = ringRecordBytesMax(ringBytes);
  const { bytesMax = LOG_BYTES_MAX_DEFAULT, intervalMs = INTERVAL_MS_DEFAULT } = log;
  return {
    ringBytes,
    segmentBytes: segmentBytesOf(log, recordBytesMax),
    recordBytesMax,
    bytesMax: integerBetween('log.bytesMax', bytesMax, 2 * ringBytes, LOG_BYTES_MAX_LIMIT),
    intervalMs: integerBetween('log.intervalMs', intervalMs, 0, MS_MAX),
    durability: checkDurability(given.durability),
    checkpoint: checkpointOf(given.checkpoint, frames),
    debug: given.debug,
  };
}
