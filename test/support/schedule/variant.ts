/** A broken kernel and the program that must notice it. */
import type { Patch } from '../variant.ts';

export interface ScheduleVariant {
  /** What is wrong, as the end of a sentence. */
  readonly name: string;
  readonly program: string;
  readonly patch: Patch;
}

export function variant(
  program: string,
  name: string,
  file: string,
  find: string,
  replace: string,
): ScheduleVariant {
  return { program, name, patch: { file: `assembly/${file}.ts`, find, replace } };
}
