/** `weirpool/metrics`: what a scrape says, and that it leaves register and pool as they were. */
import { Counter, register as defaultRegister, Registry } from 'prom-client';
import { describe, expect, it, onTestFinished } from 'vitest';
import { poison } from '../../../src/memory/poison.ts';
import { type MetricsOptions, registerMetrics } from '../../../src/metrics/index.ts';
import type { BufferPool } from '../../../src/pool/pool.ts';
import type { PoolStats } from '../../../src/pool/stats.ts';
import { change, openLogged } from '../pool/logged.ts';
import { look, openSmall, temporaryDirectory, writeBlobs } from '../pool/support.ts';

/** The register and a scrape of it: figures by name with labels, types by name. */
function newRegister() {
  const register = new Registry();
  const scrape = async () => {
    const text = await register.metrics();
    const lines = text.split('\n').filter((line) => line !== '');
    const types = new Map<string, string>();
    const figures = new Map<string, number>();
    for (const line of lines) {
      const [, name = '', type = ''] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? [];
      if (type !== '') types.set(name, type);
      const [, key = '', value = ''] = /^(\w+(?:\{.*\})?) (\S+)$/.exec(line) ?? [];
      if (value !== '') figures.set(key, Number(value));
    }
    return { text, types, figures };
  };
  return { register, scrape };
}

function registered(pool: BufferPool, options: MetricsOptions): () => void {
  const unregister = registerMetrics(pool, options);
  onTestFinished(unregister);
  return unregister;
}

/** Figures of the statistics by the names of their metrics. */
function expected(stats: PoolStats): Record<string, number> {
  const { log, store } = stats;
  const ofPool = {
    weirpool_up: 1,
    weirpool_frames: stats.frames,
    weirpool_frames_free: stats.free,
    weirpool_frames_cached: stats.cached,
    weirpool_frames_loading: stats.loading,
    weirpool_frames_pinned: stats.pinned,
    weirpool_frames_latched: stats.latched,
    weirpool_frames_dirty: stats.dirty,
    weirpool_frames_flushing: stats.flushing,
    weirpool_blob_size_bytes: stats.blobBytes,
    weirpool_memory_bytes: stats.memoryBytes,
    weirpool_threads: stats.threads,
    weirpool_hits_total: stats.hits,
    weirpool_misses_total: stats.misses,
    weirpool_loads_total: stats.loads,
    weirpool_load_failures_total: stats.loadFailures,
    weirpool_evictions_total: stats.evictions,
    weirpool_optimistic_restarts_total: stats.restarts,
    weirpool_optimistic_fallbacks_total: stats.fallbacks,
    weirpool_parks_total: stats.parks,
    weirpool_store_blobs: store.blobs,
    weirpool_store_slots_used: store.slotsUsed,
    weirpool_store_slots_kept: store.slotsKept,
    weirpool_store_snapshots: store.snapshots,
    weirpool_store_data_bytes: store.dataBytes,
    weirpool_store_manifest_bytes: store.manifestBytes,
    weirpool_store_commits_total: store.commits,
  };
  if (log === undefined) return ofPool;
  const phases = Object.entries(log.rounds.lastPhasesMs).map(([phase, ms]) => [
    `weirpool_last_round_phase_seconds{phase="${phase}"}`,
    ms / 1000,
  ]);
  return {
    ...ofPool,
    weirpool_log_appended_seq: log.appendedSeq,
    weirpool_log_written_seq: log.writtenSeq,
    weirpool_log_durable_seq: log.durableSeq,
    weirpool_log_checkpoint_seq: log.checkpointSeq,
    weirpool_log_ring_size_bytes: log.ringBytes,
    weirpool_log_ring_used_bytes: log.ringUsedBytes,
    weirpool_log_backlog_bytes: log.backlogBytes,
    weirpool_log_disk_bytes: log.diskBytes,
    weirpool_log_failing: 0,
    weirpool_pending_deletes: log.pendingDeletes,
    weirpool_commits_total: log.commits,
    weirpool_op_restarts_total: log.opRestarts,
    weirpool_rounds_attempted_total: log.rounds.attempted,
    weirpool_rounds_succeeded_total: log.rounds.succeeded,
    weirpool_rounds_failed_total: log.rounds.failed,
    weirpool_rounds_written_bytes_total: log.rounds.bytesWritten,
    weirpool_round_failing: 0,
    weirpool_last_round_frames: log.rounds.lastFrames,
    weirpool_last_round_deletes: log.rounds.lastDeletes,
    ...Object.fromEntries(phases),
  };
}

