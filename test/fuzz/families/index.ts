/** All families of decoders that are fuzzed. */
import type { Family } from '../support/family.ts';
import { input, load } from './cli.ts';
import { locks } from './locks.ts';
import { log } from './log.ts';
import { manifest } from './manifest.ts';
import { nodes } from './nodes.ts';
import { records, sealed } from './sealed.ts';
import { store } from './store.ts';
import { wire } from './wire.ts';

// biome-ignore lint/suspicious/noExplicitAny: each family has cases of its own
export const FAMILIES: readonly Family<any>[] = [
  log,
  manifest,
  store,
  sealed,
  records,
  nodes,
  wire,
  locks,
  input,
  load,
];
