/**
 * Figures of a pool's log and rounds.
 *
 * Owns:        nothing; reading them changes none.
 * Threads:     any; the numbers are a look in passing, not a cut.
 */
import type { WeirpoolError } from '../errors.ts';
import {
  H_CHECKPOINT_SEQ,
  H_DELETES,
  H_LOG_CONSUMED,
  H_LOG_DISK_BYTES,
  H_LOG_DURABLE,
  H_LOG_ERROR,
  H_LOG_FAILING,
  H_LOG_TAIL,
  H_LOG_WRITTEN,
  H_ROUND_DELETES,
  H_ROUND_ERROR,
  H_ROUND_FRAMES,
  H_ROUND_MS,
  H_ROUNDS_ATTEMPTED,
  H_ROUNDS_BYTES,
  H_ROUNDS_FAILED,
  H_ROUNDS_SUCCEEDED,
  ROUND_PHASES,
  S_COMMITS,
  S_OP_RESTARTS,
} from '../generated/layout.ts';
import type { ThreadMemory } from '../memory/pool-memory.ts';
import { getError } from '../memory/shared-error.ts';
import { sumOfSlots } from './stats.ts';

/** The phases of a round by their number in docs/design.md, section 9; copying and writing overlap. */
const PHASES = {
  capture: 1,
  logFirst: 2,
  write: 3,
  sync: 5,
  commit: 6,
  publish: 7,
  trim: 8,
} as const;

export type PhaseName = keyof typeof PHASES;

export interface RoundStats {
  readonly attempted: number;
  readonly succeeded: number;
  readonly failed: number;
  /** Bytes of blobs that all rounds have written. */
  readonly bytesWritten: number;
  /** Of the last round that succeeded. */
  readonly lastFrames: number;
  readonly lastDeletes: number;
  /** ms of its phases. */
  readonly lastPhasesMs: Readonly<Record<PhaseName, number>>;
  /** Why the last round failed; undefined when it did not. */
  readonly error: WeirpoolError | undefined;
}

export interface LogStats {
  /** Seq of the last record in the ring, in the operating system, on the disk, in the store. */
  readonly appendedSeq: number;
  readonly writtenSeq: number;
  readonly durableSeq: number;
  readonly checkpointSeq: number;
  readonly ringBytes: number;
  /** Bytes of records in the ring that are not written yet. */
  readonly ringUsedBytes: number;
  /** Bytes of records that no round has taken yet. */
  readonly backlogBytes: number;
  /** Bytes of the log's files. */
  readonly diskBytes: number;
  readonly pendingDeletes: number;
  /** Mini-transactions that were committed with a record, and that had to start again. */
  readonly commits: number;
  readonly opRestarts: number;
  /** Why the log cannot be written at the moment, such as a full disk. */
  readonly error: WeirpoolError | undefined;
  readonly rounds: RoundStats;
}

function roundStats(memory: ThreadMemory): RoundStats {
  const at = H_ROUND_MS / Float64Array.BYTES_PER_ELEMENT;
  const ms = memory.f64.slice(at, at + ROUND_PHASES);
  const phases = Object.entries(PHASES).map(([name, phase]) => [name, ms[phase - 1] ?? 0]);
  return {
    attempted: memory.loadU64(H_ROUNDS_ATTEMPTED),
    succeeded: memory.loadU64(H_ROUNDS_SUCCEEDED),
    failed: memory.loadU64(H_ROUNDS_FAILED),
    bytesWritten: memory.loadU64(H_ROUNDS_BYTES),
    lastFrames: memory.load(H_ROUND_FRAMES),
    lastDeletes: memory.load(H_ROUND_DELETES),
    lastPhasesMs: Object.fromEntries(phases) as Record<PhaseName, number>,
    error: getError(memory, H_ROUND_ERROR),
  };
}

export function logStats(memory: ThreadMemory): LogStats {
  const appendedSeq = memory.loadU64(H_LOG_TAIL);
  const failing = memory.load(H_LOG_FAILING) !== 0;
  return {
    appendedSeq,
    writtenSeq: memory.loadU64(H_LOG_WRITTEN),
    durableSeq: memory.loadU64(H_LOG_DURABLE),
    checkpointSeq: memory.loadU64(H_CHECKPOINT_SEQ),
    ringBytes: memory.shared.ringBytes,
    ringUsedBytes: Math.max(0, appendedSeq - memory.loadU64(H_LOG_CONSUMED)),
    backlogBytes: memory.control.backlog(),
    diskBytes: memory.loadU64(H_LOG_DISK_BYTES),
    pendingDeletes: memory.load(H_DELETES),
    commits: sumOfSlots(memory, S_COMMITS),
    opRestarts: sumOfSlots(memory, S_OP_RESTARTS),
    error: failing ? getError(memory, H_LOG_ERROR) : undefined,
    rounds: roundStats(memory),
  };
}
