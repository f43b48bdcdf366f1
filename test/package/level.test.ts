/** The level entry needs abstract-level, and nothing else of the package loads it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { PROJECT } from '../support/variant.ts';
import { run } from './installed.ts';

const DIST = join(PROJECT, 'dist');

it('only the level entry loads abstract-level, and only it loads the level entry', () => {
  const modules = readdirSync(DIST, { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith('.js'),
  );
  const loading = (what: RegExp): string[] =>
    modules.filter((path) => what.test(readFileSync(join(DIST, path), 'utf8')));
  const level = loading(/(?:from|import\() ?['"]abstract-level['"]/);
  expect(level).toContain('level/level.js');
  const others = [...level, ...loading(/(?:from|import\() ?['"][./]+\/level\//)];
  expect(others.filter((path) => !path.startsWith('level/'))).toEqual([]);
});

it('it is imported, and required, by its name', () => {
  const check = 'process.stdout.write(typeof WeirLevel)';
  const esm = `import { WeirLevel } from 'weirpool/level'; ${check}`;
  const cjs = `const { WeirLevel } = require('weirpool/level'); ${check}`;
  for (const args of [
    ['--input-type=module', '-e', esm],
    ['--input-type=commonjs', '-e', cjs],
  ]) {
    const ended = run(process.execPath, args, PROJECT);
    expect(ended).toMatchObject({ status: 0, stdout: 'function' });
  }
});
