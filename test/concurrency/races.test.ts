/**
 * Races of real threads, each on the product, where nothing may happen, and on a naive variant,
 * where the scenario must notice it. Numbers are those of docs/design.md, section 14.
 */
import { describe, it } from 'vitest';
import { gatedStoreEnv } from '../support/gated-store-module.ts';
import * as naive from '../support/race-variants.ts';
import * as log from '../support/race-variants-log.ts';
import { type CaughtOptions, expectCaught, type Patch } from '../support/scenario.ts';

function caught(
  scenario: string,
  play: string,
  patches: readonly Patch[],
  options: CaughtOptions = {},
): () => Promise<unknown> {
  return () => expectCaught(scenario, patches, { args: [play], env: gatedStoreEnv(), ...options });
}

const HANG: CaughtOptions = { symptom: 'hang', variantTimeoutMs: 1500 };
/** The thread that runs into it may die of the exception before a check says what is wrong. */
const ANY: CaughtOptions = { symptom: ['violation', 'crash'] };

describe('eviction', () => {
  const test = (play: string, patches: readonly Patch[], options?: CaughtOptions) =>
    caught('race-eviction', play, patches, options);

  it(
    'I1 an eviction looks at the pins again at the removal (race 2)',
    test('pin', naive.CHECK_BEFORE_REMOVAL, ANY),
  );
  it(
    'I1 a pin looks again after it was added, whether the frame is leaving',
    test('pin', naive.PIN_WITHOUT_LOOK, ANY),
  );
  it('I1 a pinned frame is not evicted', test('pin', naive.EVICT_PINNED, ANY));
  it(
    'I1 the dirty mark is published before latch and pin are given back (race 3)',
    test('mark', naive.MARK_AFTER_RELEASE, ANY),
  );
  it('I1 a dirty frame is not evicted (race 1)', test('mark', naive.EVICT_DIRTY, ANY));
});

describe('loading', () => {
  const test = (play: string, patches: readonly Patch[], options?: CaughtOptions) =>
    caught('race-loading', play, patches, options);

  it(
    'I4 two threads that miss one blob share one frame (race 7)',
    test('miss', naive.PUBLISH_WITHOUT_LOOK),
  );
  it(
    'I4 a read that began before a change does not bring the old image back (race 8)',
    test('stale', naive.READ_BEFORE_PUBLISH),
  );
  it(
    'I4 a read that fails is made once, and everybody who waits has its error',
    test('failure', naive.FAILURE_NOT_SHARED),
  );
  it('I4 a read that fails gives its frame back', test('failure', naive.FAILURE_KEEPS_FRAME));
  it(
    'I4 a thread that prefetches and pins the same blob does not wait for itself',
    test('prefetch', naive.PREFETCH_ON_EVENT_LOOP, ANY),
  );
  it(
    'I4 a pin in the middle of a delete does not bring the blob back (race 6)',
    test('delete', naive.DROP_BEFORE_COMMIT, ANY),
  );
});

describe('slots of the store', () => {
  const test = (play: string, patches: readonly Patch[], options?: CaughtOptions) =>
    caught('race-slots', play, patches, options);

  it(
    'I6 a slot that somebody reads is not handed out for writing',
    test('read', naive.SLOT_WHILE_READ),
  );
  it(
    'I6 a slot that was passed over because it was read is used again later (race 16)',
    test('skipped', naive.SLOT_FORGOTTEN),
  );
  it(
    'I6 a late write cannot land in a slot that was given to somebody else',
    test('returned', naive.SLOT_RETURNED),
  );
  it('I6 every thread reads through the one mapping', test('mapping', naive.PRIVATE_MAPPING, ANY));
  it(
    'I6 a blob with a wrong byte is BLOB_CORRUPT, with its place',
    test('corrupt', naive.NO_CHECKSUM),
  );
  it(
    'I6 slots of deleted blobs are used again (race 16)',
    test('cycles', naive.SLOT_LEAK_ON_DELETE),
  );
  it('I6 slots of old images are used again (race 16)', test('cycles', naive.SLOT_LEAK_ON_WRITE));
  it(
    'I6 a commit appends to the manifest instead of writing it anew (race 16)',
    test('cycles', naive.MANIFEST_REWRITTEN),
  );
  it('I6 the manifest does not grow without end (race 16)', test('cycles', naive.MANIFEST_ENDLESS));
});

describe('latches', () => {
  const test = (play: string, patches: readonly Patch[], options?: CaughtOptions) =>
    caught('race-latches', play, patches, options);

  it(
    'D1 two threads that latch two frames in opposite order are told to restart',
    test('opposite', naive.WAITS_UNDER_LATCH, HANG),
  );
  it(
    'D1 a thread that wants what it holds in another mode gets LATCH_HELD',
    test('held', naive.WAITS_FOR_ITSELF, HANG),
  );
  it(
    'D1 a thread that reads may read again while a writer waits for it',
    test('nested', naive.NESTED_READ_QUEUES, ANY),
  );
  it(
    'D1 no reader joins the others while a writer waits (race 26)',
    test('starve', naive.READERS_PASS_WRITER),
  );
  it(
    'D1 no reader passes a waiting writer on the fast path either (race 26)',
    test('starve', naive.FAST_READERS_PASS_WRITER),
  );
  it(
    'D1 a writer parks, and four threads on fewer processors get their turns (race 26)',
    test('parks', naive.WRITER_SPINS, { symptom: ['violation', 'hang'], variantTimeoutMs: 1500 }),
  );
  it(
    'I5 an exclusive latch excludes: no increment is lost among four threads',
    test('counts', naive.EXCLUSIVE_BESIDE_WRITER, ANY),
  );
});

