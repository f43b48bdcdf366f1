/** Jobs of a schedule run: what the test hands to the scenario, and what it gets back. */
import { readFileSync } from 'node:fs';
import type { Site } from '../gated-wasm.ts';
import type { Plan } from './explore.ts';

export interface ModulePaths {
  /** The module as it ships, for the set-up. */
  readonly control: string;
  readonly kernels: string;
  /** The gated one, and the list of its sites. */
  readonly gated: string;
  readonly sites: string;
}

export interface Job {
  readonly program: string;
  /** Name of what is checked: the product, or a variant. */
  readonly subject: string;
  readonly modules: ModulePaths;
  readonly plan: Plan;
  /** Instead of exploring: one schedule, with every step printed. */
  readonly schedule?: string;
}

export interface JobResult {
  readonly program: string;
  readonly subject: string;
  readonly schedules: number;
  readonly steps: number;
  readonly ms: number;
  readonly complete: number;
  readonly forced: number;
  readonly deaths: number;
  /** Schedules that ended with a poisoned pool. */
  readonly undecided: number;
  /** Undefined if nothing was found. */
  readonly violation?: string;
  readonly at?: number;
  readonly schedule?: string;
}

export function readSites(path: string): Site[] {
  return JSON.parse(readFileSync(path, 'utf8')) as Site[];
}
