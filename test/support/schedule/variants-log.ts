/**
 * The kernels of the log, each broken in one place: what programs-log.ts must notice.
 */
import { type ScheduleVariant, variant } from './variant.ts';

const GATE: readonly ScheduleVariant[] = [
  variant(
    'gate-capture',
    'an entry that looks at the gate before it says so',
    'gate',
    '  atomic.store<u32>(flag, 1);\n  if (atomic.load<u32>(H_GATE) == 0) {',
    '  const open = atomic.load<u32>(H_GATE) == 0;\n  atomic.store<u32>(flag, 1);\n  if (open) {',
  ),
  variant(
    'gate-capture',
    'a leaving of which the closer is not told',
    'gate',
    '  if (atomic.load<u32>(H_GATE) != 0) wakeCloser();\n',
    '',
  ),
  variant(
    'gate-capture',
    'an entry that backs off and tells nobody',
    'gate',
    '  atomic.store<u32>(flag, 0);\n  wakeCloser();\n',
    '  atomic.store<u32>(flag, 0);\n',
  ),
  variant(
    'gate-capture',
    'an opening of which nobody is told',
    'gate',
    '  atomic.notify(H_GATE, -1);\n}\n\n/** Slot',
    '}\n\n/** Slot',
  ),
];

const RING: readonly ScheduleVariant[] = [
  variant(
    'ring-credit',
    'credit that two threads take at once',
    'ring',
    'const was = atomic.cmpxchg<u64>(H_LOG_TAKEN, taken, taken + bytes);',
    'const was = taken;\n    atomic.store<u64>(H_LOG_TAKEN, taken + bytes);',
  ),
  variant(
    'ring-credit',
    'credit that is not bounded by what was consumed',
    'ring',
    'atomic.load<u64>(H_LOG_CONSUMED) + size) return BUSY;',
    'atomic.load<u64>(H_LOG_CONSUMED) + size * 2) return BUSY;',
  ),
  variant(
    'ring-credit',
    'credit above the record that stays taken',
    'ring',
    '  if (credit > bytes) atomic.sub<u64>(H_LOG_TAKEN, credit - bytes);\n',
    '',
  ),
  variant(
    'ring-abort',
    'credit that is given back and nobody is told',
    'ring',
    '  atomic.sub<u64>(H_LOG_TAKEN, bytes);\n  wakeCredit();\n',
    '  atomic.sub<u64>(H_LOG_TAKEN, bytes);\n',
  ),
  variant(
    'ring-credit',
    'a record that is published before it is written',
    'ring',
    '  store<u64>(at(position + R_OWNER), <u64>owner);\n',
    '  store<u64>(at(position + R_OWNER), <u64>owner);\n' +
      '  atomic.store<u32>(at(position + R_LENGTH), bytes);\n',
  ),
  variant(
    'ring-credit',
    'places that two records get at once',
    'ring',
    'const position = atomic.add<u64>(H_LOG_TAIL, bytes);',
    'const position = atomic.load<u64>(H_LOG_TAIL);\n' +
      '  atomic.store<u64>(H_LOG_TAIL, position + bytes);',
  ),
  variant(
    'ring-lap',
    'consumed bytes that are not zero again',
    'ring',
    '    memory.fill(first, 0, bytes);\n',
    '    memory.fill(first, 0, 0);\n',
  ),
  variant(
    'ring-credit',
    'a consumer that takes what was only reserved',
    'ring',
    'if (bytes == 0 || (position',
    'if (bytes == 0) return <f64>tail;\n    if ((position',
  ),
];

