/**
 * Parts: a program of the harness starts itself again, as the processes and threads under test.
 *
 * Owns:        how a part and its data get to the process or thread that plays it.
 * Threads:     started from the main thread of a program, and from the main thread of a part.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import type { Workload } from './session.ts';
import type { AnySubject } from './subject.ts';

const ENVIRONMENT = 'WEIRPOOL_HARNESS_PART';
const MARK = 'weirpoolHarnessPart';

interface Part {
  readonly name: string;
  readonly data: unknown;
}

/** What a part has of its program. */
export interface PartContext {
  readonly subjects: readonly AnySubject[];
  /** More for simulated disks than subjects can say. */
  readonly workloads?: readonly Workload[];
  /** `import.meta.url` of the module that calls `main`: plain JavaScript, or what Node runs. */
  readonly self: string;
}

/** Why modes with real processes have nothing to do: a workload alone is for simulated disks. */
export const NO_SUBJECT = 'it needs a subject; workloads are for simulated disks alone';

export type Play = (data: never, context: PartContext) => Promise<void>;

/** The part that this process or thread is to play, or undefined: it is the program itself. */
function ownPart(): Part | undefined {
  if (!isMainThread) return (workerData as Record<string, Part> | null)?.[MARK];
  const text = process.env[ENVIRONMENT];
  return text === undefined ? undefined : (JSON.parse(text) as Part);
}

/** Plays the part that was given to this process or thread; whether there was one. */
export async function playPart(
  plays: Readonly<Record<string, Play>>,
  context: PartContext,
): Promise<boolean> {
  const part = ownPart();
  if (part === undefined) return false;
  const play = plays[part.name];
  if (play === undefined) throw new Error(`there is no part ${part.name}`);
  await play(part.data as never, context);
  return true;
}

/** A thread of this process that plays a part; `data` is cloned. */
export function startThread(self: string, name: string, data: unknown): Worker {
  return new Worker(new URL(self), { workerData: { [MARK]: { name, data } } });
}

export interface ProcessOptions extends SpawnOptions {
  /** A program and its arguments before Node, such as a tracer. */
  readonly under?: readonly string[];
}

/** A process of its own that plays a part; `data` goes through JSON. */
export function startProcess(
  self: string,
  name: string,
  data: unknown,
  { under = [], ...options }: ProcessOptions = {},
): ChildProcess {
  const part = JSON.stringify({ name, data });
  const env: NodeJS.ProcessEnv = { ...process.env, ...options.env, [ENVIRONMENT]: part };
  // Settings of a test runner for its own processes are not meant for this one.
  delete env['NODE_OPTIONS'];
  // Every thread of a part would decode the map anew: a quarter of what a kill costs.
  const flags = process.execArgv.filter((flag) => flag !== '--enable-source-maps');
  const argv = [...under, process.execPath, ...flags, fileURLToPath(self)];
  return spawn(argv[0] as string, argv.slice(1), { ...options, env });
}
