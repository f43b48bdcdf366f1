/**
 * The Promela models of test/spin, each searched to the end, and their broken variants, each of
 * which must be refuted: docs/models.md says what they cover.
 */
import { describe, expect, it } from 'vitest';
import { expectRefuted, expectVerified, spinMissing } from '../support/spin.ts';

const missing = spinMissing();
const inCi = process.env['CI'] === 'true';
if (missing !== undefined && !inCi) console.log(`the models are skipped: ${missing}`);

const ASSERTION = /assertion violated/;
const DEADLOCK = /invalid end state/;
const STARVATION = /acceptance cycle/;

const latch = (...defines: string[]) => ({ model: 'latch', defines });
const gate = (...defines: string[]) => ({ model: 'gate', defines });
const checkpoint = (...defines: string[]) => ({ model: 'checkpoint', defines });

it.runIf(missing !== undefined && inCi)('D1 the models have their tools in CI', () => {
  expect(missing).toBeUndefined();
});

// Skipped only without SPIN or a C compiler, with the reason printed above; in CI that is a failure.
const models = missing === undefined ? describe.concurrent : describe.skip;

models('the latch, as built', () => {
  it('I5 writers, an upgrade and shared readers exclude each other', async () => {
    await expectVerified(latch('RW'));
  });
  it('I5 an optimistic read that validates is not torn', async () => {
    await expectVerified(latch('OPT'));
  });
  it('D1 nobody parks for ever beside a free latch', async () => {
    await expectVerified(latch('PARK'));
  });
  it('I1 a pinned frame keeps its blob while another thread evicts', async () => {
    await expectVerified(latch('EVICT'));
  });
  it('I1 a blob that is deleted while pinned reads as gone', async () => {
    await expectVerified(latch('DELETE'));
  });
  it('G1 the reaper gives back what a dead thread held, or stops the pool', async () => {
    await expectVerified(latch('DEATH'));
  });
  it('D1 readers that never stop do not starve a writer', async () => {
    await expectVerified({ ...latch('STARVE'), formula: 'writer_served' });
  });
});

models('broken latches', () => {
  it('I5 a reader that does not look again meets a writer', async () => {
    await expectRefuted(latch('RW', 'NO_RECHECK_SHARED'), ASSERTION);
  });
  it('I5 a writer that does not count the readers again meets one', async () => {
    await expectRefuted(latch('RW', 'NO_RECHECK_EXCLUSIVE'), ASSERTION);
  });
  it('I5 a claim that does not wait for the readers meets one', async () => {
    await expectRefuted(latch('RW', 'NO_RECHECK_DRAINED'), ASSERTION);
  });
  it('D1 a try that keeps its claim leaves it behind', async () => {
    await expectRefuted(latch('RW', 'NO_DROP_CLAIM'), ASSERTION);
  });
  it('I5 a read that is not validated is torn', async () => {
    await expectRefuted(latch('OPT', 'NO_VALIDATION'), ASSERTION);
  });
  it('I5 a validation that ignores X lets torn bytes pass', async () => {
    await expectRefuted(latch('OPT', 'VALIDATE_IGNORES_X'), ASSERTION);
  });
  it('I5 a release that keeps the version shows it twice', async () => {
    await expectRefuted(latch('OPT', 'NO_VERSION_MOVE'), ASSERTION);
  });
  it('D1 a release that looks at the waiters before it stores loses one', async () => {
    await expectRefuted(latch('PARK', 'WAKE_BEFORE_STORE'), DEADLOCK);
  });
  it('D1 a waiter that registers after its last look is not woken', async () => {
    await expectRefuted(latch('PARK', 'REGISTER_AFTER_LOOK'), DEADLOCK);
  });
  it('D1 a writer that does not keep its claim is starved', async () => {
    const starved = { ...latch('STARVE', 'CLAIM_NOT_KEPT'), formula: 'writer_served' };
    await expectRefuted(starved, STARVATION);
  });
  it('I1 an eviction without a second look takes a pinned frame', async () => {
    await expectRefuted(latch('EVICT', 'NO_SECOND_LOOK'), ASSERTION);
  });
  it('I1 a pin that does not look at the word keeps another blob', async () => {
    await expectRefuted(latch('EVICT', 'PIN_WITHOUT_WORD'), ASSERTION);
  });
  it('I1 a pin that looks at the id before the word keeps another blob', async () => {
    await expectRefuted(latch('EVICT', 'PIN_ID_FIRST'), ASSERTION);
  });
  it('I5 a frame whose versions begin again shows one twice', async () => {
    await expectRefuted(latch('EVICT', 'VERSION_GOES_BACK'), ASSERTION);
  });
  it('I1 a delete that does not look at the pins gives a pinned frame away', async () => {
    await expectRefuted(latch('DELETE', 'DROP_WITHOUT_LOOK'), ASSERTION);
  });
  it('D1 a delete outside the replacement lock forgets who waits for a frame', async () => {
    await expectRefuted(latch('DELETE', 'DROP_WITHOUT_LOCK'), DEADLOCK);
  });
  it('I1 a reaper that releases X without repair shows half a change', async () => {
    await expectRefuted(latch('DEATH', 'RELEASE_WITHOUT_REPAIR'), ASSERTION);
  });
  it('I5 a latch that is stolen after a time-out has two owners', async () => {
    await expectRefuted(latch('DEATH', 'STEAL'), ASSERTION);
  });
  it('G1 a reaper that keeps the holds leaves a frame latched for ever', async () => {
    await expectRefuted(latch('DEATH', 'REAP_KEEPS_HOLDS'), /assertion violated|invalid end state/);
  });
  it('G1 a reaper that wakes nobody leaves a waiter behind', async () => {
    await expectRefuted(latch('DEATH', 'REAP_WITHOUT_WAKE'), DEADLOCK);
  });
});

