/**
 * The kernels, each broken in one place: what the programs must notice.
 */
import { type ScheduleVariant, variant } from './variant.ts';
import { LOG_VARIANTS } from './variants-log.ts';

const LATCH: readonly ScheduleVariant[] = [
  variant(
    'latch-mixed',
    'a release that leaves the version',
    'latch',
    'atomic.store<u64>(a + A_WORD, nextVersion(word));',
    'atomic.store<u64>(a + A_WORD, versionOf(word));',
  ),
  variant(
    'latch-mixed',
    'a validation that ignores X',
    'latch',
    '~(LATCH_P | OWNER_MASK)',
    '~(LATCH_P | LATCH_X | OWNER_MASK)',
  ),
  variant(
    'latch-contended',
    'an exclusive release that wakes nobody',
    'latch',
    '  latchesHeld(slotAt(me), -1);\n  wakeAfterLatch(frame);\n',
    '  latchesHeld(slotAt(me), -1);\n',
  ),
  variant(
    'latch-contended',
    'a release that looks at the waiters before it changes the word',
    'latch',
    '  atomic.store<u64>(a + A_WORD, nextVersion(word));\n' +
      '  latchesHeld(slotAt(me), -1);\n  wakeAfterLatch(frame);\n',
    '  wakeAfterLatch(frame);\n  latchesHeld(slotAt(me), -1);\n' +
      '  atomic.store<u64>(a + A_WORD, nextVersion(word));\n',
  ),
  variant(
    'latch-mixed',
    'a shared release that wakes nobody',
    'latch',
    '  if (left >> SHARED_SHIFT == 0) wakeFrame(frame);\n',
    '',
  ),
  variant(
    'latch-shared',
    'a shared waiter that looks before it registers',
    'latch',
    '  const wake = registerWaiter(frame, me);\n  let result = tryShared(frame, me);\n',
    '  let result = tryShared(frame, me);\n  const wake = registerWaiter(frame, me);\n',
  ),
  variant(
    'latch-mixed',
    'an exclusive waiter that looks before it registers',
    'latch',
    '  const wake = registerWaiter(frame, me);\n  result = tryClaim(frame, me);\n',
    '  result = tryClaim(frame, me);\n  const wake = registerWaiter(frame, me);\n',
  ),
  variant(
    'latch-contended',
    'a wake-up that does not move the wake word',
    'latch',
    '    atomic.add<u32>(b + B_WAKE, 1);\n    atomic.notify(b + B_WAKE, -1);\n',
    '    atomic.notify(b + B_WAKE, -1);\n',
  ),
  variant(
    'latch-mixed',
    'a claim that does not wait for the readers',
    'latch',
    '  if (sharedCount(frame) != 0) return BUSY;\n',
    '',
  ),
  variant(
    'latch-mixed',
    'an exclusive attempt without its second look at the readers',
    'latch',
    '  if (sharedCount(frame) == 0) return true;\n',
    '  if (free == free) return true;\n',
  ),
  variant(
    'latch-mixed',
    'a shared attempt without its second look at the word',
    'latch',
    '    if ((atomic.load<u64>(a + A_WORD) & LATCH_FLAGS) == 0) return OK;\n',
    '    if (frame == frame) return OK;\n',
  ),
  variant(
    'latch-try',
    'an attempt that leaves its claim behind',
    'latch',
    '    dropClaim(frame, me);\n    return BUSY;\n',
    '    return BUSY;\n',
  ),
  variant(
    'latch-upgrade',
    'an upgrade that does not look at the readers',
    'latch',
    '  if (sharedCount(frame) != 0) {\n    atomic.store<u64>(a + A_WORD, free);\n',
    '  if (free != free) {\n    atomic.store<u64>(a + A_WORD, free);\n',
  ),
];

const LOCKS: readonly ScheduleVariant[] = [
  variant(
    'locks',
    'a lock that is taken by load and store',
    'locks',
    'return atomic.load<u32>(lock) == 0 && atomic.cmpxchg<u32>(lock, 0, me + 1) == 0;',
    'if (atomic.load<u32>(lock) != 0) return false;\n' +
      '  atomic.store<u32>(lock, me + 1);\n  return true;',
  ),
  variant(
    'locks',
    'a waiter that leaves no mark',
    'locks',
    'const marked = seen | LOCK_WAITED;',
    'const marked = seen;',
  ),
  variant(
    'locks',
    'a lock that is given back without a wake-up',
    'locks',
    '  if ((word & LOCK_WAITED) != 0) atomic.notify(lock, -1);\n',
    '',
  ),
  variant(
    'locks',
    'a lock that is given back by load and store',
    'locks',
    'const word = atomic.xchg<u32>(lock, 0);',
    'const word = atomic.load<u32>(lock);\n  atomic.store<u32>(lock, 0);',
  ),
];

