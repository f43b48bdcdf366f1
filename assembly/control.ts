/**
 * The control module: one instance in each thread, over the one control memory of the pool.
 * Only exports; see the modules for what they own.
 */

export * from './dirty';
export {
  ageFrame,
  dropBlob,
  enterFrameQueue,
  evictFrame,
  finishCreated,
  finishLoad,
  giveFree,
  holdsOf,
  initFrames,
  isLatched,
  latchFlags,
  leaveFrameQueue,
  loadFailure,
  movingVersion,
  noteLoadFailure,
  recencyOf,
  stateOf,
  sweep,
  takeFree,
  waitForFrame,
  waitMoved,
} from './frames';
export * from './gate';
export {
  abandonExclusive,
  acquireExclusive,
  acquireShared,
  latchOwner,
  optimistic,
  releaseExclusive,
  releaseShared,
  upgrade,
  validate,
  wakeFrameWaiters,
} from './latch';
export * from './layout';
export { lockGive, lockOwner, lockTake } from './locks';
export * from './mapping';
export * from './page-table';
export { park } from './park';
export * from './pending';
export * from './prefetch';
export * from './ring';
export * from './snapshots';
export * from './staging';
export * from './threads';
