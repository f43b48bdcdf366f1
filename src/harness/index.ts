/** Public exports of weirpool/harness, nothing else. */

export { type HarnessProgram, main } from './main.ts';
export {
  type CrashReport,
  type Mode,
  type ModeOptions,
  type Outcome,
  type Run,
  runMode,
  type Tally,
} from './mode.ts';
export { type Commit, changed, differences, type Mark, Oracle } from './oracle.ts';
export { type PartContext, type Play, startProcess, startThread } from './parts.ts';
export { Random } from './random.ts';
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
