/** What a person sees: on a terminal of its own, made by script(1). */
import { spawnSync } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { PROGRAM, places, type Running, start, succeed } from './program.ts';

const HAS_SCRIPT = spawnSync('script', ['--version']).status === 0;
/** Takes seconds to be hashed. */
const SLOW_BYTES = 2 ** 40;

function onTerminal(...args: string[]): Running {
  const words = [process.execPath, PROGRAM, ...args].map((word) => `'${word}'`).join(' ');
  return start('script', ['-qec', `stty cols 100; ${words}`, '/dev/null']);
}

it.skipIf(!HAS_SCRIPT)('values do not act on a terminal', async () => {
  const { store } = places();
  await succeed('put', store, 'key', '\u001b[31mred\u202e');
  const get = onTerminal('get', store, 'key');
  get.child.stdin?.end();
  expect((await get.ended).stdout).toBe('\\x1b[31mred\\u{202e}\r\n');
  expect(await succeed('get', store, 'key')).toBe('\u001b[31mred\u202e');
});

it.skipIf(!HAS_SCRIPT)(
  'long work shows how far it is, and takes it away when it ends',
  async () => {
    const { store, files } = places();
    mkdirSync(files);
    for (let n = 0; n < 50; n++) writeFileSync(join(files, `a${n}`), '');
    writeFileSync(join(files, 'large'), '');
    truncateSync(join(files, 'large'), SLOW_BYTES);
    const { child, ended } = onTerminal('index', store, files, '--hash', '--threads', '1');
    let seen = '';
    let typed = false;
    child.stdout?.on('data', (piece: Buffer) => {
      seen += piece.toString();
      if (typed || !/ 50 entries.* hashed/.test(seen)) return;
      typed = true;
      // Ctrl-C, as it is typed.
      child.stdin?.write('\u0003');
    });
    const { code, stdout } = await ended;
    expect(code).toBe(130);
    expect(stdout).toMatch(
      /Indexing \[[#.]{24}\] +\d+% {2}50 entries {2}\d+ entries\/s {2}[\d.]+ [KMG]iB hashed/,
    );
    expect(stdout).toContain('Closing the store; once more ends it at once.');
    expect(stdout).toContain('interrupted. What was indexed is stored');
  },
);
