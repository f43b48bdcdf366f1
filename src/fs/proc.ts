/**
 * Whether a thread of this process still exists, without asking its event loop.
 *
 * Threads:     any, also while the thread that would get the `exit` event is parked.
 * Source:      proc(5): /proc/thread-self, /proc/[pid]/task/[tid]/stat, field 22 (start time).
 */
import { readFileSync, readlinkSync } from 'node:fs';

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

function readStartTime(tid: number): number | undefined {
  try {
    return startTimeOf(readFileSync(`/proc/self/task/${tid}/stat`, 'latin1'));
  } catch {
    return undefined;
  }
}

/** The calling thread. */
export function currentTask(): TaskIdentity {
  try {
    const tid = Number(readlinkSync('/proc/thread-self').split('/').pop());
    const startTime = readStartTime(tid);
    return Number.isSafeInteger(tid) && startTime !== undefined ? { tid, startTime } : UNKNOWN_TASK;
  } catch {
    return UNKNOWN_TASK;
  }
}

/** False only if the task is surely gone. */
export function taskMayLive(task: TaskIdentity): boolean {
  return task.tid === 0 || readStartTime(task.tid) === task.startTime;
}
