/**
 * A simulated disk with a fault: one call that fails, or all of a kind from one on, a disk that is
 * full, slow, or moves fewer bytes than it was asked for.
 *
 * Owns:        the count of calls, and which descriptors must not be synced again.
 * Invariants:  a sync that has failed loses what was written before it, for good.
 */
import { constants } from 'node:fs';
import type { FileSystem } from '../fs/file-system.ts';
import { type FileOperation, patched, systemError } from './faulty-file-system.ts';
import type { SimFileSystem } from './sim-file-system.ts';
import { passTime } from './step-clock.ts';

/** What a call of a slow disk takes: longer than anything waits. */
const SLOW_MS = 7000;

export const KINDS: readonly FileOperation[] = [
  'read',
  'write',
  'syncData',
  'syncAll',
  'rename',
  'open',
  'unlink',
  'truncate',
  'list',
  'link',
  'stat',
  'statFd',
  'makeDirectory',
];

export interface Fault {
  /** Which calls are counted and may fail; undefined: those that need space. */
  readonly kind: FileOperation | undefined;
  /** The first call that fails, from 1 on. */
  readonly n: number;
  /**
   * `once`; `late`: once, after the call has had its effect, or half of it; `ever`: until the disk
   * is replaced; `full`: until there is space again; `slow`: it takes long, once; `short`: it moves
   * only a part of its bytes, once.
   */
  readonly mode: 'once' | 'late' | 'ever' | 'full' | 'slow' | 'short';
  /** Calls that fail, too, once one has failed: those with which a failure is put right. */
  readonly also?: FileOperation;
  /** Whether a write that fails late was done as a whole. */
  readonly whole?: boolean;
}

type Call = () => unknown;

export class FaultyDisk {
  readonly fs: FileSystem;
  /** Calls of the kind so far. */
  count = 0;
  hit = false;
  healed = false;
  /** Descriptors whose sync has failed. */
  readonly #failedSyncs = new Set<number>();
  readonly violations: string[] = [];
  readonly #disk: SimFileSystem;
  readonly #fault: Fault;
  readonly #afterHit: (last: FileOperation) => void;
  #last: FileOperation = 'open';

  /** @param afterHit  Called before each call once the fault was met, with the one before it. */
  constructor(disk: SimFileSystem, fault: Fault, afterHit: (last: FileOperation) => void) {
    this.#disk = disk;
    this.#afterHit = afterHit;
    this.#fault = fault;
    const wrap =
      (operation: FileOperation) =>
      (...args: unknown[]): unknown =>
        this.#call(operation, args);
    const kinds = [...KINDS, 'close'] as const;
    this.fs = patched(disk, Object.fromEntries(kinds.map((kind) => [kind, wrap(kind)])));
  }

  /** Whether a sync of a file has failed: then nothing goes on but by opening again. */
  get hasFailedSync(): boolean {
    return this.#failedSyncs.size > 0;
  }

  heal(): void {
    this.healed = true;
  }

  #call(operation: FileOperation, args: readonly unknown[]): unknown {
    if (this.hit) this.#afterHit(this.#last);
    this.#last = operation;
    const fd = args[0] as number;
    if (operation === 'close') this.#failedSyncs.delete(fd);
    if (operation === 'syncData' && this.#failedSyncs.has(fd)) {
      this.violations.push(`descriptor ${fd} is synced again after a sync of it has failed`);
    }
    const call = (given = args): unknown =>
      (this.#disk[operation] as (...all: readonly unknown[]) => unknown)(...given);
    if (!this.#fails(operation, args)) return call();
    this.hit = true;
    const { mode } = this.#fault;
    if (mode === 'slow') passTime(SLOW_MS);
    if (mode === 'slow') return call();
    return mode === 'short' ? call(shortened(operation, args)) : this.#fail(operation, args, call);
  }

  #fail(operation: FileOperation, args: readonly unknown[], call: Call): never {
    const fd = args[0] as number;
    const { mode, also } = this.#fault;
    if (mode === 'late' && operation !== also) this.#halfway(operation, args, call);
    if (operation === 'syncData' || operation === 'syncAll') this.#disk.failSync(fd);
    if (operation === 'syncData') this.#failedSyncs.add(fd);
    throw systemError(mode === 'full' ? 'ENOSPC' : 'EIO');
  }

  #halfway(operation: FileOperation, args: readonly unknown[], call: Call): void {
    if (operation === 'write') {
      const [fd, source, position] = args as [number, Uint8Array, number];
      const bytes = this.#fault.whole === true ? source.length : Math.ceil(source.length / 2);
      this.#disk.write(fd, source.subarray(0, bytes), position);
    } else if (operation === 'open') {
      this.#disk.close(call() as number);
    } else if (operation === 'rename' || operation === 'link' || operation === 'unlink') {
      call();
    }
  }

  #fails(operation: FileOperation, args: readonly unknown[]): boolean {
    const { kind, n, mode, also } = this.#fault;
    if (operation === also && this.hit && !this.healed) return true;
    const counts = kind === undefined ? this.#needsSpace(operation, args) : operation === kind;
    if (!counts || this.healed) return false;
    this.count++;
    const lasts = mode === 'ever' || mode === 'full';
    return lasts ? this.count >= n : this.count === n;
  }

  #needsSpace(operation: FileOperation, args: readonly unknown[]): boolean {
    if (operation === 'write') {
      const [fd, source, position] = args as [number, Uint8Array, number];
      return position + source.length > this.#disk.statFd(fd).bytes;
    }
    if (operation === 'link') return true;
    return operation === 'open' && ((args[1] as number) & constants.O_CREAT) !== 0;
  }
}

/** The arguments of a read or write that moves a part of its bytes, at least one. */
function shortened(operation: FileOperation, args: readonly unknown[]): readonly unknown[] {
  const part = (bytes: number): number => Math.ceil(bytes / 3);
  if (operation === 'read') return [args[0], args[1], part(args[2] as number), args[3]];
  const source = args[1] as Uint8Array;
  return [args[0], source.subarray(0, part(source.length)), args[2]];
}
