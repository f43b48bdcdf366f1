/** The file store on a file system that fails, loses power, or does not do what it was asked. */
import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../../src/fs/file-system.ts';
import {
  type FilePlan,
  failAt,
  faultyFileSystem,
  patched,
  systemError,
} from '../../../src/harness/faulty-file-system.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { testSeed } from '../../support/seed.ts';
import { randomFrom } from './support.ts';
import { findViolation, History, runWorkload } from './workload.ts';

const CRASH_STATES = 6;

interface Trial {
  readonly plan: FilePlan;
  /** Whether the failing call is where the process dies. */
  readonly dies: boolean;
  readonly wrap?: (fs: SimFileSystem) => FileSystem;
}

/** Runs the workload once; the violations found by reopening at once and after power losses. */
async function violationsOf(trial: Trial, n: number): Promise<string[]> {
  const disk = new SimFileSystem();
  const failing = faultyFileSystem(trial.wrap?.(disk) ?? disk);
  let hit = false;
  failing.plan = (call, count) => {
    const errno = trial.plan(call, count);
    hit ||= errno !== undefined;
    return errno;
  };
  const history = new History();
  await runWorkload(failing, history, { died: () => trial.dies && hit, close: n % 2 === 0 });
  // Power losses first: reopening changes the disk.
  const violations: string[] = [];
  for (let state = 0; state < CRASH_STATES; state++) {
    const random = randomFrom(testSeed(), n * CRASH_STATES + state);
    const violation = await findViolation(disk.afterCrash(random), history);
    if (violation !== undefined) violations.push(`call ${n}, power loss ${state}: ${violation}`);
  }
  const violation = await findViolation(disk, history);
  if (violation !== undefined) violations.push(`call ${n}: ${violation}`);
  return violations;
}

async function callsOfWorkload(): Promise<number> {
  const fs = faultyFileSystem(new SimFileSystem());
  await runWorkload(fs, new History(), { died: () => false, close: true });
  return fs.calls.length;
}

async function allViolations(trialOf: (n: number) => Trial): Promise<string[]> {
  const calls = await callsOfWorkload();
  expect(calls).toBeGreaterThan(100);
  const violations: string[] = [];
  for (let n = 1; n <= calls; n++) violations.push(...(await violationsOf(trialOf(n), n)));
  return violations;
}

describe('the file store', () => {
  it.each(['EIO', 'ENOSPC'])(
    'keeps what it acknowledged when any one file call fails with %s',
    async (errno) => {
      expect(await allViolations((n) => ({ plan: failAt(n, errno), dies: false }))).toEqual([]);
    },
  );

  it('keeps what it acknowledged when the disk stays full from any call on', async () => {
    const full = (n: number): FilePlan => {
      const grows = ['write', 'writeAsync', 'open', 'link'];
      return ({ operation }, count) =>
        count >= n && grows.includes(operation) ? 'ENOSPC' : undefined;
    };
    expect(await allViolations((n) => ({ plan: full(n), dies: false }))).toEqual([]);
  });

  it('R1 gives an exact commit prefix when the process or the power dies at any file call', async () => {
    expect(await allViolations((n) => ({ plan: failAt(n, 'EIO', true), dies: true }))).toEqual([]);
  });

  it('R1 likewise where files can have one name only', async () => {
    const wrap = (fs: SimFileSystem) =>
      faultyFileSystem(fs, ({ operation }) => (operation === 'link' ? 'EPERM' : undefined));
    const trialOf = (n: number): Trial => ({ plan: failAt(n, 'EIO', true), dies: true, wrap });
    expect(await allViolations(trialOf)).toEqual([]);
  });
});

function isDirectory(fs: SimFileSystem, fd: number): boolean {
  try {
    fs.statFd(fd);
    return false;
  } catch {
    return true;
  }
}

/** As if the store had left these calls out. */
const NAIVE: readonly (readonly [string, (fs: SimFileSystem) => Partial<FileSystem>])[] = [
  ['leaves out fdatasync', () => ({ syncData: () => undefined })],
  ['leaves out fsync', () => ({ syncAll: () => undefined })],
  [
    'does not sync the directory after giving a manifest its name',
    (fs) => ({ syncAll: (fd) => (isDirectory(fs, fd) ? undefined : fs.syncAll(fd)) }),
  ],
];

/** Violations when the n-th call, if it is a write, is done and then says that it failed. */
async function lateFailure(n: number, replaced: Partial<FileSystem> = {}): Promise<string[]> {
  const disk = new SimFileSystem();
  const fs = faultyFileSystem(patched(disk, replaced));
  const { write } = fs;
  fs.write = (fd, source, position) => {
    const count = write(fd, source, position);
    if (fs.calls.length === n) throw systemError('EIO');
    return count;
  };
  const history = new History();
  await runWorkload(fs, history, { died: () => false, close: false });
  const violation = await findViolation(disk, history);
  return violation === undefined ? [] : [`call ${n}: ${violation}`];
}

async function lateFailures(replaced: Partial<FileSystem> = {}): Promise<string[]> {
  const violations: string[] = [];
  const calls = await callsOfWorkload();
  for (let n = 1; n <= calls; n++) violations.push(...(await lateFailure(n, replaced)));
  return violations;
}

describe('a failed append', () => {
  it('is cut off, so that what was reported as not applied never comes back', async () => {
    expect(await lateFailures()).toEqual([]);
  });
});

describe('the crash test itself', () => {
  it.each(NAIVE)('finds a store that %s', async (_, replaced) => {
    const wrap = (fs: SimFileSystem) => patched(fs, replaced(fs));
    const trialOf = (n: number): Trial => ({ plan: failAt(n, 'EIO', true), dies: true, wrap });
    expect(await allViolations(trialOf)).not.toEqual([]);
  });

  it('finds a store that does not cut off a failed append', async () => {
    expect(await lateFailures({ truncate: () => undefined })).not.toEqual([]);
  });
});
