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
} from './latch';
export * from './layout';
export { lockGive, lockOwner, lockTake } from './locks';
export * from './mapping';
export * from './page-table';
export { park } from './park';
export * from './prefetch';
export * from './threads';
