/** What the documentation shows runs, from the build: the examples, and the first programs. */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { PROJECT, temporaryDirectory } from '../support/variant.ts';
import { run, shownIn } from './installed.ts';

const EXAMPLES = join(PROJECT, 'examples');

it.each(readdirSync(EXAMPLES))('the example %s runs and finds what it expects', (name) => {
  const ended = run(process.execPath, [join(EXAMPLES, name)], PROJECT);
  expect(ended).toMatchObject({ status: 0, stderr: '' });
  expect(ended.stdout).toMatch(/\S/);
});

/** Runs the program that a document shows, three times, each in the same folder: what it prints. */
function outputsOf(document: string, name: string): string[] {
  const program = shownIn(document, name);
  const project = temporaryDirectory('shown');
  const path = join(PROJECT, 'dist/index.js');
  writeFileSync(
    join(project, name),
    program.replace("'weirpool'", JSON.stringify(`file://${path}`)),
  );
  const runs = [1, 2, 3].map(() => run(process.execPath, [name], project));
  expect(runs.map(({ stderr }) => stderr)).toEqual(['', '', '']);
  return runs.map(({ stdout }) => stdout);
}

it('the first program on the pool runs, and counts on when it runs again', () => {
  expect(outputsOf('docs/pool.md', 'counter.mjs')).toEqual(['1\n', '2\n', '3\n']);
});
