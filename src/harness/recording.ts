/**
 * Recording what a program asks of a simulated disk, so that the disk can be had as it was before
 * each call, without running the program again.
 */
import { constants } from 'node:fs';
import type { FileSystem } from '../fs/file-system.ts';
import { patched } from './faulty-file-system.ts';
import type { SimFileSystem } from './sim-file-system.ts';

type Changing =
  | 'open'
  | 'close'
  | 'write'
  | 'truncate'
  | 'syncData'
  | 'syncAll'
  | 'link'
  | 'rename'
  | 'unlink'
  | 'makeDirectory'
  | 'removeDirectory';

const CHANGING: readonly Changing[] = [
  'open',
  'close',
  'write',
  'truncate',
  'syncData',
  'syncAll',
  'link',
  'rename',
  'unlink',
  'makeDirectory',
  'removeDirectory',
];
/** Openings that change the disk. */
const MAKING = constants.O_CREAT | constants.O_TRUNC;

interface Step<M> {
  readonly operation: Changing;
  readonly args: readonly unknown[];
  /** What was promised before the call; undefined if the call changes nothing. */
  readonly mark: M | undefined;
}

export interface Recording<M> {
  readonly fs: FileSystem;
  readonly steps: readonly Step<M>[];
}

/** Passes every call on and remembers those that change something, with a mark each. */
export function record<M>(disk: FileSystem, mark: () => M): Recording<M> {
  const steps: Step<M>[] = [];
  const wrap =
    (operation: Changing) =>
    (...args: unknown[]): unknown => {
      const before = mark();
      const result = (disk[operation] as (...all: unknown[]) => unknown)(...args);
      const makes = operation === 'open' && ((args[1] as number) & MAKING) !== 0;
      const changes = makes || (operation !== 'open' && operation !== 'close');
      const copies = args.map((arg) => (arg instanceof Uint8Array ? arg.slice() : arg));
      steps.push({ operation, args: copies, mark: changes ? before : undefined });
      return result;
    };
  const replaced = Object.fromEntries(CHANGING.map((operation) => [operation, wrap(operation)]));
  return { fs: patched(disk, replaced as Partial<FileSystem>), steps };
}

/** Does the calls again, and stops before each of those that change something. */
export async function replaySteps<M>(
  disk: SimFileSystem,
  { steps }: Recording<M>,
  before: (mark: M, call: number) => Promise<void>,
): Promise<void> {
  for (const [call, { operation, args, mark }] of steps.entries()) {
    if (mark !== undefined) await before(mark, call);
    (disk[operation] as (...all: readonly unknown[]) => unknown)(...args);
  }
}
