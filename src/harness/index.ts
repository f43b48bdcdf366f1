/**
 * The crash harness for indexes and stores of one's own (docs/harness.md). Public exports, nothing
 * else.
 *
 * @module weirpool/harness
 */

export { concurrentMode } from './concurrent.ts';
export { checkCuts, checkOrder, type SeenChange, type SeenCut } from './cuts.ts';
export { type FaultOptions, faultsMode } from './faults.ts';
export {
  type FaultyFileSystem,
  type FileCall,
  type FilePlan,
  faultyFileSystem,
} from './faulty-file-system.ts';
export { killMode } from './kill.ts';
export {
  checkRegister,
  describeOperation,
  type RegisterAction,
  type RegisterOperation,
  type RegisterViolation,
} from './linearizability.ts';
export { type HarnessProgram, main } from './main.ts';
export type { ConcurrentMap, MapSubject, ScanRange } from './map-subject.ts';
export {
  addDetails,
  type CrashReport,
  type Details,
  type Mode,
  type ModeOptions,
  type Outcome,
  type Run,
  runMode,
  type Tally,
} from './mode.ts';
export { type Commit, changed, differences, type Mark, Oracle } from './oracle.ts';
export {
  type PartContext,
  type Play,
  type ProcessOptions,
  startProcess,
  startThread,
} from './parts.ts';
export { pointsMode } from './points.ts';
export { powerMode } from './power.ts';
export { Random } from './random.ts';
export { rotMode } from './rot.ts';
export { Session, type SessionParts, type Workload, workloadOf } from './session.ts';
export { SimFileSystem } from './sim-file-system.ts';
export { soakMode } from './soak.ts';
export type {
  Acknowledged,
  AnySubject,
  Changes,
  Facts,
  HarnessOptions,
  Opened,
  Part,
  Subject,
} from './subject.ts';
export { terminateMode } from './terminate.ts';
