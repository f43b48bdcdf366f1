/** The log on a file system that fails, fills up, or loses power, at every call. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../src/fs/file-system.ts';
import {
  type FilePlan,
  failAt,
  faultyFileSystem,
  patched,
  systemError,
} from '../../src/harness/faulty-file-system.ts';
import { SimFileSystem } from '../../src/harness/sim-file-system.ts';
import { Random, testSeed } from '../support/seed.ts';
import { buildVariant, type Patch } from '../support/variant.ts';
import { History, type LogModules, PRODUCT, runLog } from '../unit/wal/workload.ts';

const SECTOR = 512;

/** Writes in sectors, each of which survives by itself. */
function torn(fs: SimFileSystem): FileSystem {
  const write: FileSystem['write'] = (fd, source, position) => {
    for (let at = 0; at < source.length; at += SECTOR) {
      fs.write(fd, source.subarray(at, at + SECTOR), position + at);
    }
    return source.length;
  };
  return patched(fs, { write });
}

type Chooser = (end: number) => number;

/** Of what was not synced: none, all, none but the names, all but the names, or any part. */
function choosers(seed: number, n: number): Chooser[] {
  const random = Random.fork(seed, n);
  return [
    (end) => (end === 2 ? 1 : 0),
    (end) => (end === 2 ? 0 : 1),
    (end) => (end === 2 ? 0 : 0),
    (end) => (end === 2 ? 1 : 1),
    (end) => random.int(end),
  ];
}

interface Trial {
  readonly plan: FilePlan;
  readonly dies: boolean;
}

const NO_FAILURE: Trial = { plan: () => undefined, dies: false };

interface Setting {
  readonly modules: LogModules;
  readonly wrap?: (fs: SimFileSystem) => Partial<FileSystem>;
  /** Power losses after each trial; all kinds if not given. */
  readonly states?: number;
}

const DEFAULT: Setting = { modules: PRODUCT };
/** For failures that nobody dies of. */
const FEW: Setting = { modules: PRODUCT, states: 1 };

function view(disk: SimFileSystem, setting: Setting, n: number): FileSystem {
  const fs = n % 4 === 0 ? torn(disk) : disk;
  return setting.wrap === undefined ? fs : patched(fs, setting.wrap(disk));
}

/** Runs on the disk with the trial's failures. */
function attempt(disk: SimFileSystem, history: History, trial: Trial, setting: Setting, n: number) {
  const fs = faultyFileSystem(view(disk, setting, n));
  let hit = false;
  fs.plan = (call, count) => {
    const errno = trial.plan(call, count);
    hit ||= errno !== undefined;
    return errno;
  };
  const died = () => trial.dies && hit;
  runLog(fs, history, { modules: setting.modules, died, close: n % 3 === 0 });
  return fs.calls.length;
}

/** What is wrong after power losses, also in the middle of reopening, and after more work. */
function aftermath(disk: SimFileSystem, history: History, setting: Setting, n: number): string[] {
  const violations: string[] = [];
  const images = choosers(testSeed(), n).map((chooser) => disk.afterCrash(chooser));
  const all = setting.states === undefined ? images : images.slice(-setting.states);
  for (const [state, image] of [...all, disk].entries()) {
    const random = Random.fork(testSeed(), n * 16 + state);
    const later = history.clone();
    const dying: Trial = { plan: failAt(1 + random.int(60), 'EIO', true), dies: true };
    attempt(image, later, dying, setting, n + 1);
    const second = image.afterCrash((end) => random.int(end));
    if (state % 3 === n % 3) attempt(second, later, NO_FAILURE, setting, n);
    runLog(second, later, { modules: setting.modules, openOnly: true });
    violations.push(...later.violations.map((text) => `call ${n}, state ${state}: ${text}`));
  }
  return violations;
}

/** All violations with the trial at every call of two runs, of which the second reopens. */
function allViolations(trialOf: (n: number) => Trial, setting: Setting = DEFAULT): string[] {
  const whole = new SimFileSystem();
  const prepared = new History();
  attempt(whole, prepared, NO_FAILURE, setting, 1);
  const keepAll: Chooser = (end) => (end === 2 ? 0 : 1);
  const again = () => whole.afterCrash(keepAll);
  const first = attempt(new SimFileSystem(), new History(), NO_FAILURE, setting, 1);
  const second = attempt(again(), prepared.clone(), NO_FAILURE, setting, 1);
  const violations = [...prepared.violations];
  for (let n = 1; n <= first + second; n++) {
    const fresh = n <= first;
    const disk = fresh ? new SimFileSystem() : again();
    const history = fresh ? new History() : prepared.clone();
    attempt(disk, history, trialOf(fresh ? n : n - first), setting, n);
    violations.push(...history.violations.map((text) => `call ${n}: ${text}`));
    violations.push(...aftermath(disk, history, setting, n));
    if (violations.length > 0) break;
  }
  return violations;
}

