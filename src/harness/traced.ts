/**
 * Faults of the real file system: system calls of a process that its tracer lets fail, or delays,
 * or kills it at.
 *
 * A fault is counted for each thread by itself, and only calls on the files of one store count:
 * Node's own files are left alone. A call that fails has not been made: what a disk loses by a
 * failed sync, a simulated one must show.
 *
 * Owns:        nothing; the tracer is the parent of the process, and ends with it.
 * Source:      strace(1), -e inject; version 6.1 injects no signals under --seccomp-bpf.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../errors.ts';

const TRACER = 'strace';
/** The program, and the package that has it on Debian. */
export const TRACER_PROGRAMS: ReadonlyMap<string, string> = new Map([[TRACER, 'strace']]);

/** Calls that the product makes: those of descriptors and names, in the order of `FileSystem`. */
export const TRACED_CALLS = [
  'openat',
  'pread64',
  'pwrite64',
  'fdatasync',
  'fsync',
  'statx',
  'mkdir',
  'getdents64',
  'link',
  'rename',
  'unlink',
] as const;
export type TracedCall = (typeof TRACED_CALLS)[number];

/** Node makes these of its own accord: only those on known paths are the store's. */
const BY_PATH: ReadonlySet<TracedCall> = new Set(['openat', 'pread64', 'statx', 'getdents64']);

export type TracedEffect =
  | { readonly errno: string }
  /** Each call takes so much longer. */
  | { readonly delayMs: number }
  | { readonly signal: 'KILL' };

export interface TracedFault {
  readonly call: TracedCall;
  readonly effect: TracedEffect;
  /** The first call of a thread that it hits, from 1 on. */
  readonly from: number;
  /** How many calls of a thread in a row; undefined: all from then on. */
  readonly count: number | undefined;
}

/** Segments of a log that a short life reaches. */
const SEGMENTS = 200;
const US_PER_MS = 1000;

/** Names in a store's directory that are known before it is opened; temporary ones are not. */
function pathsOf(directory: string): string[] {
  const segments = Array.from({ length: SEGMENTS }, (_, n) => `wal-${n + 1}`);
  const manifests = Array.from({ length: 8 }, (_, n) => `manifest-${n + 1}`);
  const names = ['blobs.dat', 'wal-spare', ...manifests, ...segments];
  return [directory, ...names.map((name) => join(directory, name))];
}

function effectOf(effect: TracedEffect): string {
  if ('errno' in effect) return `error=${effect.errno}`;
  if ('signal' in effect) return `signal=${effect.signal}`;
  return `delay_enter=${Math.round(effect.delayMs * US_PER_MS)}`;
}

function when({ from, count }: TracedFault): string {
  if (count === undefined) return `${from}+`;
  return count === 1 ? `${from}` : `${from}..${from + count - 1}`;
}

/** The tracer and its arguments, before the program; what it sees goes into the file `output`. */
export function tracer(fault: TracedFault, directory: string, output: string): string[] {
  const { call, effect } = fault;
  const quick = 'signal' in effect ? [] : ['--seccomp-bpf'];
  const paths = BY_PATH.has(call) ? pathsOf(directory).flatMap((path) => ['-P', path]) : [];
  return [
    TRACER,
    '-f',
    ...quick,
    '-qq',
    '-o',
    output,
    ...paths,
    '-e',
    `trace=${call}`,
    '-e',
    `inject=${call}:${effectOf(effect)}:when=${when(fault)}`,
  ];
}

/** A tracer that only notes what really fails for want of space. */
export function watcher(output: string): string[] {
  const calls = 'trace=pwrite64,openat,link,rename,mkdir';
  return [TRACER, '-f', '--seccomp-bpf', '-qq', '-o', output, '-e', 'status=failed', '-e', calls];
}

function read(output: string): string {
  try {
    return readFileSync(output, 'latin1');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  }
}

/** How often the fault was met. */
export function injectionsIn(output: string, { effect }: TracedFault): number {
  const mark = 'errno' in effect ? '(INJECTED)' : '(DELAYED)';
  const text = read(output);
  if ('signal' in effect) return text.includes('+++ killed by SIGKILL +++') ? 1 : 0;
  return text.split(mark).length - 1;
}

/** How many calls have found no space. */
export function fullIn(output: string): number {
  return read(output).split(' ENOSPC (').length - 1;
}
