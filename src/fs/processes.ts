/**
 * Who holds a lock file: identities of processes, and whether one still lives.
 *
 * Threads:     any; nothing is kept.
 * Source:      proc(5): /proc/[pid]/stat, fields 3 (state) and 22 (start time); pid_namespaces(7).
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { errnoOf } from '../errors.ts';
import { startTimeOf } from './proc.ts';

export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot, tells a process from a later one with its pid; 0 where unknown. */
  readonly startTime: number;
  readonly host: string;
  /** Boot and pid namespace in which pid and start time mean something; empty where unknown. */
  readonly scope: string;
}

/** The processes of this machine, as far as they can be seen. Replaced by tests. */
export interface ProcessTable {
  self(): ProcessIdentity;
  /** `unknown`: it was seen from another host or namespace, where its pid says nothing here. */
  stateOf(identity: ProcessIdentity): 'alive' | 'dead' | 'unknown';
}

/** Killed processes whose parent has not taken note yet hold nothing any more. */
const DEAD_STATES: readonly string[] = ['Z', 'X', 'x'];

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return '';
  }
}

function scope(): string {
  try {
    return `${read('/proc/sys/kernel/random/boot_id')} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return '';
  }
}

/** A signal that is not sent: tells only whether there is such a process. */
function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) !== 'ESRCH';
  }
}

function bootOf({ scope }: ProcessIdentity): string {
  return scope.split(' ')[0] ?? '';
}

function isRunning({ pid, startTime }: ProcessIdentity): boolean {
  if (!exists(pid)) return false;
  const stat = read(`/proc/${pid}/stat`);
  if (stat === '' || startTime === 0) return true;
  const stateAt = stat.lastIndexOf(')') + 2;
  return startTimeOf(stat) === startTime && !DEAD_STATES.includes(stat.charAt(stateAt));
}

export const systemProcesses: ProcessTable = {
  self(): ProcessIdentity {
    const stat = read('/proc/self/stat');
    const startTime = stat === '' ? 0 : startTimeOf(stat);
    return { pid: process.pid, startTime, host: hostname(), scope: scope() };
  },

  stateOf(identity: ProcessIdentity): 'alive' | 'dead' | 'unknown' {
    const self = systemProcesses.self();
    if (identity.scope !== self.scope) {
      const sameMachine = identity.host === self.host;
      const sameBoot = bootOf(identity) === bootOf(self);
      return sameMachine && !sameBoot ? 'dead' : 'unknown';
    }
    // Without a scope the host's name is all there is to go by.
    if (self.scope === '' && identity.host !== self.host) return 'unknown';
    return isRunning(identity) ? 'alive' : 'dead';
  },
};
