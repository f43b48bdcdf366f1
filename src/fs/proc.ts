/**
 * Whether a thread of this process still exists, without asking its event loop.
 *
 * Threads:     any, also while the thread that would get the `exit` event is parked.
 * Source:      proc(5): /proc/thread-self, /proc/[pid]/task/[tid]/stat, field 22 (start time).
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { errnoOf } from '../errors.ts';

export interface TaskIdentity {
  /** Linux task id; 0 where the platform does not tell, and death is known by events alone. */
  readonly tid: number;
  /** Clock ticks since boot: tells a task from a later one with the same id. */
  readonly startTime: number;
}

const UNKNOWN_TASK: TaskIdentity = { tid: 0, startTime: 0 };
const START_TIME_FIELD = 22;
/** The command name is field 2, in parentheses, and may hold spaces; what follows is field 3. */
const FIRST_FIELD_AFTER_NAME = 3;

/** Field 22 of a stat line. */
export function startTimeOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[START_TIME_FIELD - FIRST_FIELD_AFTER_NAME]);
}

function readStartTime(tid: number): number {
  return startTimeOf(readFileSync(`/proc/self/task/${tid}/stat`, 'latin1'));
}

/** What reading about a task that is gone fails with; anything else says nothing about it. */
const TASK_GONE: readonly (string | undefined)[] = ['ENOENT', 'ESRCH'];

/** The calling thread. */
export function currentTask(): TaskIdentity {
  try {
    const tid = Number(readlinkSync('/proc/thread-self').split('/').pop());
    const startTime = readStartTime(tid);
    return Number.isSafeInteger(tid) && Number.isSafeInteger(startTime)
      ? { tid, startTime }
      : UNKNOWN_TASK;
  } catch {
    return UNKNOWN_TASK;
  }
}

/** False only if the task is surely gone: too few descriptors are no death. */
export function taskMayLive({ tid, startTime }: TaskIdentity): boolean {
  if (tid === 0) return true;
  try {
    return readStartTime(tid) === startTime;
  } catch (error) {
    return !TASK_GONE.includes(errnoOf(error)) || !procIsThere();
  }
}

/** Whether this process can be looked up at all: /proc may have been unmounted. */
function procIsThere(): boolean {
  try {
    readFileSync('/proc/self/stat', 'latin1');
    return true;
  } catch {
    return false;
  }
}
