/** The program behind `npm run crash`: everything of this package under the harness. */
import { main, workloadOf } from '../../src/harness/index.ts';
import { playWatch } from './modes/death-watch.ts';
import { deathsMode, playVictim } from './modes/deaths.ts';
import { playSchedule, schedulesMode } from './modes/schedules.ts';
import { poolWorkload } from './pool/session.ts';
import { bankSubject } from './subjects/bank.ts';
import { ownStoreSubject } from './subjects/own-store.ts';
import { treeSubject } from './subjects/tree.ts';

await main({
  subjects: [treeSubject, bankSubject],
  workloads: [poolWorkload, workloadOf(ownStoreSubject)],
  self: import.meta.url,
  modes: [schedulesMode(import.meta.url), deathsMode(import.meta.url)],
  plays: { schedules: playSchedule, 'death-victim': playVictim, 'death-watch': playWatch },
  command: 'npm run crash --',
});
