/** Stores of one's own under the harness: what their authors forget is found. */
import { expect, it } from 'vitest';
import type { FileSystem } from '../../../src/fs/file-system.ts';
import { type Mode, pointsMode, rotMode, runMode, workloadOf } from '../../../src/harness/index.ts';
import { ownStoreSubject } from '../../crash/subjects/own-store.ts';
import { testSeed } from '../../support/seed.ts';

const TIMEOUT_MS = 120_000;

/** The disk of a store whose author has left out a call on some files. */
function without(
  call: 'syncData' | 'syncAll',
  fs: FileSystem,
  isMeant: (path: string) => boolean,
): FileSystem {
  const meant = new Set<number>();
  const open: FileSystem['open'] = (path, flags, mode) => {
    const fd = fs.open(path, flags, mode);
    meant.delete(fd);
    if (isMeant(path)) meant.add(fd);
    return fd;
  };
  const skip = (fd: number): void => {
    if (!meant.has(fd)) fs[call](fd);
  };
  return new Proxy(fs, {
    get(target, name) {
      if (name === 'open') return open;
      if (name === call) return skip;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function forgetful(call: 'syncData' | 'syncAll', isMeant: (path: string) => boolean) {
  const { open } = ownStoreSubject;
  const subject: typeof ownStoreSubject = {
    ...ownStoreSubject,
    open(directory, options) {
      const { fileSystem } = options;
      if (fileSystem === undefined) throw new Error('it is for simulated disks alone');
      return open(directory, { ...options, fileSystem: without(call, fileSystem, isMeant) });
    },
  };
  return workloadOf(subject);
}

async function violationsOf(mode: Mode): Promise<string> {
  const { violations } = await runMode(mode, { seed: testSeed(), runs: 1 });
  return violations.join('\n');
}

it.each([
  ['the slots before a mapping names them', 'syncData', (path: string) => path.endsWith('/slots')],
  ['a mapping before its name', 'syncAll', (path: string) => path.endsWith('/map.new')],
  ['the name of a mapping', 'syncAll', (path: string) => path === '/sim/own'],
] as const)(
  'a store that does not sync %s is caught',
  { timeout: TIMEOUT_MS },
  async (_what, call, isMeant) => {
    const violations = await violationsOf(pointsMode([forgetful(call, isMeant)]));
    expect(violations).toMatch(/^own-store: /);
  },
);

it('damage anywhere in a store that sums what it writes is found', {
  timeout: TIMEOUT_MS,
}, async () => {
  const mode = rotMode([workloadOf(ownStoreSubject)], 100);
  const { report, violations } = await runMode(mode, { seed: testSeed(), runs: 2 });
  expect(violations).toEqual([]);
  expect(report.placements).toBe(200);
});
