/** A file system that fails as planned, around any other one; records its calls. */
import { type FileSystem, nodeFileSystem } from '../fs/file-system.ts';

export type FileOperation = keyof FileSystem;

const OPERATIONS = Object.keys(nodeFileSystem) as FileOperation[];

/** The file system with some calls replaced; who replaces `write` has replaced `writeAsync`, too. */
export function patched(fs: FileSystem, replaced: Partial<FileSystem>): FileSystem {
  const { write } = replaced;
  const writeAsync: FileSystem['writeAsync'] | undefined =
    write && (async (...args) => write(...args));
  const bound = OPERATIONS.map((operation) => [
    operation,
    (...args: unknown[]) => (fs[operation] as (...all: unknown[]) => unknown)(...args),
  ]);
  const all = Object.fromEntries(bound) as FileSystem;
  return { ...all, ...(writeAsync && { writeAsync }), ...replaced };
}

export interface FileCall {
  readonly operation: FileOperation;
  /** Path, where the call has one. */
  readonly path: string | undefined;
  /** The same, or the path of the call's descriptor. */
  readonly file: string | undefined;
}

export function systemError(errno: string): Error {
  return Object.assign(new Error(`${errno}: injected`), { code: errno });
}

/** Decides for each call, counted from 1 on, whether it fails: an errno, or undefined. */
export type FilePlan = (call: FileCall, count: number) => string | undefined;

export interface FaultyFileSystem extends FileSystem {
  readonly calls: FileCall[];
  plan: FilePlan;
  /** Most bytes that one read or write moves. */
  bytesMax: number;
}

export function faultyFileSystem(inner: FileSystem, plan: FilePlan = () => undefined) {
  const calls: FileCall[] = [];
  const state = { calls, plan, bytesMax: Number.POSITIVE_INFINITY };
  const files = new Map<number, string>();
  const check = (operation: FileOperation, args: readonly unknown[]): void => {
    const path = args.find((arg): arg is string => typeof arg === 'string');
    const file = path ?? files.get(args[0] as number);
    const call = { operation, path, file };
    calls.push(call);
    const errno = state.plan(call, calls.length);
    if (errno !== undefined) throw systemError(errno);
  };
  const wrapped = Object.fromEntries(
    OPERATIONS.map((operation) => [
      operation,
      (...args: unknown[]) => {
        check(operation, args);
        const call = inner[operation] as (...all: unknown[]) => unknown;
        const result = call.apply(inner, shortened(operation, args));
        if (operation === 'open') files.set(result as number, args[0] as string);
        return result;
      },
    ]),
  );
  const shortened = (operation: FileOperation, args: unknown[]): unknown[] => {
    if (operation === 'read') {
      return [args[0], args[1], Math.min(args[2] as number, state.bytesMax), args[3]];
    }
    if (!operation.startsWith('write')) return args;
    return [args[0], (args[1] as Uint8Array).subarray(0, state.bytesMax), args[2]];
  };
  const writeAsync: FileSystem['writeAsync'] = async (...args) => {
    check('writeAsync', args);
    const [fd, source, position] = args;
    return inner.writeAsync(fd, source.subarray(0, state.bytesMax), position);
  };
  return Object.assign(state, wrapped, { writeAsync }) as unknown as FaultyFileSystem;
}

/** Fails the n-th call, or from it on all of them. */
export function failAt(n: number, errno: string, forEver = false): FilePlan {
  return (_, count) => ((forEver ? count >= n : count === n) ? errno : undefined);
}
