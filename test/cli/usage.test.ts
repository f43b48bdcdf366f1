/** What is refused before anything is done, and how it is said. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Weirpool } from '../../src/tree/weirpool.ts';
import { json, places, succeed, weirpool } from './program.ts';

describe.concurrent('wrong usage', () => {
  it.each([
    [['no-such-command'], 'unknown command'],
    [['scna', 'store'], 'Did you mean scan?'],
    [['index', 'store'], "missing required argument 'directory'"],
    [['index', 'store', '.', '--thread', '2'], 'Did you mean --threads?'],
    [['index', 'store', '.', '--threads', '0'], 'a whole number from 1 to 64'],
    [['index', 'store', '.', '--hash', 'no-such-hash'], 'has no hash'],
    [['scan', 'store', '--limit', '-1'], 'a whole number'],
    [['scan', 'store', '--gt'], 'argument missing'],
    [['scan', 'store', 'extra'], 'too many arguments'],
    [['scan', 'store', '--frames', '1e3'], 'a whole number from 4'],
    [['get', '', 'key'], 'must not be empty'],
    [['get', 'store', 'back\\slash', '--escapes'], 'begins no escape'],
    [['del', 'store'], 'Nothing says what to delete'],
    [['load', 'store', '--format', 'xml'], 'Allowed choices are ndjson, tsv, nul'],
  ])('weirpool %j exits with 2, says why, and makes nothing', async (args, message) => {
    const { at } = places();
    const { code, stdout, stderr } = await weirpool(args, { cwd: at });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(message);
    expect(readdirSync(at)).toEqual([]);
  });

  it('nothing at all prints the commands, and help is no failure', async () => {
    const nothing = await weirpool([]);
    expect(nothing.code).toBe(2);
    expect(nothing.stderr).toMatch(/index .*\n[\s\S]*scan .*\n[\s\S]*verify /);
    const help = await succeed('help', 'index');
    expect(help).toContain('--threads <count>');
    expect(await succeed('--version')).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe.concurrent('a store that is not there', () => {
  it.each([
    ['get', ['key']],
    ['scan', []],
    ['ls', []],
    ['stat', []],
    ['dump', []],
    ['verify', []],
    ['checkpoint', []],
    ['del', ['key']],
  ])('%s says so, exits with 1 and makes none', async (command, more) => {
    const { at, store } = places();
    const { code, stdout, stderr } = await weirpool([command, store, ...more]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('NO_STORE');
    expect(stderr).toContain('weirpool index');
    expect(readdirSync(at)).toEqual([]);
  });

  it('is said in JSON, too, when that is asked for', async () => {
    const { store } = places();
    const { code, stderr } = await weirpool(['stat', store, '--json']);
    expect(code).toBe(1);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'NO_STORE' } });
  });

  it('is not made in a directory that holds something else', async () => {
    const { files, at } = places();
    mkdirSync(files);
    writeFileSync(join(files, 'mine.txt'), 'mine');
    for (const args of [
      ['index', files, at],
      ['put', files, 'key', 'value'],
    ]) {
      const { code, stderr } = await weirpool(args);
      expect(code).toBe(1);
      expect(stderr).toContain('NOT_A_STORE');
    }
    expect(readdirSync(files)).toEqual(['mine.txt']);
  });

  it('nor for a directory or a file that is not there', async () => {
    const { store, at } = places();
    const index = await weirpool(['index', store, join(at, 'nothing')]);
    expect(index.code).toBe(1);
    expect(index.stderr).toContain('ENOENT');
    const load = await weirpool(['load', store, join(at, 'nothing')]);
    expect(load.code).toBe(1);
    expect(load.stderr).toContain('ENOENT');
    expect(existsSync(store)).toBe(false);
  });
});

it('a store that somebody else has open is refused with who that is, and is left alone', async () => {
  const { store } = places();
  const db = await Weirpool.open(store);
  try {
    db.tree('main').put(Buffer.from('key'), Buffer.from('value'));
    const refused = await Promise.all(
      [
        ['get', store, 'key'],
        ['put', store, 'key', 'other'],
        ['verify', store],
      ].map((args) => weirpool(args)),
    );
    for (const { code, stderr } of refused) {
      expect(code).toBe(1);
      expect(stderr).toContain('STORE_LOCKED');
      expect(stderr).toContain(String(process.pid));
    }
  } finally {
    await db.close();
  }
  expect(await succeed('get', store, 'key')).toBe('value');
});

describe.concurrent('trees', () => {
  it('one is taken, of several the one indexed last, else --tree says which', async () => {
    const { store, files } = places();
    await succeed('put', store, 'a', '1');
    expect(await succeed('get', store, 'a')).toBe('1');
    await succeed('put', store, 'b', '2', '--tree', 'other');
    const { code, stderr } = await weirpool(['get', store, 'a']);
    expect(code).toBe(2);
    expect(stderr).toContain('main');
    expect(stderr).toContain('other');
    expect(await succeed('get', store, 'a', '--tree', 'main')).toBe('1');
    mkdirSync(files);
    writeFileSync(join(files, 'file'), 'x');
    await succeed('index', store, files);
    expect(await succeed('scan', store, '--keys')).toBe('file\n');
    const [stat] = await json<{ trees: { tree: string }[] }>('stat', store);
    expect(stat?.trees.map(({ tree }) => tree)).toEqual([files, 'main', 'other']);
  });

  it('one that is not there is no new one', async () => {
    const { store } = places();
    await succeed('put', store, 'a', '1');
    const { code, stderr } = await weirpool(['scan', store, '--tree', 'nothing']);
    expect(code).toBe(1);
    expect(stderr).toContain('no tree "nothing"');
    expect(stderr).toContain('main');
  });
});
