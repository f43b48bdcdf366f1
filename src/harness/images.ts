/** Looking at a disk after a crash: what is opened must be what was promised, and go on working. */
import type { FileSystem } from '../fs/file-system.ts';
import { modules } from '../pool/modules.ts';
import { verifyStore } from '../recovery/verify.ts';
import { checkTrees } from '../tree/verify-trees.ts';
import { type Mark, Oracle } from './oracle.ts';
import type { Random } from './random.ts';
import { DIRECTORY, type Session, type Workload } from './session.ts';
import type { SimFileSystem } from './sim-file-system.ts';

/** What must be there. */
export interface Expectation {
  // biome-ignore lint/suspicious/noExplicitAny: notes are a matter of the workload alone
  readonly oracle: Oracle<any>;
  readonly mark: Mark;
  /** Commits that were promised to survive what has happened. */
  readonly least: number;
}

/** What `verify` finds from the files alone; a store that was never opened is no damage. */
export async function damageOf(
  disk: SimFileSystem,
  { verify }: Pick<Workload, 'verify'>,
): Promise<readonly string[]> {
  // It may open the store, which changes the disk.
  if (verify !== undefined) return verify(DIRECTORY, disk.afterKill());
  const { kernels } = modules();
  const options = { kernels, fileSystem: disk, content: checkTrees };
  const { findings, generation } = await verifyStore(DIRECTORY, options);
  return findings
    .filter(({ code }) => code !== 'STORE_IO' || generation !== 0)
    .map(({ code, message }) => `verify: ${code} ${message}`);
}

export interface Recovered {
  // biome-ignore lint/suspicious/noExplicitAny: notes are a matter of the workload alone
  readonly session: Session<any>;
  readonly violations: readonly string[];
}

/** Opens the store, compares, and gives the session, which knows what is left. */
export async function recover(
  workload: Workload,
  fs: FileSystem,
  { oracle, mark, least }: Expectation,
  random: Random,
  tolerant = false,
): Promise<Recovered> {
  const session = workload.session({ fs, oracle: new Oracle(), random, tolerant });
  await session.open();
  const found = session.facts();
  const counts = oracle.findAll(found, least, mark.issued);
  // The same facts may have been there twice: what was replayed tells which time it is.
  const count = counts.find((end) => session.wrongReplay(end, oracle).length === 0) ?? counts[0];
  const violations =
    count === undefined
      ? [oracle.explain(found, least, mark.issued)]
      : [...session.wrongReplay(count, oracle), ...session.check()];
  session.oracle = oracle.after(count ?? mark.issued, mark);
  return { session, violations };
}

export interface ImageOptions {
  /** Steps after the opening. */
  readonly steps: number;
  /** Whether to open it once more, after a close, a kill or a power loss. */
  readonly again: boolean;
}

/** What is wrong with the image; it is used up. */
export async function violationsOf(
  workload: Workload,
  disk: SimFileSystem,
  expectation: Expectation,
  random: Random,
  { steps, again }: ImageOptions,
): Promise<readonly string[]> {
  const found = await damageOf(disk, workload);
  if (found.length > 0) return found;
  try {
    const { session, violations } = await recover(workload, disk, expectation, random);
    if (violations.length > 0) {
      await session.close();
      return violations;
    }
    await session.run(steps);
    if (steps > 0) session.assertFacts();
    const { oracle } = session;
    const second = secondImage(disk, oracle, random);
    await session.close();
    const after = [...oracle.violations, ...(await damageOf(disk, workload))];
    if (disk.openCount > 0) after.push(`${disk.openCount} descriptors are open`);
    if (after.length > 0 || !again) return after;
    const closed = { disk, least: oracle.synced };
    const { disk: next, least } = second ?? closed;
    const safe = { oracle, mark: oracle.mark(), least };
    return await violationsOf(workload, next, safe, random, { steps: 0, again: false });
  } catch (error) {
    return [`${(error as Error).stack}`];
  }
}

/** The disk if the process or the power ends now, before the close; or undefined for a close. */
function secondImage(
  disk: SimFileSystem,
  { written, synced }: Pick<Mark, 'written' | 'synced'>,
  random: Random,
): { readonly disk: SimFileSystem; readonly least: number } | undefined {
  const way = random.int(4);
  if (way === 0) return undefined;
  if (way === 1) return { disk: disk.afterCrash((end) => random.int(end)), least: synced };
  return { disk: disk.afterKill(), least: written };
}
