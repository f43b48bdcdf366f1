/** All programs, by name. */
import { DEATH_PROGRAMS } from './programs-death.ts';
import { LATCH_PROGRAMS } from './programs-latch.ts';
import { LOG_PROGRAMS } from './programs-log.ts';
import { MAPPING_PROGRAMS } from './programs-mapping.ts';
import { TABLE_PROGRAMS } from './programs-table.ts';
import type { Program } from './thread.ts';

const ALL: readonly Program[] = [
  ...LATCH_PROGRAMS,
  ...TABLE_PROGRAMS,
  ...MAPPING_PROGRAMS,
  ...LOG_PROGRAMS,
  ...DEATH_PROGRAMS,
];

export const PROGRAMS: ReadonlyMap<string, Program> = new Map(
  ALL.map((program) => [program.name, program]),
);