const PINS: readonly ScheduleVariant[] = [
  variant(
    'pin-replace',
    'an eviction that asks its rule only once',
    'frames',
    '  if (mayEvict(frame) && (id == 0',
    '  if ((id == 0',
  ),
  variant(
    'pin-replace',
    'a pin that does not look at the latch word',
    'page-table',
    '  if ((word & (LATCH_E | LATCH_G)) == 0 && atomic.load<u64>(a + A_ID) == id) {',
    '  if (atomic.load<u64>(a + A_ID) == id) {',
  ),
  variant(
    'pin-replace',
    'a pin that looks at the id before the word',
    'page-table',
    '  const word = atomic.load<u64>(a + A_WORD);\n' +
      '  if ((word & (LATCH_E | LATCH_G)) == 0 && atomic.load<u64>(a + A_ID) == id) {',
    '  const there = atomic.load<u64>(a + A_ID);\n' +
      '  const word = atomic.load<u64>(a + A_WORD);\n' +
      '  if ((word & (LATCH_E | LATCH_G)) == 0 && there == id) {',
  ),
  variant(
    'pin-shared-replace',
    'a shared pin that does not look at the latch word',
    'page-table',
    'if ((atomic.load<u64>(a + A_WORD) & LATCH_FLAGS) == 0 && atomic.load<u64>(a + A_ID) == id) {',
    'if (atomic.load<u64>(a + A_ID) == id) {',
  ),
  variant(
    'locate-replace',
    'a look-up that reads the id before the word',
    'page-table',
    '    const word = atomic.load<u64>(a + A_WORD);\n' +
      '    if (atomic.load<u64>(a + A_ID) == id) {\n      if (<f64>id',
    '    if (atomic.load<u64>(a + A_ID) == id) {\n' +
      '      const word = atomic.load<u64>(a + A_WORD);\n      if (<f64>id',
  ),
  variant(
    'change-replace',
    'a change that is not marked',
    'page-table',
    '  if (seq != 0) markDirty(frame, seq);\n',
    '',
  ),
  variant(
    'change-replace',
    'an eviction rule that forgets dirty frames',
    'frames',
    '    atomic.load<u64>(b + B_DIRTY) == 0 &&\n',
    '',
  ),
];

const TABLE: readonly ScheduleVariant[] = [
  variant(
    'miss-twice',
    'an insertion without a second look',
    'page-table',
    'const there = findExact(bucket, id);',
    'const there: u32 = 0;',
  ),
  variant(
    'chain',
    'a look-up that takes no lock for its final word',
    'page-table',
    '  if (lockTake(shardLock(bucket), me, parkMs) != OK) return SLICE;\n' +
      '  const ref = findExact(bucket, id);\n  lockGive(shardLock(bucket));\n',
    '  const ref = findExact(bucket, id);\n',
  ),
  variant(
    'miss-twice',
    'a load that wakes nobody when it is done',
    'frames',
    '  count(slotAt(me), S_LOADS, 1);\n  wakeFrame(frame);\n',
    '  count(slotAt(me), S_LOADS, 1);\n',
  ),
  variant(
    'load-fate',
    'an eviction that leaves the version',
    'page-table',
    'nextVersion(word) | (word & ~versionOf(word))',
    'word',
  ),
  variant(
    'load-fate',
    'a free frame of which nobody is told',
    'frames',
    '  wakeFrame(frame);\n  wakeFrameWaiters();\n  return OK;\n',
    '  wakeFrame(frame);\n  return OK;\n',
  ),
  variant(
    'frames-scarce',
    'a last unpin of which nobody is told',
    'page-table',
    '  if ((left & PIN_MASK) == 0) wakeFrameWaiters();\n}\n\n/** Gives a pin back',
    '}\n\n/** Gives a pin back',
  ),
  variant(
    'frames-scarce',
    'a waiter for a frame that reads the wake word when it parks',
    'frames',
    'park(H_FRAME_WAKE, seen,',
    'park(H_FRAME_WAKE, atomic.load<u32>(H_FRAME_WAKE),',
  ),
  variant(
    'frames-latched',
    'a failed upgrade of which nobody who waits for a frame is told',
    'latch',
    '    wakeAfterLatch(frame);\n    return BUSY;\n',
    '    wakeFrame(frame);\n    return BUSY;\n',
  ),
];