const IMAGES: readonly ScheduleVariant[] = [
  variant(
    'images-spare',
    'a copy that two threads begin',
    'dirty',
    'return atomic.cmpxchg<u64>(at, mark, copying) == mark ? OK : BUSY;',
    'atomic.store<u64>(at, copying);\n  return OK;',
  ),
  variant(
    'images-spare',
    'a frame that is being copied and looks as if it were not',
    'dirty',
    'return <f64>(atomic.load<u64>(descB(frame) + B_CAPTURED) >> CAPTURE_SHIFT);',
    'const mark = atomic.load<u64>(descB(frame) + B_CAPTURED);\n' +
      '  return (mark & CAPTURE_MASK) == CAPTURE_COPYING ? 0 : <f64>(mark >> CAPTURE_SHIFT);',
  ),
  variant(
    'images',
    'a staging frame that two threads take',
    'staging',
    'if (atomic.cmpxchg<u32>(at, STAGING_FREE, STAGING_TAKEN) == STAGING_FREE) return <i32>index;',
    'atomic.store<u32>(at, STAGING_TAKEN);\n    return <i32>index;',
  ),
  variant(
    'images',
    'a free staging frame of which nobody is told',
    'staging',
    '  atomic.add<u32>(H_STAGING_WAKE, 1);\n  atomic.notify(H_STAGING_WAKE, -1);\n',
    '',
  ),
];

const RETIRING: readonly ScheduleVariant[] = [
  variant(
    'retire-change',
    'a retiring that takes the mark of a later change too',
    'dirty',
    '  const seq = load<u64>(captureAt(index), 8);\n  return atomic',
    '  const seq = load<u64>(captureAt(index), 8);\n  clearDirty(captureFrame(index));\n  return atomic',
  ),
  variant(
    'retire-change',
    'guards of an op that go before its frames are marked',
    'page-table',
    '  const wasClean = markDirty(frame, seq);\n  releaseExclusive(frame, me);\n' +
      '  dropPin(frame, me);\n  return wasClean;\n',
    '  releaseExclusive(frame, me);\n  dropPin(frame, me);\n  return markDirty(frame, seq);\n',
  ),
  variant(
    'capture-evict',
    'a capture that takes the one mark before it sets the other',
    'dirty',
    '    atomic.store<u64>(b + B_FLUSHING, seq);\n    atomic.store<u64>(b + B_CAPTURED, mark);\n' +
      '    atomic.store<u64>(b + B_DIRTY, 0);\n',
    '    atomic.store<u64>(b + B_DIRTY, 0);\n    atomic.store<u64>(b + B_FLUSHING, seq);\n' +
      '    atomic.store<u64>(b + B_CAPTURED, mark);\n',
  ),
];

const DELETES: readonly ScheduleVariant[] = [
  variant(
    'deletes',
    'a delete that takes no lock',
    'pending',
    'if (lockTake(LOCK_PENDING, me, parkMs) != OK) return SLICE;\n  const entry',
    'if (me > 1000 && lockTake(LOCK_PENDING, me, parkMs) != OK) return SLICE;\n  const entry',
  ),
  variant(
    'deletes',
    'a delete that is done and leaves a gap',
    'pending',
    '      if (id == 0) break;\n',
    '      if (id == 0 || id != 0) break;\n',
  ),
  variant(
    'deletes',
    'a look-up that takes no lock',
    'pending',
    'if (lockTake(LOCK_PENDING, me, parkMs) != OK) return SLICE;\n  const there',
    'if (me > 1000 && lockTake(LOCK_PENDING, me, parkMs) != OK) return SLICE;\n  const there',
  ),
  variant(
    'delete-load',
    'a delete that is not counted',
    'pending',
    '  atomic.add<u32>(H_DELETES, 1);\n',
    '',
  ),
];

const DEATH: readonly ScheduleVariant[] = [
  variant(
    'death-gate',
    'a thread that dies inside the gate and is taken for out',
    'threads',
    '  if (atomic.load<u32>(slot + S_GATE) != 0) return UNDECIDED;\n',
    '',
  ),
  variant(
    'death-gate',
    'credit of the dead that stays taken',
    'threads',
    '  creditGive(dead);\n',
    '',
  ),
];

export const LOG_VARIANTS: readonly ScheduleVariant[] = [
  ...GATE,
  ...RING,
  ...IMAGES,
  ...RETIRING,
  ...DELETES,
  ...DEATH,
];
