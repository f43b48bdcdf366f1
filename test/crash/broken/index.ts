/** All broken builds. */
import type { Broken } from './catching.ts';
import { BROKEN_CONCURRENT } from './concurrent.ts';
import { BROKEN_DEATHS } from './deaths.ts';
import { BROKEN_WHEN_KILLED } from './killed.ts';
import { BROKEN_ON_SIMULATED_DISKS } from './simulated.ts';

export const BROKEN: readonly Broken[] = [
  ...BROKEN_ON_SIMULATED_DISKS,
  ...BROKEN_WHEN_KILLED,
  ...BROKEN_CONCURRENT,
  ...BROKEN_DEATHS,
];