/** Loads, evicts and pins a little. */
function use(pool: BufferPool): void {
  for (const id of writeBlobs(pool, 6)) pool.pin(id).release();
}

describe('a scrape', () => {
  it('says what the statistics say, of a pool with a log and of one without', async () => {
    const pool = await openSmall();
    use(pool);
    const plain = newRegister();
    registered(pool, { register: plain.register });
    expect(Object.fromEntries((await plain.scrape()).figures)).toEqual(expected(pool.stats()));

    const logged = await openLogged(temporaryDirectory());
    const [one = 0] = change(logged, [{ create: 1 }, { create: 2 }]);
    await logged.checkpoint();
    change(logged, [{ delete: one }]);
    const { register, scrape } = newRegister();
    registered(logged, { register });
    expect(Object.fromEntries((await scrape()).figures)).toEqual(expected(logged.stats()));
  });

  it('has names, types and helps as Prometheus wants them', async () => {
    const { register, scrape } = newRegister();
    registered(await openLogged(temporaryDirectory()), { register });
    const { text, types } = await scrape();
    expect(types.size).toBeGreaterThan(40);
    for (const [name, type] of types) {
      expect(name).toMatch(/^weirpool_[a-z][a-z_]*[a-z]$/);
      expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter']);
      expect(name).not.toMatch(/_(?:ms|millis|kb|mb)(?:_|$)/);
      expect(text).toMatch(new RegExp(`^# HELP ${name} .+\\.$`, 'm'));
    }
  });

  it('asks the pool once, and again at the next scrape', async () => {
    const pool = await openLogged(temporaryDirectory());
    let asked = 0;
    const stats = (): PoolStats => {
      asked++;
      return pool.stats();
    };
    const onPoison = pool.onPoison.bind(pool);
    const { register, scrape } = newRegister();
    const unregister = registerMetrics({ stats, onPoison }, { register });
    onTestFinished(unregister);
    asked = 0;
    await scrape();
    expect(asked).toBe(1);
    await register.getMetricsAsJSON();
    expect(asked).toBe(2);
    change(pool, [{ create: 1 }]);
    expect((await scrape()).figures.get('weirpool_commits_total')).toBe(1);
    expect(asked).toBe(3);
  });

  it('counts up, and never adds the same twice', async () => {
    const pool = await openSmall();
    const { register, scrape } = newRegister();
    registered(pool, { register });
    let before = 0;
    for (let turn = 0; turn < 4; turn++) {
      use(pool);
      const { figures } = await scrape();
      const misses = figures.get('weirpool_misses_total') ?? 0;
      expect(misses).toBe(pool.stats().misses);
      expect(misses).toBeGreaterThan(before);
      before = misses;
    }
  });

  it('changes no figure of the pool', async () => {
    const pool = await openSmall();
    use(pool);
    const before = pool.stats();
    const { register, scrape } = newRegister();
    registered(pool, { register });
    await scrape();
    await scrape();
    expect(pool.stats()).toEqual(before);
  });
});

describe('a pool that has stopped', () => {
  it('is down in the scrape, with its last figures, and harms no other metric', async () => {
    const pool = await openLogged(temporaryDirectory());
    change(pool, [{ create: 1 }]);
    const { register, scrape } = newRegister();
    new Counter({ name: 'mine_total', help: 'Mine.', registers: [register] }).inc(3);
    registered(pool, { register });
    await scrape();
    await pool.close();
    const { figures } = await scrape();
    expect(figures.get('weirpool_up')).toBe(0);
    expect(figures.get('weirpool_commits_total')).toBe(1);
    expect(figures.get('mine_total')).toBe(3);
  });

  it('is down after a poison', async () => {
    const pool = await openSmall();
    const { register, scrape } = newRegister();
    registered(pool, { register });
    expect((await scrape()).figures.get('weirpool_up')).toBe(1);
    poison(look(pool), 'INVARIANT_BROKEN', 'Broken by a test.');
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect((await scrape()).figures.get('weirpool_up')).toBe(0);
  });
});

