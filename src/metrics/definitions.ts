/**
 * The metrics of a pool: names after the conventions of Prometheus, in base units.
 *
 * Owns:        nothing; each definition reads one figure of `pool.stats()`.
 */
import type { LogStats } from '../pool/log-stats.ts';
import type { PoolStats } from '../pool/stats.ts';

/** What one pool says at one scrape. */
export interface Sample {
  readonly stats: PoolStats;
  /** Whether the pool works: neither poisoned nor closed. */
  readonly up: boolean;
}

/** A figure, or several that a label tells apart. */
export type Reading = number | ReadonlyMap<string, number>;

export interface Definition {
  readonly kind: 'counter' | 'gauge';
  /** Without the prefix. */
  readonly name: string;
  readonly help: string;
  /** Name of the label of several figures. */
  readonly label?: string;
  /** Undefined for a pool that does not have it. */
  readonly read: (sample: Sample) => Reading | undefined;
}

const MS_PER_SECOND = 1000;

type Figure = (stats: PoolStats) => number;
type LogFigure = (log: LogStats) => Reading;

function gauge(name: string, help: string, figure: Figure): Definition {
  return { kind: 'gauge', name, help, read: ({ stats }) => figure(stats) };
}

function counter(name: string, help: string, figure: Figure): Definition {
  return { kind: 'counter', name, help, read: ({ stats }) => figure(stats) };
}

function ofLog(
  kind: Definition['kind'],
  name: string,
  help: string,
  figure: LogFigure,
): Definition {
  return { kind, name, help, read: ({ stats: { log } }) => log && figure(log) };
}

function phaseSeconds({ rounds }: LogStats): ReadonlyMap<string, number> {
  const phases = Object.entries(rounds.lastPhasesMs);
  return new Map(phases.map(([phase, ms]) => [phase, ms / MS_PER_SECOND]));
}

/** Of every pool. */
export const POOL_METRICS: readonly Definition[] = [
  {
    kind: 'gauge',
    name: 'up',
    help: '1 while the pool works, 0 once it is poisoned or closed.',
    read: ({ up }) => Number(up),
  },
  gauge('frames', 'Frames of the pool.', (s) => s.frames),
  gauge('frames_free', 'Frames without a blob.', (s) => s.free),
  gauge('frames_cached', 'Frames with a blob.', (s) => s.cached),
  gauge('frames_loading', 'Frames whose blob is being read.', (s) => s.loading),
  gauge('frames_pinned', 'Frames that somebody has pinned.', (s) => s.pinned),
  gauge('frames_latched', 'Frames that somebody has latched.', (s) => s.latched),
  gauge('frames_dirty', 'Frames that the next round writes.', (s) => s.dirty),
  gauge('frames_flushing', 'Frames that the running round writes.', (s) => s.flushing),
  gauge('blob_size_bytes', 'Size of a blob.', (s) => s.blobBytes),
  gauge('memory_bytes', 'Shared memory that the pool can touch.', (s) => s.memoryBytes),
  gauge('threads', 'Threads that have the pool, its own ones too.', (s) => s.threads),
  counter('hits_total', 'Look-ups that found their blob in a frame.', (s) => s.hits),
  counter('misses_total', 'Look-ups that did not.', (s) => s.misses),
  counter('loads_total', 'Blobs that were read from the store.', (s) => s.loads),
  counter('load_failures_total', 'Reads from the store that failed.', (s) => s.loadFailures),
  counter('evictions_total', 'Blobs that made room for others.', (s) => s.evictions),
  counter('optimistic_restarts_total', 'Optimistic reads begun again.', (s) => s.restarts),
  counter('optimistic_fallbacks_total', 'Those that ended under a latch.', (s) => s.fallbacks),
  counter('parks_total', 'Times that a thread had to park.', (s) => s.parks),
  gauge('store_blobs', 'Blobs of the last commit.', (s) => s.store.blobs),
  gauge('store_slots_used', 'Store slots in use.', (s) => s.store.slotsUsed),
  gauge('store_slots_kept', 'Slots that only snapshots read.', (s) => s.store.slotsKept),
  gauge('store_snapshots', 'Commits that snapshots read.', (s) => s.store.snapshots),
  gauge('store_data_bytes', 'Size of the data file.', (s) => s.store.dataBytes),
  gauge('store_manifest_bytes', 'Size of the manifest.', (s) => s.store.manifestBytes),
  counter('store_commits_total', 'Commits since the store was made.', (s) => s.store.commits),
];

/** Of pools with a log. */
export const LOG_METRICS: readonly Definition[] = [
  ofLog('gauge', 'log_appended_seq', 'Seq of the last record.', (l) => l.appendedSeq),
  ofLog('gauge', 'log_written_seq', 'Seq that survives kill -9.', (l) => l.writtenSeq),
  ofLog('gauge', 'log_durable_seq', 'Seq that survives power loss.', (l) => l.durableSeq),
  ofLog('gauge', 'log_checkpoint_seq', 'Seq of the store.', (l) => l.checkpointSeq),
  ofLog('gauge', 'log_ring_size_bytes', 'Size of the ring.', (l) => l.ringBytes),
  ofLog('gauge', 'log_ring_used_bytes', 'Records not written yet.', (l) => l.ringUsedBytes),
  ofLog('gauge', 'log_backlog_bytes', 'Records that no round has taken.', (l) => l.backlogBytes),
  ofLog('gauge', 'log_disk_bytes', "Size of the log's files.", (l) => l.diskBytes),
  ofLog('gauge', 'log_failing', '1 while the log cannot be written.', (l) => Number(!!l.error)),
  ofLog('gauge', 'pending_deletes', 'Deletes for the next round.', (l) => l.pendingDeletes),
  ofLog('counter', 'commits_total', 'Committed mini-transactions.', (l) => l.commits),
  ofLog('counter', 'op_restarts_total', 'Those that began again.', (l) => l.opRestarts),
  ofLog('counter', 'rounds_attempted_total', 'Rounds begun.', (l) => l.rounds.attempted),
  ofLog('counter', 'rounds_succeeded_total', 'Rounds committed.', (l) => l.rounds.succeeded),
  ofLog('counter', 'rounds_failed_total', 'Rounds that failed.', (l) => l.rounds.failed),
  ofLog(
    'counter',
    'rounds_written_bytes_total',
    'Bytes of blobs that rounds have written.',
    (l) => l.rounds.bytesWritten,
  ),
  ofLog('gauge', 'round_failing', '1 if the last one failed.', (l) => Number(!!l.rounds.error)),
  ofLog('gauge', 'last_round_frames', 'Blobs that it wrote.', (l) => l.rounds.lastFrames),
  ofLog('gauge', 'last_round_deletes', 'Blobs that it deleted.', (l) => l.rounds.lastDeletes),
  {
    ...ofLog('gauge', 'last_round_phase_seconds', 'Duration of its phases.', phaseSeconds),
    label: 'phase',
  },
];
