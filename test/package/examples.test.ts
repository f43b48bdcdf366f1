/** What the documentation shows runs, from the build: the examples, and the README's first program. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { PROJECT, temporaryDirectory } from '../support/variant.ts';
import { run } from './installed.ts';

const EXAMPLES = join(PROJECT, 'examples');

it.each(readdirSync(EXAMPLES))('the example %s runs and finds what it expects', (name) => {
  const ended = run(process.execPath, [join(EXAMPLES, name)], PROJECT);
  expect(ended).toMatchObject({ status: 0, stderr: '' });
  expect(ended.stdout).toMatch(/\S/);
});

it('the first program of the README runs, and counts on when it runs again', () => {
  const readme = readFileSync(join(PROJECT, 'README.md'), 'utf8');
  const program = /```js\n(\/\/ counter\.mjs\n.*?)```/s.exec(readme)?.[1] ?? '';
  const project = temporaryDirectory('readme');
  const path = join(PROJECT, 'dist/index.js');
  writeFileSync(
    join(project, 'counter.mjs'),
    program.replace("'weirpool'", JSON.stringify(`file://${path}`)),
  );
  const outputs = [1, 2, 3].map(() => run(process.execPath, ['counter.mjs'], project));
  expect(outputs.map(({ stderr }) => stderr)).toEqual(['', '', '']);
  expect(outputs.map(({ stdout }) => stdout)).toEqual(['1\n', '2\n', '3\n']);
});
