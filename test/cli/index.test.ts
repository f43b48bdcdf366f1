/** `weirpool index` on real directories, by real workers. */

import { createHash } from 'node:crypto';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import {
  canRunAsOther,
  json,
  OTHER_USER,
  opened,
  places,
  placesOf,
  shell,
  startWeirpool,
  succeed,
  weirpool,
} from './program.ts';

interface Summary {
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
  readonly unchanged: number;
  readonly problemCount: number;
  readonly problems: readonly { readonly path: string; readonly code: string }[];
  readonly pool: { readonly log: { readonly commits: number } };
}

/** Notes about the run itself: when it began, when it ended. */
const NOTES = 2;
const LARGE_BYTES = 2 ** 40;

async function index(store: string, files: string, ...args: string[]): Promise<Summary> {
  const [summary] = await json<Summary>('index', store, files, ...args);
  return summary as Summary;
}

interface Entry {
  readonly type: string;
  readonly size: number;
  readonly mtimeMs: number;
  readonly mode: number;
  readonly target?: string;
  readonly hash?: string;
}

async function entries(store: string, ...args: string[]): Promise<Map<string, Entry>> {
  const lines = await json<{ key?: string; key64?: string; value: string }>('scan', store, ...args);
  return new Map(
    lines.map(({ key, key64 = '', value }) => [
      key ?? Buffer.from(key64, 'base64').toString('latin1'),
      JSON.parse(value) as Entry,
    ]),
  );
}

/** Directories with files in them: their paths, in order. */
function plant(root: string, directories: number, files: number): string[] {
  const paths: string[] = [];
  for (let d = 0; d < directories; d++) {
    const name = `d${String(d).padStart(3, '0')}`;
    mkdirSync(join(root, name, 'deep'), { recursive: true });
    paths.push(name, `${name}/deep`);
    for (let f = 0; f < files; f++) {
      const path = f % 2 === 0 ? `${name}/f${f}` : `${name}/deep/f${f}`;
      writeFileSync(join(root, path), `${d}/${f}`);
      paths.push(path);
    }
  }
  return paths.sort();
}