models('the commit gate', () => {
  it('D1 ops, a reader and rounds with scarce frames do not block each other', async () => {
    await expectVerified(gate());
  });
  it('D1 a seal that gives everything back before it waits does not block either', async () => {
    await expectVerified(gate('SEAL_RESTARTS'));
  });
  it('D1 ops that wait for a round to trim the log do not block it', async () => {
    await expectVerified(gate('LOG_CREDIT'));
  });
  it('D1 an op that enters at its beginning blocks the round that it waits for', async () => {
    await expectRefuted(gate('ENTER_AT_BEGIN'), DEADLOCK);
  });
  it('D1 a seal that waits for staging waits inside the gate', async () => {
    await expectRefuted(gate('WAIT_STAGING_INSIDE'), ASSERTION);
  });
  it('D1 two ops that wait for their second latches block each other', async () => {
    await expectRefuted(gate('WAIT_SECOND_LATCH'), DEADLOCK);
  });
  it('D1 an op that waits for credit while it holds latches blocks the round', async () => {
    await expectRefuted(gate('LOG_CREDIT', 'WAIT_CREDIT_HOLDING'), DEADLOCK);
  });
  it('I3 a record that is reserved outside the gate is not published at capture', async () => {
    await expectRefuted(gate('APPEND_OUTSIDE'), ASSERTION);
  });
  it('I3 an op that looks before it raises its flag is captured half done', async () => {
    await expectRefuted(gate('FLAG_AFTER_LOOK'), ASSERTION);
  });
  it('D1 a checkpointer that has a staging frame and waits for a latch blocks', async () => {
    await expectRefuted(gate('STAGING_BEFORE_LATCH'), DEADLOCK);
  });
  it('D1 a checkpointer that copies strictly in order blocks', async () => {
    await expectRefuted(gate('COPIES_IN_ORDER'), DEADLOCK);
  });
});

models('a checkpoint round', () => {
  it('R1 a crash at any moment leaves the committed cut and the log after it', async () => {
    await expectVerified(checkpoint());
  });
  it('I1 retiring without comparing loses the change made meanwhile', async () => {
    await expectRefuted(checkpoint('RETIRE_WITHOUT_COMPARE'), ASSERTION);
  });
  it('I2 trimming before the manifest is synced loses records', async () => {
    await expectRefuted(checkpoint('TRIM_BEFORE_SYNC'), ASSERTION);
  });
  it('I2 trimming to the end of the log loses what is still dirty', async () => {
    await expectRefuted(checkpoint('TRIM_TO_END'), ASSERTION);
  });
  it('W2D a round that does not wait for the log stores what the log has not', async () => {
    await expectRefuted(checkpoint('BLOB_BEFORE_LOG'), ASSERTION);
  });
  it('I1 a frame that is clean before its image is durable loses the image', async () => {
    await expectRefuted(checkpoint('CLEAN_BEFORE_DURABLE'), ASSERTION);
  });
  it('I1 retiring before the image is durable lets the old one be read', async () => {
    await expectRefuted(checkpoint('RETIRE_BEFORE_DURABLE'), ASSERTION);
  });
  it('I1 retiring before publishing brings the old image back', async () => {
    await expectRefuted(checkpoint('RETIRE_BEFORE_PUBLISH'), ASSERTION);
  });
  it('I3 the image of a failed round is not one of the next', async () => {
    await expectRefuted(checkpoint('KEEP_FAILED_IMAGE'), ASSERTION);
  });
  it('I1 a failed round that does not put its frames back loses them', async () => {
    await expectRefuted(checkpoint('FAILURE_FORGETS'), ASSERTION);
  });
  it('I1 evicting a dirty frame loses it', async () => {
    await expectRefuted(checkpoint('EVICT_DIRTY'), ASSERTION);
  });
  it('R1 a delete that is applied without a commit is in no cut', async () => {
    await expectRefuted(checkpoint('DELETE_WITHOUT_COMMIT'), ASSERTION);
  });
  it('I3 capturing one frame after the other cuts a record in two', async () => {
    await expectRefuted(checkpoint('CAPTURE_ONE_BY_ONE'), ASSERTION);
  });
  it('I3 a first write that does not preserve the image changes the cut', async () => {
    await expectRefuted(checkpoint('NO_COPY_ON_WRITE'), ASSERTION);
  });
});
