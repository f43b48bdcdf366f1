/**
 * Mode `rot`: damage at a place of a file, and whether it is found.
 *
 * A run makes a store, closed well or left by a kill, and places one damage after another in copies
 * of it: a flipped bit, a sector of garbage, a block of zeros, a block as it was earlier, anywhere
 * in data file, manifest and log. `verify` or the opening must find it, or it must be without
 * effect: then the store holds exactly what it held. Beyond that, nothing that is read may be wrong.
 *
 * After a kill, what was synced last cannot be told from a torn append, as nothing that came later
 * proves it whole: then the store may hold what it held at an earlier sync (docs/format.md).
 */
import { join } from 'node:path';
import { WeirpoolError } from '../errors.ts';
import { damageOf } from './images.ts';
import type { Mode, Run } from './mode.ts';
import { differences, Oracle } from './oracle.ts';
import type { Random } from './random.ts';
import { DIRECTORY, type Session, type Workload } from './session.ts';
import { SimFileSystem } from './sim-file-system.ts';
import { takeHangs, underStepClock } from './step-clock.ts';
import type { Facts } from './subject.ts';

const STEPS = 40;
const SECTOR = 512;
const BLOCK = 4096;
const RUNS = 40;
const PLACEMENTS = 250;
const O_RDWR = 2;

/** Bytes of every file of a store, by name. */
type Files = ReadonlyMap<string, Uint8Array>;

const KINDS = ['bit', 'sector', 'zeros', 'stale'] as const;

