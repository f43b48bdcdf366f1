/**
 * Pool, trees and recovery: what an application imports. Public exports, nothing else.
 *
 * @module weirpool
 */

export type { RoundReport } from './checkpoint/requests.ts';
export type { RoundEvent } from './checkpoint/round.ts';
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
export type { FileStat, FileSystem } from './fs/file-system.ts';
export type { Checksummer } from './memory/checksum.ts';
export type { Frame } from './memory/frame.ts';
export type { PoolHandle } from './pool/attach.ts';
export type { PoisonEvent } from './pool/events.ts';
export type { ExclusiveGuard, OptimisticGuard, Pin, SharedGuard } from './pool/guards.ts';
export type { CheckpointOptions, LogOptions } from './pool/log-options.ts';
export type { LogStats, PhaseName, RoundStats } from './pool/log-stats.ts';
export type {
  PoolOptions,
  StoreBackendFactory,
  StoreModule,
  SweepOptions,
} from './pool/options.ts';
export { BufferPool } from './pool/pool.ts';
export { RESTART, type Read } from './pool/read.ts';
export type { EvictEvent } from './pool/residency.ts';
export type { FrameCounts, PoolStats, ThreadCounts } from './pool/stats.ts';
export type { DirtyBlob } from './pool/unflushed.ts';
export type { CopyOptions, CopyProgress, CopyReport } from './recovery/copy-store.ts';
export type { Owner, Owners } from './recovery/replay.ts';
export type {
  FindingCode,
  TreeSummary,
  VerifyCode,
  VerifyFinding,
  VerifyPhase,
  VerifyProgress,
  VerifyReport,
} from './recovery/verify.ts';
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
export type { AsyncOptions, AsyncPutOptions } from './tree/async.ts';
export type { Codec, CodecName, NamedCodecs } from './tree/codec.ts';
export type { Range } from './tree/range.ts';
export { restore } from './tree/restore.ts';
export {
  type LostRange,
  type SalvagedTree,
  type SalvageOptions,
  type SalvagePhase,
  type SalvageProgress,
  type SalvageReport,
  salvage,
} from './tree/salvage.ts';
export type { Snapshot } from './tree/snapshot.ts';
export type { PutOptions, ReadValue } from './tree/store.ts';
export {
  type BatchOperation,
  type KeyRange,
  type ListItem,
  type ListOptions,
  type RangeOptions,
  type ReadOptions,
  type ScanOptions,
  Tree,
} from './tree/tree.ts';
export { type VerifyOptions, verify } from './tree/verify.ts';
export {
  type StoreOperation,
  type TreeOptions,
  Weirpool,
  type WeirpoolHandle,
  type WeirpoolOptions,
} from './tree/weirpool.ts';
export type { BulkLoad, BulkRange, Fill } from './txn/bulk-load.ts';
export type { Op } from './txn/op.ts';
export type { OpBlob } from './txn/op-blob.ts';
export type { Change, ChangeOptions } from './txn/transactions.ts';
export type { DurabilityLevel } from './wal/durability.ts';
export type { LogRecord } from './wal/format.ts';