describe.concurrent('an index', () => {
  it('says of each entry what it is, once, in the order of the paths', async () => {
    const { store, files } = places();
    const paths = plant(files, 30, 10);
    symlinkSync('../nowhere', join(files, 'link'));
    const first = await index(store, files, '--threads', '3', '--hash');
    expect(first).toMatchObject({ added: paths.length + 1, changed: 0, removed: 0, unchanged: 0 });
    const found = await entries(store);
    expect([...found.keys()]).toEqual([...paths, 'link'].sort());
    for (const [path, entry] of found) {
      const stats = lstatSync(join(files, path));
      const type = stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'symlink';
      expect(entry).toMatchObject({ type, size: stats.size, mode: stats.mode & 0o7777 });
      expect(entry.mtimeMs).toBeCloseTo(stats.mtimeMs, 2);
    }
    expect(found.get('link')?.target).toBe('../nowhere');
    const sha256 = createHash('sha256').update('7/4').digest('hex');
    expect(found.get('d007/f4')?.hash).toBe(`sha256:${sha256}`);
    const [top] = await json('ls', store, '--limit', '1');
    expect(top).toEqual({ prefix: 'd000/', entries: 12, bytes: 30 });
  });

  it('that is run again writes what has changed, and drops what has vanished', async () => {
    const { store, files } = places();
    plant(files, 20, 10);
    await index(store, files, '--hash');
    const again = await index(store, files, '--hash');
    expect(again).toMatchObject({ added: 0, changed: 0, removed: 0, unchanged: 240 });
    expect(again.pool.log.commits).toBe(NOTES);
    rmSync(join(files, 'd003'), { recursive: true });
    rmSync(join(files, 'd004/f2'));
    rmSync(join(files, 'd005/deep'), { recursive: true });
    writeFileSync(join(files, 'd005/deep'), 'a file now');
    renameSync(join(files, 'd006'), join(files, 'd006-moved'));
    utimesSync(join(files, 'd007/f0'), 1, 1);
    chmodSync(join(files, 'd008/f0'), 0o600);
    writeFileSync(join(files, 'd009/f0'), 'longer than before');
    const changed = await index(store, files);
    expect(changed).toMatchObject({ problemCount: 0 });
    // One directory with all in it, a file, what was below d005/deep, and the one that moved.
    expect(changed.removed).toBe(12 + 1 + 5 + 12);
    const found = await entries(store);
    const { stdout } = await shell(`cd '${files}' && find . -mindepth 1 -printf '%P\\n'`);
    expect([...found.keys()]).toEqual(stdout.trim().split('\n').sort());
    expect(found.get('d005/deep')?.type).toBe('file');
    expect(found.get('d007/f0')).toMatchObject({ mtimeMs: 1000 });
    // Nobody asked for hashes: that of what has not changed is kept, that of the rest would be wrong.
    expect(found.get('d001/f0')?.hash).toMatch(/^sha256:/);
    expect(found.get('d009/f0')?.hash).toBeUndefined();
    expect(await index(store, files)).toMatchObject({ added: 0, changed: 0, removed: 0 });
  });

  it('takes any names, and prints them without harm', async () => {
    const { store, files } = places();
    mkdirSync(files);
    const names = [
      Buffer.from('new\nline'),
      Buffer.from('\u001b]0;title\u0007'),
      Buffer.from([0x62, 0xff, 0x2e, 0x80]),
      Buffer.from('\u202egnp.exe'),
      Buffer.from('back\\slash'),
      Buffer.from('größe'),
    ];
    const root = Buffer.from(`${files}/`);
    for (const name of names) writeFileSync(Buffer.concat([root, name]), name);
    mkdirSync(Buffer.concat([root, Buffer.from('dir\xe9', 'latin1')]));
    writeFileSync(Buffer.concat([root, Buffer.from('dir\xe9/in', 'latin1')]), 'x');
    await index(store, files, '--hash');
    const { bytes } = await weirpool(['scan', store, '--keys', '-0']);
    const sorted = [
      ...names,
      ...['dir\xe9', 'dir\xe9/in'].map((name) => Buffer.from(name, 'latin1')),
    ];
    const expected = sorted.sort(Buffer.compare).flatMap((name) => [name, Buffer.from([0])]);
    expect(bytes).toEqual(Buffer.concat(expected));
    const printed = `${await succeed('scan', store)}${await succeed('ls', store)}`;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them must be there
    expect(printed).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e\ufffd]/);
    expect(printed).toContain('b\\xff.\\x80');
    expect(printed).toContain('größe');
    expect(await index(store, files, '--hash')).toMatchObject({ added: 0, changed: 0, removed: 0 });
    const value = JSON.parse(await succeed('get', store, 'dir\\xe9/in', '-e')) as Entry;
    expect(value.size).toBe(1);
  });

  it('never follows links, opens nothing but files, and leaves its own store out', async () => {
    const { files } = places();
    mkdirSync(join(files, 'sub'), { recursive: true });
    symlinkSync('.', join(files, 'loop'));
    symlinkSync('../sub', join(files, 'sub/loop'));
    const fifo = await shell(`mkfifo '${join(files, 'fifo')}'`);
    expect(fifo.code).toBe(0);
    const server = createServer().listen(join(files, 'socket'));
    const store = join(files, 'sub/store');
    const [fifoTimes, summary] = [
      statSync(join(files, 'fifo')).atimeMs,
      await index(store, files, '--hash'),
    ];
    server.close();
    expect(summary.problemCount).toBe(0);
    expect(statSync(join(files, 'fifo')).atimeMs).toBe(fifoTimes);
    const found = await entries(store);
    expect([...found].map(([path, { type }]) => `${path}:${type}`)).toEqual([
      'fifo:fifo',
      'loop:symlink',
      'socket:socket',
      'sub:directory',
      'sub/loop:symlink',
    ]);
    expect(found.get('sub/loop')?.target).toBe(readlinkSync(join(files, 'sub/loop')));
  });

  it('has a tree for each root, and goes by the root it was given, whatever it was called', async () => {
    const { at, store, files } = places();
    plant(files, 2, 2);
    mkdirSync(join(at, 'other'));
    writeFileSync(join(at, 'other/one'), '');
    symlinkSync(files, join(at, 'alias'));
    await index(store, files);
    await index(store, join(at, 'other'));
    expect(await succeed('scan', store, '--keys')).toBe('one\n');
    const alias = await weirpool(['index', store, 'alias', '--json'], { cwd: at });
    expect(JSON.parse(alias.stdout)).toMatchObject({ added: 0, unchanged: 8, tree: files });
    expect(await succeed('scan', store, '--keys', '--limit', '1')).toBe('d000\n');
    const byPath = await weirpool(['scan', store, '--keys', '--tree', 'other'], { cwd: at });
    expect(byPath.stdout).toBe('one\n');
  });
});

