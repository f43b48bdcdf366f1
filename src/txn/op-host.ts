/** What a mini-transaction needs of its thread; `Transactions` gives it. */
import type { ControlExports } from '../generated/layout.ts';
import type { ThreadMemory } from '../memory/pool-memory.ts';
import type { PoolThread } from '../memory/thread.ts';
import type { Residency } from '../pool/residency.ts';
import type { Want } from '../pool/want.ts';
import type { MappedStore } from '../store/mapped-store.ts';
import type { LogRing } from '../wal/ring.ts';
import type { Op } from './op.ts';
import type { Roots } from './roots.ts';

export interface OpHost {
  readonly thread: PoolThread;
  readonly control: ControlExports;
  readonly memory: ThreadMemory;
  readonly me: number;
  readonly store: MappedStore;
  readonly residency: Residency;
  readonly ring: LogRing;
  readonly roots: Roots;
  /** Whether bytes are summed to prove that nobody changes them before the seal. */
  readonly debug: boolean;
  /** Frames that a mini-transaction may have whatever the number of threads. */
  readonly frameShareMin: number;
  /** Frames that it may have now. */
  frameShare(): number;
  /** A frame of the op's own; only tries once the op has anything. */
  frameForOp(): number;
  /** Waits, outside the gate, until it is open. */
  waitForGate(): void;
  /** Inside the gate: saves the bytes of a captured frame for the round; false without staging. */
  preserve(frame: number): boolean;
  /** A frame of the op was clean and is dirty now. */
  noteDirty(frame: number): void;
  undoBuffer(): Uint8Array;
  returnUndo(buffer: Uint8Array): void;
  /** What the next begin has to wait for. */
  noteRestart(want: Want): void;
  ended(op: Op): void;
}
