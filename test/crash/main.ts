/** The program behind `npm run crash`: everything of this package under the harness. */
import { main } from '../../src/harness/index.ts';
import { treeSubject } from './subjects/tree.ts';

await main({ subjects: [treeSubject], self: import.meta.url, command: 'npm run crash --' });
