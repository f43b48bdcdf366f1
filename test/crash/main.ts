/** The program behind `npm run crash`: everything of this package under the harness. */
import { main } from '../../src/harness/index.ts';
import { poolWorkload } from './pool/session.ts';
import { bankSubject } from './subjects/bank.ts';
import { treeSubject } from './subjects/tree.ts';

await main({
  subjects: [treeSubject, bankSubject],
  workloads: [poolWorkload],
  self: import.meta.url,
  command: 'npm run crash --',
});
