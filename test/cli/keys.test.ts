/** Single keys, ranges and lists, and what each form of output makes of strange bytes. */
import { describe, expect, it } from 'vitest';
import { json, places, shell, succeed, weirpool } from './program.ts';

/** Escape, bell, C1, a right-to-left override, a newline, a backslash, and a byte that is no UTF-8. */
const STRANGE = Buffer.concat([
  Buffer.from('\u001b[31mred\u0007\u009b\u202e\n\\'),
  Buffer.from([0xff]),
]);
const ESCAPED = '\\x1b[31mred\\x07\\u{9b}\\u{202e}\\n\\\\\\xff';

async function loaded(entries: readonly (readonly [string | Buffer, string])[]): Promise<string> {
  const { store } = places();
  const lines = entries.map(([key, value]) =>
    JSON.stringify(
      typeof key === 'string' ? { key, value } : { key64: key.toString('base64'), value },
    ),
  );
  const { code } = await weirpool(['load', store], { input: lines.join('\n') });
  expect(code).toBe(0);
  return store;
}

describe.concurrent('keys', () => {
  it('are put, got, deleted and missed', async () => {
    const { store } = places();
    expect(await succeed('put', store, 'key', 'value')).toBe('');
    expect(await succeed('get', store, 'key')).toBe('value');
    const bytes = Buffer.from([0, 1, 0xff, 10, 13]);
    const put = await weirpool(['put', store, 'binary'], { input: bytes });
    expect(put.code).toBe(0);
    expect((await weirpool(['get', store, 'binary'])).bytes).toEqual(bytes);
    expect(await json('get', store, 'binary')).toEqual([{ key: 'binary', value64: 'AAH/Cg0=' }]);
    expect(await succeed('del', store, 'key', 'nothing')).toBe('1 key deleted, 1 not there\n');
    const missing = await weirpool(['get', store, 'key']);
    expect(missing).toMatchObject({ code: 1, stdout: '' });
    expect(missing.stderr).toContain('NO_KEY');
  });

  it('are deleted by range and by a list', async () => {
    const store = await loaded(['a/1', 'a/2', 'b/1', 'b/2', 'c'].map((key) => [key, 'v']));
    expect(await json('del', store, '--prefix', 'a/')).toEqual([{ deleted: 2, missing: 0 }]);
    const listed = await weirpool(['del', store, '-0'], { input: 'b/1\0c' });
    expect(listed.stdout).toBe('2 keys deleted\n');
    expect(await succeed('scan', store, '--keys')).toBe('b/2\n');
  });
});

describe.concurrent('scan', () => {
  it('gives what the bounds leave, in either order, up to a limit', async () => {
    const store = await loaded(['a', 'b', 'b1', 'b2', 'c', 'd'].map((key) => [key, `=${key}`]));
    const keys = async (...args: string[]): Promise<string> =>
      (await succeed('scan', store, '--keys', ...args)).trim().replaceAll('\n', ' ');
    expect(await keys()).toBe('a b b1 b2 c d');
    expect(await keys('--gt', 'a', '--lt', 'c')).toBe('b b1 b2');
    expect(await keys('--gte', 'b1', '--lte', 'c', '--reverse')).toBe('c b2 b1');
    expect(await keys('--prefix', 'b', '--gt', 'b')).toBe('b1 b2');
    expect(await keys('--prefix', 'b', '--reverse', '--limit', '1')).toBe('b2');
    expect(await keys('--gt', 'c', '--lt', 'b')).toBe('');
    expect(await keys('--limit', '0')).toBe('');
    expect(await succeed('scan', store, '--prefix', 'd')).toBe('d\t=d\n');
    expect(await json('scan', store, '--prefix', 'd')).toEqual([{ key: 'd', value: '=d' }]);
  });

  it('escapes what would act on a terminal, and gives the bytes themselves where asked', async () => {
    const store = await loaded([[STRANGE, 'v\tw']]);
    expect(await succeed('scan', store)).toBe(`${ESCAPED}\tv\\tw\n`);
    expect(await json('scan', store)).toEqual([
      { key64: STRANGE.toString('base64'), value: 'v\tw' },
    ]);
    const { bytes } = await weirpool(['scan', store, '--keys', '-0']);
    expect(bytes).toEqual(Buffer.concat([STRANGE, Buffer.from([0])]));
    expect(await succeed('get', store, ESCAPED, '-e')).toBe('v\tw');
    const missing = await weirpool(['get', store, ESCAPED]);
    expect(missing.code).toBe(1);
    expect(await succeed('scan', store, '--keys', '-e', '--prefix', '\\x1b[31')).toBe(
      `${ESCAPED}\n`,
    );
  });

  it('ends quietly when nobody reads on', async () => {
    const entries = Array.from({ length: 20_000 }, (_, n) => [`key${n}`, 'x'.repeat(50)] as const);
    const store = await loaded(entries);
    const { stdout, stderr } = await shell(
      `weirpool scan '${store}' | head -n 1; echo "\${PIPESTATUS[0]}"`,
    );
    expect({ stdout, stderr }).toEqual({ stdout: `key0\t${'x'.repeat(50)}\n0\n`, stderr: '' });
    const full = await shell(`weirpool dump '${store}' > /dev/full`);
    expect(full.code).toBe(1);
    expect(full.stderr).toContain('ENOSPC');
  });
});

describe.concurrent('ls', () => {
  it('rolls up what lies below a delimiter, with counts and sizes', async () => {
    const store = await loaded([
      ['top', '12345'],
      ['a/x', '1'],
      ['a/y/z', '22'],
      ['a-b', '333'],
      [STRANGE, ''],
    ]);
    const strange = { key: ESCAPED, entries: 1, bytes: 0 };
    expect(await json('ls', store)).toEqual([
      strange,
      { prefix: 'a/', entries: 2, bytes: 3 },
      { key: 'a-b', entries: 1, bytes: 3 },
      { key: 'top', entries: 1, bytes: 5 },
    ]);
    expect(await json('ls', store, 'a')).toEqual([
      { key: 'a/x', entries: 1, bytes: 1 },
      { prefix: 'a/y/', entries: 1, bytes: 2 },
    ]);
    expect(await json('ls', store, '--delimiter', '-', '--limit', '1', '--reverse')).toEqual([
      { key: 'top', entries: 1, bytes: 5 },
    ]);
    const table = await succeed('ls', store, 'a/');
    expect(table).toBe(
      'entries  size  name\n      1   1 B  x\n      1   2 B  y/\n      2   3 B  in all\n',
    );
    expect(await succeed('ls', store)).toContain(ESCAPED);
  });
});

describe.concurrent('stat, checkpoint and verify', () => {
  it('say what is there, and that it is sound', async () => {
    const store = await loaded([['a', '1']]);
    const [checkpoint] = await json('checkpoint', store);
    expect(checkpoint).toMatchObject({ deletes: 0 });
    const [stat] = await json<{ trees: unknown }>('stat', store);
    expect(stat?.trees).toEqual([{ tree: 'main', entries: 1 }]);
    const [report] = await json<{ findings: unknown[]; blobs: number }>('verify', store);
    expect(report?.findings).toEqual([]);
    expect(report?.blobs).toBeGreaterThan(0);
    expect(await succeed('verify', store)).toContain('Nothing is damaged');
  });
});