describe('several pools in one register', () => {
  it('are told apart by labels, also with and without a log', async () => {
    const { register, scrape } = newRegister();
    const plain = await openSmall();
    const logged = await openLogged(temporaryDirectory());
    const first = registered(plain, { register, labels: { pool: 'a', kind: 'x' } });
    const second = registered(logged, { register, labels: { kind: 'y', pool: 'b' } });
    let { figures } = await scrape();
    expect(figures.get('weirpool_frames{pool="a",kind="x"}')).toBe(4);
    expect(figures.get('weirpool_frames{kind="y",pool="b"}')).toBe(16);
    const appended = [...figures.keys()].filter((key) => key.startsWith('weirpool_log_appended'));
    expect(appended).toEqual(['weirpool_log_appended_seq{kind="y",pool="b"}']);
    expect([...figures.keys()]).toContain(
      'weirpool_last_round_phase_seconds{kind="y",pool="b",phase="sync"}',
    );
    first();
    ({ figures } = await scrape());
    expect([...figures.keys()].filter((key) => key.includes('pool="a"'))).toEqual([]);
    expect(figures.get('weirpool_up{kind="y",pool="b"}')).toBe(1);
    second();
    expect((await scrape()).text.trim()).toBe('');
    registered(plain, { register, labels: { other: 'label' } });
    expect((await scrape()).figures.get('weirpool_up{other="label"}')).toBe(1);
  });

  it('are told apart by prefixes', async () => {
    const { register, scrape } = newRegister();
    const pool = await openSmall();
    registered(pool, { register, prefix: 'a_' });
    registered(pool, { register, prefix: 'b_' })();
    const { figures } = await scrape();
    expect(figures.get('a_up')).toBe(1);
    expect(figures.get('b_up')).toBeUndefined();
  });
});

describe('registering', () => {
  it('is refused where figures could not be told apart, and then changes nothing', async () => {
    const { register, scrape } = newRegister();
    const pool = await openSmall();
    registered(pool, { register, labels: { pool: 'a' } });
    const before = (await scrape()).text;
    for (const options of [
      { register, labels: { pool: 'a' } },
      { register, labels: { other: 'a' } },
      { register },
      { register, prefix: '' },
      { register, prefix: 'no-hyphens_' },
      { register, labels: { 'a-b': 'c' }, prefix: 'x_' },
      { register, labels: { phase: 'c' }, prefix: 'x_' },
      { register, labels: { pool: 5 as unknown as string }, prefix: 'x_' },
    ]) {
      expect(() => registerMetrics(pool, options)).toThrow(TypeError);
    }
    expect((await scrape()).text).toBe(before);
  });

  it('takes its metrics out again where a name is taken, and can be repeated', async () => {
    const { register, scrape } = newRegister();
    const name = 'weirpool_commits_total';
    new Counter({ name, help: 'Mine.', registers: [register] }).inc(3);
    const logged = await openLogged(temporaryDirectory());
    expect(() => registerMetrics(logged, { register })).toThrow(/already been registered/);
    expect([...(await scrape()).figures]).toEqual([[name, 3]]);
    register.removeSingleMetric(name);
    registered(logged, { register });
    expect((await scrape()).figures.get(name)).toBe(0);
  });

  it('goes to the register of prom-client by default, and is undone once', async () => {
    const pool = await openSmall();
    const unregister = registerMetrics(pool);
    expect(await defaultRegister.metrics()).toContain('weirpool_frames 4');
    unregister();
    unregister();
    expect(await defaultRegister.metrics()).not.toContain('weirpool');
    const again = registerMetrics(pool);
    unregister();
    expect(await defaultRegister.metrics()).toContain('weirpool_frames 4');
    again();
  });
});