describe.concurrent('what cannot be read', () => {
  it.skipIf(!canRunAsOther())(
    'keeps its old entries, is told, and makes the exit code 1',
    async () => {
      const { at, store, files } = placesOf(OTHER_USER);
      plant(files, 3, 4);
      if (OTHER_USER !== undefined) await shell(`chown -R ${OTHER_USER} '${at}'`);
      const user = OTHER_USER === undefined ? {} : { uid: OTHER_USER };
      const first = await weirpool(['index', store, files], user);
      expect(first).toMatchObject({ code: 0, stderr: '' });
      const before = (await weirpool(['dump', store, '--format', 'tsv'], user)).stdout;
      chmodSync(join(files, 'd001'), 0);
      chmodSync(join(files, 'd002'), 0o400);
      rmSync(join(files, 'd000/f0'));
      const second = await weirpool(['index', store, files, '--json'], user);
      expect(second.code).toBe(1);
      expect(JSON.parse(second.stdout)).toMatchObject({ removed: 1, problemCount: 4 });
      expect(second.stderr).toContain(`${join(files, 'd001')}: EACCES`);
      expect(second.stderr).toContain('run the same command again');
      const keysOf = (dump: string): string[] =>
        dump.split('\n').map((line) => line.split('\t')[0] ?? '');
      const after = (await weirpool(['dump', store, '--format', 'tsv'], user)).stdout;
      expect(keysOf(after)).toEqual(keysOf(before).filter((key) => key !== 'd000/f0'));
      for (const name of ['d001', 'd002']) chmodSync(join(files, name), 0o700);
      const third = await weirpool(['index', store, files, '--json'], user);
      expect(third.code).toBe(0);
    },
  );

  it('because it vanishes meanwhile is no failure', async () => {
    const { store, files } = places();
    plant(files, 200, 10);
    const { child, ended } = startWeirpool(['index', store, files, '--threads', '2', '--json']);
    for (let d = 0; d < 200 && child.exitCode === null; d++) {
      const name = `d${String(199 - d).padStart(3, '0')}`;
      rmSync(join(files, name, d % 2 === 0 ? '' : 'deep'), { recursive: true });
      await turn();
    }
    const { code, stdout } = await ended;
    expect({ code, problems: JSON.parse(stdout).problems }).toEqual({ code: 0, problems: [] });
    await index(store, files);
    const { stdout: there } = await shell(`cd '${files}' && find . -mindepth 1 -printf '%P\\n'`);
    expect([...(await entries(store)).keys()]).toEqual(there.trim().split('\n').sort());
  });
});

describe.concurrent('an index that is cut off', () => {
  /** Files, and one so large that whoever hashes it is still at it. */
  function plantLarge(): ReturnType<typeof places> & { readonly large: string; paths: string[] } {
    const at = places();
    const paths = plant(at.files, 20, 20);
    const large = join(at.files, 'd005/z-large');
    writeFileSync(large, '');
    truncateSync(large, LARGE_BYTES);
    return { ...at, large, paths: [...paths, 'd005/z-large'].sort() };
  }

  it('by Ctrl-C closes the store, says so with 130, and is taken up by the next run', async () => {
    const { store, files, large, paths } = plantLarge();
    const { child, ended } = startWeirpool(['index', store, files, '--hash', '--threads', '2']);
    await opened(child, large);
    child.kill('SIGINT');
    const { code, signal, stderr } = await ended;
    expect({ code, signal }).toEqual({ code: 130, signal: null });
    expect(stderr).toContain('the same command goes on');
    // Closed in order: nothing is left to be done by whoever opens it.
    expect(readdirSync(store).filter((name) => name.startsWith('lock-'))).toEqual([]);
    const [report] = await json<{ findings: unknown[]; logRecords: number }>('verify', store);
    expect(report).toMatchObject({ findings: [], logRecords: 0 });
    expect(await succeed('stat', store)).toContain('not to its end');
    truncateSync(large, 5);
    const summary = await index(store, files, '--hash');
    expect(summary.added).toBeLessThan(paths.length);
    expect(summary.added + summary.changed + summary.unchanged).toBe(paths.length);
    expect([...(await entries(store)).keys()]).toEqual(paths);
  });

  it('by SIGTERM closes it too, and by a kill loses nothing either', async () => {
    const { store, files, large, paths } = plantLarge();
    const { child, ended } = startWeirpool(['index', store, files, '--hash', '--threads', '2']);
    await opened(child, large);
    child.kill('SIGTERM');
    const first = await ended;
    expect(first.code).toBe(143);
    const again = startWeirpool(['index', store, files, '--hash', '--threads', '2']);
    await opened(again.child, large);
    again.child.kill('SIGKILL');
    expect((await again.ended).signal).toBe('SIGKILL');
    const [killed] = await json<{ findings: unknown[] }>('verify', store);
    expect(killed?.findings).toEqual([]);
    truncateSync(large, 5);
    await index(store, files, '--hash');
    const [report] = await json<{ findings: unknown[] }>('verify', store);
    expect(report?.findings).toEqual([]);
    const found = await entries(store);
    expect([...found.keys()]).toEqual(paths);
    const content = readFileSync(join(files, 'd019/f18'));
    const sha256 = createHash('sha256').update(content).digest('hex');
    expect(found.get('d019/f18')?.hash).toBe(`sha256:${sha256}`);
  });

  it('by a full disk fails, says what to do, and goes on when there is room', async () => {
    const { at, store } = places();
    const lines = Array.from(
      { length: 60_000 },
      (_, n) => `k${String((n * 7919) % 60_000).padStart(6, '0')}\t${'v'.repeat(300)}`,
    );
    const input = join(at, 'lines.tsv');
    writeFileSync(input, lines.join('\n'));
    // The log's segments fit in, the data file does not.
    const full = await shell(`ulimit -f 22000; weirpool load '${store}' '${input}'`);
    expect(full.code).toBe(1);
    expect(full.stderr).toMatch(/EFBIG/);
    expect(full.stderr).toContain('Make room on the disk');
    await succeed('load', store, input);
    const [stat] = await json<{ trees: unknown }>('stat', store);
    expect(stat?.trees).toEqual([{ tree: 'main', entries: 60_000 }]);
    expect(await succeed('verify', store)).toContain('Nothing is damaged');
  });
});
