/** Into a store and out of it again. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Random, testSeed } from '../support/seed.ts';
import { json, places, shell, succeed, weirpool } from './program.ts';

/** Keys of all lengths, some of them text, some of them any bytes. */
function anyBytes(count: number, zeros: boolean): Map<string, Buffer> {
  const random = new Random(testSeed());
  const entries = new Map<string, Buffer>([['', Buffer.alloc(0)]]);
  const make = (length: number): Buffer => {
    const isText = random.chance(0.3);
    const bytes = Array.from({ length }, () => random.int(256));
    return Buffer.from(bytes.map((byte) => (isText ? 32 + (byte % 95) : zeros ? byte : byte || 1)));
  };
  for (let n = 0; n < count; n++) {
    const key = make(1 + random.int(40)).toString('latin1');
    entries.set(key, make(random.chance(0.2) ? 0 : random.int(300)));
  }
  entries.set('large', Buffer.alloc(1_000_000, 'large\tvalue\n\\'));
  return entries;
}

function ndjson(entries: ReadonlyMap<string, Buffer>): string {
  const lines = [...entries].map(([key, value]) => {
    const key64 = Buffer.from(key, 'latin1').toString('base64');
    return JSON.stringify({ key64, value64: value.toString('base64') });
  });
  return lines.join('\n');
}

describe.concurrent('dump and load', () => {
  it('give the same store again, whatever bytes are in it', async () => {
    const { store, at } = places();
    const other = join(at, 'other');
    const entries = anyBytes(2000, true);
    await weirpool(['load', store, '--tree', 'any'], { input: ndjson(entries) });
    await succeed('put', store, 'a', '', '--tree', 'named "\n');
    const piped = await shell(`weirpool dump '${store}' | weirpool load '${other}' --json`);
    expect(piped.stderr).toBe('');
    expect(JSON.parse(piped.stdout)).toMatchObject({ records: entries.size + 1 });
    expect(await succeed('dump', other)).toBe(await succeed('dump', store));
    const dumped = await json<Record<string, string>>('dump', other, '--tree', 'any');
    const found = new Map(
      dumped.map(({ key, key64, value, value64 }) => [
        bytesOf(key, key64).toString('latin1'),
        bytesOf(value, value64),
      ]),
    );
    expect(found.size).toBe(entries.size);
    for (const [key, value] of entries) expect(found.get(key)?.equals(value)).toBe(true);
  });

  it.each([['tsv'], ['nul']])('go by %s, too', async (format) => {
    const { store, at } = places();
    const entries = anyBytes(300, format === 'tsv');
    await weirpool(['load', store], { input: ndjson(entries) });
    const file = join(at, 'file');
    const { bytes } = await weirpool(['dump', store, '--format', format]);
    writeFileSync(file, bytes);
    const other = join(at, 'other');
    await succeed('load', other, file, '--format', format);
    expect(await succeed('dump', other, '--tree', 'main')).toBe(
      await succeed('dump', store, '--tree', 'main'),
    );
  });

  it('take lines as people write them', async () => {
    const { store } = places();
    const tsv = await weirpool(['load', store], { input: 'b\tone\\ttwo\r\n\na\t\nc\tx\ty' });
    expect(tsv.stdout).toMatch(/^3 records of .* loaded in .*\/s\n$/);
    expect(await succeed('scan', store)).toBe('a\t\nb\tone\\ttwo\nc\tx\\ty\n');
    const objects = await weirpool(['load', store], { input: '{"key":"a","value":{"n":[1]}}\n' });
    expect(objects.code).toBe(0);
    expect(await succeed('get', store, 'a')).toBe('{"n":[1]}');
  });

  it.each([
    ['{"key":"a","value":"1"}\n{"key":"b"}\n', 'Line 2: A line is an object'],
    ['{"key":"a","value":"1"}\n{"key":"b","value64":"?"}\n', 'Line 2: "value64" must be base64'],
    ['a\t1\nno tab\n', 'Line 2: There is no tab'],
    [Buffer.from('a\t1\n\xff\t\n', 'latin1'), 'Line 2: The line is not UTF-8'],
    [`a\t1\n${'k'.repeat(5000)}\tv\n`, 'Line 2: '],
  ])('stop at a line that is none, and say which', async (input, message) => {
    const { store } = places();
    const { code, stderr } = await weirpool(['load', store], { input });
    expect(code).toBe(1);
    expect(stderr).toContain(message);
    expect(stderr).toContain('1 record before it');
    expect(await succeed('scan', store)).toBe('a\t1\n');
  });
});

function bytesOf(text: string | undefined, base64: string | undefined): Buffer {
  return text === undefined ? Buffer.from(base64 ?? '', 'base64') : Buffer.from(text, 'utf8');
}