const MAPPING: readonly ScheduleVariant[] = [
  variant(
    'mapping-read',
    'a look-up that does not read the seqlock again',
    'mapping',
    '    if (atomic.load<u32>(H_MAP_VERSION) != version) continue;\n',
    '',
  ),
  variant(
    'mapping-read',
    'a look-up in the middle of a commit',
    'mapping',
    '    if ((version & 1) != 0) continue;\n',
    '',
  ),
  variant(
    'slots',
    'a slot that is handed out while it is read',
    'mapping',
    '    if (isRead(slot)) {',
    '    if (slot != slot) {',
  ),
  variant(
    'slots-kept',
    'a slot that is free although a snapshot reads it',
    'snapshots',
    'if (!isRead(load<u64>(span + SPAN_FROM), <u64>commit)) return slotFree(slot);',
    'if (commit != 0) return slotFree(slot);',
  ),
  variant(
    'slots-kept',
    'a snapshot that says that it has ended before it has',
    'snapshots',
    '  atomic.store<u32>(at + SNAPSHOT_OWNER, 0);\n' +
      '  // After the entry: who takes the flag down sees that the snapshot has gone.\n' +
      '  atomic.store<u32>(H_SNAPSHOT_ENDED, 1);\n',
    '  atomic.store<u32>(H_SNAPSHOT_ENDED, 1);\n  atomic.store<u32>(at + SNAPSHOT_OWNER, 0);\n',
  ),
];

const DEATH: readonly ScheduleVariant[] = [
  variant(
    'death-shared',
    'waiters that are counted without an intent',
    'latch',
    '  beginIntent(slot, frame);\n  store<u32>(slot + S_WAITING_ON, frame + 1);\n',
    '  store<u32>(slot + S_WAITING_ON, frame + 1);\n',
  ),
  variant(
    'death-replacing',
    'waiters for a frame that are counted without an intent',
    'frames',
    '  beginIntent(slot, 0);\n  store<u32>(slot + S_WAITING_FRAME, 1);\n',
    '  store<u32>(slot + S_WAITING_FRAME, 1);\n',
  ),
  variant(
    'death-pinned',
    'pins that are counted without an intent',
    'page-table',
    '  beginIntent(slot, frame);\n  // Pins and shared',
    '  // Pins and shared',
  ),
  variant(
    'death-pinned',
    'pins of the dead that stay',
    'threads',
    '    atomic.sub<u64>(descB(frame) + B_HOLDS, <u64>pins * PIN_ONE + <u64>shared * SHARED_ONE);\n',
    '',
  ),
  variant(
    'death-claim',
    'a claim of the dead that stays',
    'threads',
    '      atomic.store<u64>(a + A_WORD, versionOf(word));\n',
    '',
  ),
  variant(
    'death-claim',
    'a dead waiter that is still counted',
    'threads',
    '  if (waitingOn != 0) atomic.sub<u32>(descB(waitingOn - 1) + B_WAITERS, 1);\n',
    '',
  ),
  variant(
    'death-exclusive',
    'half a change that is given back',
    'threads',
    '    if ((word & LATCH_X) != 0 && (word & LATCH_E) == 0) return UNDECIDED;\n',
    '',
  ),
  variant(
    'death-evicting',
    'a lock of the dead that nobody looks at',
    'threads',
    '    if (lockOwner(lock) == dead + 1) return UNDECIDED;\n',
    '',
  ),
  variant(
    'death-dropping',
    'a dropped frame that still looks valid',
    'frames',
    '    atomic.store<u32>(a + A_STATE, FRAME_EVICTING);\n  }\n  lockGive',
    '  }\n  lockGive',
  ),
  variant(
    'death-reaping',
    'a reaper that counts waiters without an intent',
    'threads',
    '  beginIntent(slot, 0);\n  const waitingOn',
    '  const waitingOn',
  ),
  variant(
    'death-reaping',
    'a reaper that counts holds without an intent',
    'threads',
    '    beginIntent(slotAt(dead), frame);\n',
    '',
  ),
];

export const VARIANTS: readonly ScheduleVariant[] = [
  ...LATCH,
  ...LOCKS,
  ...PINS,
  ...TABLE,
  ...MAPPING,
  ...DEATH,
  ...LOG_VARIANTS,
];