const dying = (n: number): Trial => ({ plan: failAt(n, 'EIO', true), dies: true });

describe('the log', () => {
  it('R1 gives all records of a workload that nothing disturbs', () => {
    const disk = new SimFileSystem();
    const history = new History();
    for (let run = 0; run < 4; run++) runLog(disk, history, { close: run % 2 === 0 });
    expect(history.violations).toEqual([]);
    expect(history.entries.length).toBe(history.records);
    expect(history.records).toBeGreaterThan(40);
    expect(disk.list('/sim').length).toBeLessThan(8);
  });

  it('R1 gives an exact prefix when the process or the power dies at any file call', () => {
    expect(allViolations(dying)).toEqual([]);
  });

  it.each(['EIO', 'ENOSPC'])(
    '19 keeps what it acknowledged when any one call fails with %s',
    (errno) => {
      expect(allViolations((n) => ({ plan: failAt(n, errno), dies: false }), FEW)).toEqual([]);
    },
  );

  it('keeps what it acknowledged when the disk is full from any call on', () => {
    const grows = ['write', 'open', 'rename'];
    const full = (n: number): FilePlan => {
      return ({ operation, path }, count) =>
        count >= n && grows.includes(operation) && (path?.endsWith('.tmp') ?? false)
          ? 'ENOSPC'
          : undefined;
    };
    expect(allViolations((n) => ({ plan: full(n), dies: false }), FEW)).toEqual([]);
  });

  it('19 writes over what a failed write has left, also if it had landed', () => {
    const violations: string[] = [];
    for (let n = 1; n < 200; n++) {
      const disk = new SimFileSystem();
      const fs = faultyFileSystem(disk);
      const { write } = fs;
      fs.write = (fd, source, position) => {
        const count = write(fd, source.subarray(0, n % 2 === 0 ? source.length : 512), position);
        if (fs.calls.length === n) throw systemError('EIO');
        return count;
      };
      const history = new History();
      runLog(fs, history);
      runLog(disk, history);
      runLog(disk, history, { openOnly: true });
      violations.push(...history.violations.map((text) => `call ${n}: ${text}`));
    }
    expect(violations).toEqual([]);
  });
});

async function variantOf(patches: readonly Patch[]): Promise<LogModules> {
  const { root } = await buildVariant(patches);
  const load = (name: string) => import(/* @vite-ignore */ join(root, `src/wal/${name}.ts`));
  const parts = await Promise.all(['format', 'reader', 'segment-writer'].map(load));
  return Object.assign({}, ...parts) as LogModules;
}

/**
 * A cache over a disk: a sync that fails takes the written pages for clean, so that they can be
 * read and never reach the disk.
 */
function cached(failAtSync: number) {
  const [cache, disk] = [new SimFileSystem(), new SimFileSystem()];
  const dirty = new Map<bigint, { fd: number; position: number; bytes: Uint8Array }[]>();
  let syncs = 0;
  const both =
    <K extends 'open' | 'close' | 'rename' | 'unlink'>(operation: K) =>
    (...args: unknown[]) => {
      (disk[operation] as (...all: unknown[]) => unknown)(...args);
      return (cache[operation] as (...all: unknown[]) => never)(...args);
    };
  const syncFile = (fd: number): void => {
    const { inode } = cache.statFd(fd);
    const pages = dirty.get(inode) ?? [];
    dirty.delete(inode);
    if (++syncs === failAtSync) throw systemError('EIO');
    for (const { position, bytes } of pages) disk.write(fd, bytes, position);
    disk.syncData(fd);
  };
  const fs = patched(cache, {
    open: both('open'),
    close: both('close'),
    rename: both('rename'),
    unlink: both('unlink'),
    write: (fd, source, position) => {
      const { inode } = cache.statFd(fd);
      dirty.set(inode, [...(dirty.get(inode) ?? []), { fd, position, bytes: source.slice() }]);
      return cache.write(fd, source, position);
    },
    syncData: syncFile,
    syncAll: (fd) => (isDirectory(cache, fd) ? disk.syncAll(fd) : syncFile(fd)),
  });
  return { fs, disk };
}

/** Violations when a sync fails, the process dies, reopens, and then the power fails. */
function afterFailedSyncs(modules: LogModules): string[] {
  const violations: string[] = [];
  for (let n = 1; n <= 30; n++) {
    const { fs, disk } = cached(n);
    const history = new History();
    runLog(fs, history, { modules });
    runLog(fs, history, { modules, openOnly: true });
    runLog(
      disk.afterCrash((end) => (end === 2 ? 1 : 0)),
      history,
      { modules, openOnly: true },
    );
    violations.push(...history.violations.map((text) => `sync ${n}: ${text}`));
  }
  return violations;
}

