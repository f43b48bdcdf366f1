/** Builds that are broken when a thread dies: what must find them, and how soon. */
import type { Broken } from './catching.ts';

const THREADS = 'assembly/threads.ts';

export const BROKEN_DEATHS: readonly Broken[] = [
  {
    title: 'shared latches of a dead thread stay counted (G1)',
    mode: 'deaths',
    runs: 120,
    tries: 3,
    patches: [
      {
        file: THREADS,
        find: '<u64>pins * PIN_ONE + <u64>shared * SHARED_ONE',
        replace: '<u64>pins * PIN_ONE',
      },
    ],
  },
  {
    title: 'a load of a dead thread is left as it is (I4)',
    mode: 'schedules',
    runs: 94,
    patches: [
      {
        file: 'src/memory/reaper.ts',
        find: 'if (result !== BUSY) return;',
        replace: 'return;',
      },
    ],
  },
];
