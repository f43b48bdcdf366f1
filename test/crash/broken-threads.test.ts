/** Broken builds that the harness must catch: see broken/tests.ts for which of them. */
import { catchesBrokenBuilds } from './broken/tests.ts';

catchesBrokenBuilds('threads');
