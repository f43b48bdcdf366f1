import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  describeProblem,
  invariantProblems,
  lengthProblems,
  lineProblems,
  linkProblems,
  type Problem,
  testTitles,
  tidy,
} from '../../../scripts/tidy.ts';

const ROOT = join(import.meta.dirname, '../../..');

function rules(problems: readonly Problem[]): string[] {
  return problems.map(({ rule }) => rule);
}

describe('the project', () => {
  const problems = tidy(ROOT);

  it('is tidy', () => {
    const others = problems.filter(({ rule }) => rule !== 'invariant');
    expect(others.map(describeProblem)).toEqual([]);
  });

  it('names every invariant that it cites in the title of a test', () => {
    const missing = problems.filter(({ rule }) => rule === 'invariant');
    expect(missing.map(describeProblem)).toEqual([]);
  });
});

describe('tidy', () => {
  const piece = (...parts: string[]) => parts.join('');

  it.each([
    ['random', 'test/a.test.ts', piece('Math.', 'random() < 0.5')],
    ['random', 'bench/a.bench.ts', piece('const x = Math.', 'random();')],
    ['files', 'src/pool/a.ts', "import { readSync } from 'node:fs';"],
    ['files', 'src/pool/a.ts', "const fs = await import('node:fs/promises');"],
    ['clock', 'test/a.test.ts', piece('expect(Date', '.now()).toBe(1);')],
    ['output', 'src/a.ts', "console.log('here');"],
    ['exit', 'src/a.ts', 'process.exit(1);'],
    ['only', 'test/a.test.ts', piece('it', ".only('x', () => {});")],
    ['decorator', 'assembly/a.ts', '@inline function f(): void {}'],
    ['marker', 'src/a.ts', piece('// TO', 'DO later')],
    ['machine', 'docs/a.md', piece('see /ho', 'me/me/notes')],
    ['machine', 'scripts/a.ts', piece("'/wo", "rk/main'")],
    ['registry', 'package-lock.json', piece('"resol', 'ved": "x"')],
  ])('finds %s in %s', (rule, path, text) => {
    expect(rules(lineProblems({ path, text }))).toEqual([rule]);
  });

  it.each([
    ['src/fs/files.ts', "import { readSync } from 'node:fs';"],
    ['scripts/a.ts', "import { readSync } from 'node:fs';"],
    ['src/a.ts', "import { FileSystem } from './fs/file-system.ts';"],
    ['docs/a.md', 'workers/a and test/support/homework/'],
    ['test/a.test.ts', piece('// tidy-allow(clock): the file has it\nDate', '.now()')],
  ])('leaves %s alone', (path, text) => {
    expect(lineProblems({ path, text })).toEqual([]);
  });

  it('says where and what instead', () => {
    const [problem] = lineProblems({ path: 'test/a.ts', text: piece('\nDate', '.now()') });
    expect(problem).toMatchObject({ line: 2, message: expect.stringContaining('performance.now') });
  });

  it('finds files of more than 600 lines', () => {
    expect(lengthProblems({ path: 'src/a.ts', text: '\n'.repeat(600) })).toEqual([]);
    expect(rules(lengthProblems({ path: 'src/a.ts', text: '\n'.repeat(601) }))).toEqual(['length']);
    expect(lengthProblems({ path: 'docs/a.md', text: '\n'.repeat(601) })).toEqual([]);
  });

  it('finds links to files that are not there', () => {
    const text = [
      '[there](../README.md#top) [here](#here) [out](https://example.org)',
      '`[code](x.md)`',
      '[gone](gone.md)',
    ].join('\n');
    const problems = linkProblems({ path: 'docs/a.md', text }, (path) => path === 'README.md');
    expect(problems).toMatchObject([{ line: 3, rule: 'link' }]);
  });

  it('finds invariants that no test names', () => {
    const cited = { path: 'src/a.ts', text: '/** I1 and I4, W2D */' };
    const title = (text: string) => ({ path: 'test/unit/a.test.ts', text });
    const first = title("it('I1 evict skips a dirty frame', () => {});");
    expect(invariantProblems([cited, first]).map(({ message }) => message.slice(0, 3))).toEqual([
      'I4 ',
      'W2D',
    ]);
    const rest = title('it.each([1, 2])("I4 W2D %s", (n) => {});');
    expect(invariantProblems([cited, first, rest])).toEqual([]);
  });

  it('reads titles of every form', () => {
    const text = "it('a', f); it.each(CASES)(`b`, f); test.fails(\"c\", f); it(\n  'd', f); fit(x)";
    expect(testTitles(text)).toEqual(['a', 'b', 'c', 'd']);
  });
});