describe('a failed sync', () => {
  it('never makes durable what only the cache holds', () => {
    expect(afterFailedSyncs(PRODUCT)).toEqual([]);
  });

  it('is found where an opening syncs the old pages without writing them again', async () => {
    const find = 'if (unsynced !== undefined) {';
    const patch = { file: 'src/wal/segment-writer.ts', find, replace: 'if (false) {' };
    expect(afterFailedSyncs(await variantOf([patch]))).not.toEqual([]);
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

describe('the crash test finds a log that', () => {
  it.each<readonly [string, (fs: SimFileSystem) => Partial<FileSystem>]>([
    ['leaves out fdatasync', () => ({ syncData: () => undefined })],
    [
      '23 does not sync the directory',
      (fs) => ({ syncAll: (fd) => (isDirectory(fs, fd) ? undefined : fs.syncAll(fd)) }),
    ],
  ])('%s', (_, wrap) => {
    expect(allViolations(dying, { modules: PRODUCT, wrap })).not.toEqual([]);
  });

  const WRITER = 'src/wal/segment-writer.ts';
  it.each<readonly [string, Patch[]]>([
    [
      '20 starts its seqs again after what it has found',
      [
        {
          file: WRITER,
          find: 'first ? 0 : end.writtenBelow + RING_BYTES_MAX',
          replace: 'first ? 0 : end.place.seq',
        },
      ],
    ],
    [
      '20 starts its seqs at the beginning after every opening',
      [
        {
          file: WRITER,
          find: 'first ? 0 : end.writtenBelow + RING_BYTES_MAX',
          replace: 'first ? 0 : 0',
        },
      ],
    ],
    [
      'begins a segment before the one before is synced',
      [{ file: WRITER, find: '#rotate(): void {\n    this.sync();', replace: '#rotate(): void {' }],
    ],
    [
      '17 does not name the end of a torn log',
      [
        {
          file: WRITER,
          find: 'this.#startSegment(end.place);',
          replace: 'this.#startSegment({ ...end.place, seq: end.writtenBelow });',
        },
      ],
    ],
    [
      '17 appends to the segment that it has found',
      [
        {
          file: WRITER,
          find: 'this.#startSegment(end.place);',
          replace: `if (end.place.segment === 0) this.#startSegment(end.place);
    else {
      this.#epoch = end.epoch;
      this.#position = this.#durableSeq = end.place.seq;
      this.#offset = Math.ceil(end.place.offset / LOG_BLOCK_BYTES) * LOG_BLOCK_BYTES;
      this.#recordsEnd = end.place.offset;
      const path = segmentPath(this.#access.directory, this.#segment);
      this.#output.use(openOwn(this.#access.fs, path, OPEN_WRITE), path);
    }`,
        },
      ],
    ],
    [
      '18 takes a tail that was not synced for damage',
      [
        {
          file: 'src/wal/reader.ts',
          find: 'const synced = !isLast || this.#durableSeq > this.#position;',
          replace: 'const synced = !isLast || walk.offset < walk.bytes.length;',
        },
      ],
    ],
    [
      '19 goes on behind what a failed write has left',
      [
        {
          file: WRITER,
          find: '        this.#write(group, viewsFrom(views, done, fitting), fitting);',
          replace:
            '        this.#offset += groupBytes(fitting);\n        this.#write(group, viewsFrom(views, done, fitting), fitting);',
        },
      ],
    ],
    [
      'I2 trims a segment that the checkpoint does not cover',
      [
        {
          file: 'src/wal/trim.ts',
          find: 'endSeq <= checkpointSeq',
          replace: 'endSeq - 9000 <= checkpointSeq',
        },
      ],
    ],
    [
      'writes to a segment that it uses again before the old name has gone',
      [
        {
          file: 'src/wal/trim.ts',
          find: 'sparePath(directory)));\n  syncNames(access);',
          replace: 'sparePath(directory)));',
        },
        { file: WRITER, find: '      syncNames(this.#access);\n    });', replace: '    });' },
      ],
    ],
    [
      'does not sync again what it has found',
      [{ file: WRITER, find: '    this.#syncAgain(end);\n', replace: '' }],
    ],
  ])('%s', async (title, patches) => {
    const modules = await variantOf(patches);
    const once = (n: number): Trial => ({ plan: failAt(n, 'EIO'), dies: false });
    const found = allViolations(title.startsWith('19') ? once : dying, { modules });
    expect(found).not.toEqual([]);
  });
});