interface Placement {
  readonly kind: (typeof KINDS)[number];
  readonly file: string;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** A store at rest, and what is known of it. */
interface Rest {
  readonly disk: SimFileSystem;
  readonly files: Files;
  /** What the files were earlier, from the oldest on. */
  readonly earlier: readonly Files[];
  // biome-ignore lint/suspicious/noExplicitAny: notes are a matter of the workload alone
  readonly oracle: Oracle<any>;
  /** Whether it was closed well. */
  readonly closed: boolean;
  /** Commits that something in the files proves to have been synced. */
  readonly least: number;
  readonly violations: readonly string[];
}

function filesOf(disk: SimFileSystem): Files {
  const files = new Map<string, Uint8Array>();
  for (const name of disk.list(DIRECTORY)) {
    const path = join(DIRECTORY, name);
    const { kind, bytes } = disk.stat(path);
    if (kind !== 'file') continue;
    const content = new Uint8Array(bytes);
    const fd = disk.open(path, 0);
    disk.read(fd, content, bytes, 0);
    disk.close(fd);
    files.set(name, content);
  }
  return files;
}

/** Uses a store, keeps what its files were on the way, and closes it or leaves it. */
async function makeRest(workload: Workload, random: Random, closed: boolean): Promise<Rest> {
  const disk = new SimFileSystem();
  // biome-ignore lint/suspicious/noExplicitAny: notes are a matter of the workload alone
  const oracle: Oracle<any> = new Oracle();
  const session = workload.session({ fs: disk, oracle, random });
  const earlier: Files[] = [];
  await session.open();
  for (let part = 0; part < 3; part++) {
    await session.run(STEPS);
    earlier.push(filesOf(disk));
  }
  const least = await proveSynced(session);
  const violations = [...takeHangs(), ...oracle.violations];
  if (closed) await session.close();
  const rest = disk.afterKill();
  return { disk: rest, files: filesOf(rest), earlier, oracle, closed, least, violations };
}

/** Syncs, and goes on until a later group of the log says that it has: commits that are proved. */
async function proveSynced(session: Session<unknown>): Promise<number> {
  const { oracle, pool } = session;
  pool.durableSync(undefined, 'synced');
  oracle.acknowledge('synced');
  const proved = oracle.commits.length;
  for (let tries = 0; tries < 5 && oracle.commits.length === proved; tries++) await session.run(4);
  pool.durableSync(undefined, 'synced');
  if (oracle.commits.length === proved) throw new Error('nothing was committed after the sync');
  oracle.acknowledge('synced');
  return proved;
}

function place(files: Files, earlier: readonly Files[], random: Random): Placement | undefined {
  const kind = random.pick(KINDS);
  // The lock of a dead holder is a name more than a file: damage there is seldom of interest.
  const isLock = random.chance(0.05);
  const names = [...files.keys()].filter(
    (name) => (files.get(name)?.length ?? 0) > 0 && name.startsWith('lock') === isLock,
  );
  if (names.length === 0) return undefined;
  const file = random.pick(names);
  const content = files.get(file) as Uint8Array;
  if (kind === 'bit') {
    const offset = random.int(content.length);
    const byte = (content[offset] as number) ^ (1 << random.int(8));
    return { kind, file, offset, bytes: Uint8Array.of(byte) };
  }
  const unit = kind === 'sector' ? SECTOR : BLOCK;
  const offset = random.int(Math.ceil(content.length / unit)) * unit;
  const now = content.subarray(offset, offset + unit);
  const bytes = replacement(kind, { file, offset, now }, earlier, random);
  // What is there already is no damage.
  return bytes === undefined || Buffer.compare(bytes, now) === 0
    ? undefined
    : { kind, file, offset, bytes };
}

interface Spot {
  readonly file: string;
  readonly offset: number;
  readonly now: Uint8Array;
}

function replacement(
  kind: Placement['kind'],
  { file, offset, now }: Spot,
  earlier: readonly Files[],
  random: Random,
): Uint8Array | undefined {
  if (kind === 'zeros') return new Uint8Array(now.length);
  if (kind === 'sector') return random.fill(new Uint8Array(now.length));
  const old = random
    .pick(earlier)
    .get(file)
    ?.slice(offset, offset + now.length);
  return old?.length === now.length ? old : undefined;
}

interface Tried {
  /** Whether anybody noticed. */
  readonly hadEffect: boolean;
  readonly violations: readonly string[];
}

function damaged(...violations: readonly string[]): Tried {
  return { hadEffect: true, violations };
}

async function tryPlacement(
  workload: Workload,
  rest: Rest,
  placement: Placement,
  random: Random,
): Promise<Tried> {
  const disk = rest.disk.afterKill();
  const fd = disk.open(join(DIRECTORY, placement.file), O_RDWR);
  disk.write(fd, placement.bytes, placement.offset);
  disk.syncAll(fd);
  disk.close(fd);
  const reported = await damageOf(disk, workload);
  // biome-ignore lint/suspicious/noExplicitAny: notes are a matter of the workload alone
  const session: Session<any> = workload.session({ fs: disk, oracle: new Oracle(), random });
  let found: Facts;
  try {
    await session.open();
    found = session.facts();
  } catch (error) {
    await session.close().catch(() => undefined);
    if (!(error instanceof WeirpoolError)) return damaged(`${(error as Error).stack}`);
    if (reported.length > 0) return damaged();
    return damaged(`opening finds what verify does not: ${error.code} ${error.message}`);
  }
  await session.close().catch(() => undefined);
  const violations = judge(rest, found, reported.length > 0);
  return { hadEffect: reported.length > 0 || violations.length > 0, violations };
}

/** Whether what was read is what may be read. */
function judge({ oracle, closed, least }: Rest, found: Facts, isReported: boolean) {
  const all = oracle.commits.length;
  if (oracle.findAll(found, all, all).length > 0) return [];
  const what = differences(found, oracle.facts);
  if (closed) return [`${isReported ? 'found, but what is read is wrong' : 'not found'}: ${what}`];
  const from = isReported ? 0 : least;
  if (oracle.findAll(found, from, all).length > 0) return [];
  return [`${isReported ? 'found, but what is read is wrong' : 'not found'}: ${what}`];
}

function nameOf({ kind, file, offset, bytes }: Placement): string {
  return `${kind} of ${bytes.length} bytes at byte ${offset} of ${file}`;
}

async function rotRun(workload: Workload, run: Run, placements: number): Promise<string[]> {
  const { random, tally, signal, number } = run;
  const closed = number % 4 < 2;
  const rest = await makeRest(workload, random, closed);
  if (rest.violations.length > 0) return [...rest.violations];
  let effects = 0;
  for (let tried = 0; tried < placements && !signal.aborted; ) {
    const placement = place(rest.files, rest.earlier, random);
    if (placement === undefined) continue;
    tried++;
    tally.placements++;
    const found = await tryPlacement(workload, rest, placement, random);
    if (found.hadEffect) effects++;
    const violations = [...takeHangs(), ...found.violations];
    if (violations.length === 0) continue;
    const where = `${workload.name}, ${closed ? 'closed' : 'killed'}, ${nameOf(placement)}`;
    return violations.map((text) => `${where}: ${text}`);
  }
  const isIdle = effects === 0 && !signal.aborted;
  return isIdle ? [`none of ${placements} placements had an effect: nothing was tested`] : [];
}

export function rotMode(workloads: readonly Workload[], placements: number = PLACEMENTS): Mode {
  return {
    name: 'rot',
    summary: 'a bit, a sector, zeros or a stale block anywhere in a store must be found',
    runs: RUNS,
    run(run) {
      const workload = workloads[run.number % workloads.length] as Workload;
      return underStepClock(() => rotRun(workload, run, placements));
    },
  };
}
