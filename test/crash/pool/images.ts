/** Looking at a disk after a crash: what is opened must be what was promised, and go on working. */
import type { FileSystem } from '../../../src/fs/file-system.ts';
import type { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import type { LogRecord } from '../../../src/wal/format.ts';
import type { Random } from '../../support/seed.ts';
import { digestOf, History, type Mark } from './history.ts';
import { DIRECTORY, type Product, Session, stateOf } from './session.ts';

/** What must be there. */
export interface Expectation {
  readonly history: History;
  readonly mark: Mark;
  /** Commits that were promised to survive what has happened. */
  readonly least: number;
}

/** What is found from the files alone; a store that was never opened is no damage. */
async function damage(product: Product, disk: SimFileSystem): Promise<string[]> {
  const { kernels } = product;
  const report = await product.verifyStore(DIRECTORY, { kernels, fileSystem: disk });
  return report.findings
    .filter(({ code }) => code !== 'STORE_IO' || report.generation !== 0)
    .map(({ code, message }) => `verify: ${code} ${message}`);
}

/** R1: the records that were handed to replay are the last ones of the log, in order, once. */
function wrongReplay(replayed: readonly LogRecord[], history: History, count: number): string[] {
  const first = count - replayed.length;
  const wrong = replayed.findIndex(({ seq, payload }, n) => {
    const commit = history.commits[first + n];
    return commit?.seq !== seq || Buffer.compare(commit.intent.payload, payload) !== 0;
  });
  return wrong < 0 ? [] : [`replay ${wrong} of ${replayed.length} has seq ${replayed[wrong]?.seq}`];
}

export interface Recovered {
  readonly session: Session;
  readonly violations: readonly string[];
}

/** Opens the pool, compares, and gives the session, which knows what is left. */
export async function recover(
  product: Product,
  fs: FileSystem,
  { history, mark, least }: Expectation,
  random: Random,
  tolerant = false,
): Promise<Recovered> {
  const session = new Session(product, fs, new History(), random, { tolerant });
  const replayed = await session.open();
  const found = stateOf(session.pool);
  const counts = history.findAll(digestOf(found), least, mark.issued);
  // The same state may have been there twice: what was replayed tells which one it is.
  const isReplayed = (end: number): boolean => wrongReplay(replayed, history, end).length === 0;
  const count = counts.find(isReplayed) ?? counts[0];
  const violations =
    count === undefined
      ? [`no state from ${least} to ${mark.issued}: ${nearest(history, found, least, mark.issued)}`]
      : wrongReplay(replayed, history, count);
  session.history = history.after(count ?? mark.issued, mark);
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
  product: Product,
  disk: SimFileSystem,
  expectation: Expectation,
  random: Random,
  { steps, again }: ImageOptions,
): Promise<readonly string[]> {
  const found = await damage(product, disk);
  if (found.length > 0) return found;
  try {
    const { session, violations } = await recover(product, disk, expectation, random);
    if (violations.length > 0) {
      await session.close();
      return violations;
    }
    await session.run(steps);
    if (steps > 0) session.assertState();
    const { history } = session;
    const second = secondImage(disk, history, random);
    await session.close();
    const after = [...history.violations, ...(await damage(product, disk))];
    if (disk.openCount > 0) after.push(`${disk.openCount} descriptors are open`);
    if (after.length > 0 || !again) return after;
    const closed = { disk, least: history.synced };
    const { disk: next, least } = second ?? closed;
    const safe = { history, mark: history.mark(), least };
    return await violationsOf(product, next, safe, random, { steps: 0, again: false });
  } catch (error) {
    return [`${(error as Error).stack}`];
  }
}

/** The disk if the process or the power ends now, before the close; or undefined for a close. */
function secondImage(disk: SimFileSystem, { written, synced }: History, random: Random) {
  const way = random.int(4);
  if (way === 0) return undefined;
  if (way === 1) return { disk: disk.afterCrash((end) => random.int(end)), least: synced };
  return { disk: disk.afterKill(), least: written };
}

function nearest(
  history: History,
  found: Parameters<History['describe']>[0],
  least: number,
  most: number,
): string {
  const older = history.findAll(digestOf(found), 0, history.commits.length)[0];
  if (older !== undefined) return `it is the one after ${older}`;
  const texts = Array.from({ length: most - least + 1 }, (_, n) =>
    history.describe(found, least + n),
  );
  return texts.reduce((best, text) => (text.length < best.length ? text : best));
}