describe('optimistic reads', () => {
  const test = (play: string, patches: readonly Patch[], options?: CaughtOptions) =>
    caught('race-optimistic', play, patches, options);

  it(
    'I5 an optimistic read of a frame that got another blob is not valid',
    test('recycled', naive.VERSION_STAYS_ON_REUSE),
  );
  it('I5 a read is validated at all', test('torn', naive.ALWAYS_VALID));
  it('I5 an exclusive release moves the version', test('torn', naive.VERSION_STAYS_ON_RELEASE));
  it('I5 a read is not valid while somebody writes', test('midway', naive.VALID_BESIDE_WRITER));
  it(
    'I5 a look from before a change cannot be upgraded',
    test('changed', naive.UPGRADE_WITHOUT_VERSION),
  );
  it('I5 a look cannot be upgraded beside a reader', test('held', naive.UPGRADE_BESIDE_READERS));
  it(
    'I5 an exception over torn bytes is dropped, and the read starts again',
    test('throws', naive.TORN_EXCEPTION, ANY),
  );
  it(
    'I5 an exception over torn bytes is dropped in a single try',
    test('throws', naive.TORN_EXCEPTION_IN_TRY, ANY),
  );
  it(
    'I5 an exception over torn bytes is dropped on the slow way, too',
    test('pinned', naive.TORN_EXCEPTION_ON_SLOW_WAY, ANY),
  );
});

describe('rounds', () => {
  const test = (play: string, patches: readonly Patch[], options?: CaughtOptions) =>
    caught('race-rounds', play, patches, options);

  it(
    'I1 a frame that a round is writing is not evicted (race 1)',
    test('evict', log.CAPTURED_LOOKS_CLEAN),
  );
  it(
    'I3 an image is that of the capture, whatever is changed before its copy (race 9)',
    test('cut', log.CHANGES_BEFORE_COPY),
  );
  it(
    'I3 a capture waits for those who are in the middle of a change (race 9)',
    test('half', log.CAPTURE_AMONG_CHANGES),
  );
  it(
    'W2D no image is written before its record is durable (race 9)',
    test('log-first', log.IMAGES_BEFORE_LOG),
  );
  it(
    'I1 no round begins while another one is on its way (race 12)',
    test('manual', log.ROUNDS_OVERLAP, ANY),
  );
  it(
    'I2 the log stays while a round has images on their way (race 13)',
    test('trim', log.TRIM_BEFORE_WRITE),
  );
  it(
    'I2 the log stays between the writes and the commit of a round (race 13)',
    test('trim', log.TRIM_BEFORE_COMMIT),
  );
  it(
    'I1 the image that was preserved for a failed round is not taken for the next one',
    test('failed', log.IMAGES_OF_FAILED_ROUND, ANY),
  );
});

describe('mini-transactions', () => {
  const test = (play: string, patches: readonly Patch[], options?: CaughtOptions) =>
    caught('race-ops', play, patches, options);
  const STUCK: CaughtOptions = {
    symptom: ['violation', 'crash', 'hang'],
    variantTimeoutMs: 5000,
  };

  it(
    'D1 an op that needs a frame waits outside the gate',
    test('frame', log.WAITS_INSIDE_GATE, STUCK),
  );
  it(
    'D1 an op that needs two frames gets both, also when one is free and nobody asks for rounds',
    test('frame', log.WAITS_FOR_ONE_FRAME, STUCK),
  );
  it(
    'D1 an op that needs room in the ring waits outside the gate',
    test('credit', log.WAITS_INSIDE_GATE, STUCK),
  );
  it(
    'D1 an op that needs a staging frame leaves the gate and gives everything back',
    test('staging', log.WAITS_FOR_STAGING_INSIDE_GATE, STUCK),
  );
  it(
    'D1 an op that begins above the bound of the log waits outside the gate',
    test('backlog', log.WAITS_FOR_BACKLOG_INSIDE_GATE, STUCK),
  );
  it(
    'D1 two ops that latch two blobs in opposite order both end',
    test('opposite', naive.WAITS_UNDER_LATCH, { ...HANG, variantTimeoutMs: 3000 }),
  );
  it(
    'R1 guards of an op are released after its record has its place in the log',
    test('early', log.RELEASE_BEFORE_APPEND),
  );
  it('D1 an op in an op is refused', test('nested', log.NESTED_OPS, STUCK));
  it(
    'D1 a change that begins under a latch held across an await is refused',
    test('held', log.BEGINS_UNDER_LATCH, HANG),
  );
  it(
    'R1 group commit acknowledges in physical order (race 22)',
    test('order', log.ACKNOWLEDGES_BY_TAIL, ANY),
  );
});

describe('interleavings one by one', () => {
  const test = (patches: readonly Patch[], options?: CaughtOptions) =>
    caught('race-steps', 'steps', patches, options);

  it(
    'D1 who refreshes a cached image does not wait for a frame that was given back',
    test(naive.REFRESH_WITHOUT_PIN),
  );
});

describe('hits', () => {
  const test = (patches: readonly Patch[]) => caught('race-hits', 'hits', patches);

  it('race 27 hits are not counted in one place', test(naive.SHARED_HIT_COUNTER));
  it('race 27 a hit does not store what is there already', test(naive.RECENCY_ALWAYS_STORED));
  it('race 27 an optimistic hit takes no pin, not even for a moment', test(naive.HIT_PINS));
});

describe('processes', () => {
  const test = (patches: readonly Patch[]) => caught('race-processes', 'locked', patches, ANY);

  it('race 24 a second process that opens the directory is refused', test(naive.NO_DIRECTORY_LOCK));
  it('race 24 a killed process leaves no lock behind', test(naive.DEAD_HOLDER_COUNTS));
  it('race 24 the refusal names the process', test(naive.REFUSAL_WITHOUT_PID));
});
