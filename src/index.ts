/** Public exports of weirpool, nothing else. */
export {
  ERROR_CODES,
  type ErrorCode,
  type ErrorDetails,
  fromWire,
  type Outcome,
  toWire,
  WeirpoolError,
  type WeirpoolErrorOptions,
  type WireError,
} from './errors.ts';
export type { Frame } from './memory/frame.ts';
export type { PoolHandle } from './pool/attach.ts';
export type { ExclusiveGuard, OptimisticGuard, Pin, SharedGuard } from './pool/guards.ts';
export type {
  PoolOptions,
  StoreBackendFactory,
  StoreModule,
  SweepOptions,
} from './pool/options.ts';
export { BufferPool, RESTART, type Read } from './pool/pool.ts';
export type { FrameCounts, PoolStats, ThreadCounts } from './pool/stats.ts';
export type {
  BackendContext,
  BackendHandle,
  BackendUsage,
  BlobId,
  BlobMapping,
  BlobStore,
  SlotWrite,
  SlotWriteResult,
  StoreBackend,
  StoreChange,
  StoreFinding,
  StoreImage,
  StoreStats,
} from './store/contract.ts';
