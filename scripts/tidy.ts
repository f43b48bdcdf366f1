/**
 * Style that no linter knows: banned calls with their replacements, leftover markers, invariants
 * without a test, long files, traces of one machine, dead links. Runs as a unit test.
 *
 * A line that must break a rule says so: `tidy-allow(<rule>): <reason>` on it or above it.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, extname, join, relative, sep } from 'node:path';
import { pathToFileURL } from 'node:url';

export interface Source {
  /** From the project's root, with slashes. */
  readonly path: string;
  readonly text: string;
}

export interface Problem {
  readonly path: string;
  readonly line: number;
  readonly rule: string;
  readonly message: string;
}

interface LineRule {
  readonly rule: string;
  readonly applies: (path: string) => boolean;
  readonly pattern: RegExp;
  readonly message: string;
}

const LINES_MAX = 600;

const CODE = new Set(['.ts', '.js', '.mjs', '.cjs', '.mts', '.sh', '']);
const SKIPPED = new Set(['node_modules', 'dist', 'build', 'generated', 'coverage', '.git', 'data']);

function below(...folders: string[]): (path: string) => boolean {
  return (path) => isCode(path) && folders.some((folder) => path.startsWith(`${folder}/`));
}

function outside(inside: (path: string) => boolean, ...folders: string[]) {
  return (path: string) => inside(path) && !folders.some((folder) => path.startsWith(`${folder}/`));
}

function isCode(path: string): boolean {
  return CODE.has(extname(path));
}

/** Keeps this file out of its own rules. */
function words(...parts: string[]): RegExp {
  return new RegExp(`\\b(?:${parts.map((part) => part.replace('|', '')).join('|')})\\b`);
}

const LINE_RULES: readonly LineRule[] = [
  {
    rule: 'random',
    applies: below('test', 'bench', 'src', 'examples'),
    pattern: /\bMath\.random\(/,
    message: 'cannot be replayed: take Random from test/support/seed.ts, or node:crypto in src',
  },
  {
    rule: 'files',
    applies: outside(below('src'), 'src/fs', 'src/cli', 'src/harness'),
    pattern: /\b(?:from|import)\s*\(?\s*['"](?:node:)?fs(?:\/promises)?['"]/,
    message: 'every file call goes through src/fs, which tests replace',
  },
  {
    rule: 'clock',
    applies: below('test', 'bench'),
    pattern: /\bDate\.now\(/,
    message: 'jumps when the clock is set: use performance.now()',
  },
  {
    rule: 'output',
    applies: outside(below('src'), 'src/cli', 'src/harness'),
    pattern: /\bconsole\.\w+\(/,
    message: 'a library prints nothing: throw a WeirpoolError or emit an event',
  },
  {
    rule: 'exit',
    applies: outside(below('src'), 'src/cli', 'src/harness'),
    pattern: /\bprocess\.(?:exit|abort)\(/,
    message: 'a library never ends the process: poison the pool',
  },
  {
    rule: 'only',
    applies: below('test'),
    pattern: /\b(?:it|test|describe)\.only\b/,
    message: 'silences every other test',
  },
  {
    rule: 'decorator',
    applies: below('assembly'),
    pattern: /^\s*@\w+/,
    message: 'the formatter rejects it; the compiler inlines without it',
  },
  {
    rule: 'marker',
    applies: isCode,
    pattern: words('TO|DO', 'FIX|ME', 'XX|X', 'HA|CK'),
    message: 'do it, or describe it where it belongs',
  },
  {
    rule: 'machine',
    applies: () => true,
    pattern: new RegExp(`(?<![\\w.~-])/(?:${['wo', 'rk'].join('')}|home|Users)/`),
    message: 'a path of one machine',
  },
  {
    rule: 'registry',
    applies: () => true,
    pattern: /\bregistry[.](?:npmjs|yarnpkg|npmmirror)\b|"resolved"[:]/,
    message: 'a download address: leave it to the configuration of whoever installs',
  },
];

function allowed(lines: readonly string[], index: number, rule: string): boolean {
  const note = `tidy-allow(${rule}): `;
  return [lines[index], lines[index - 1]].some((line) => line?.includes(note) === true);
}

export function lineProblems({ path, text }: Source): Problem[] {
  const lines = text.split('\n');
  const problems: Problem[] = [];
  for (const { rule, applies, pattern, message } of LINE_RULES) {
    if (!applies(path)) continue;
    lines.forEach((line, index) => {
      if (!pattern.test(line) || allowed(lines, index, rule)) return;
      problems.push({ path, line: index + 1, rule, message: `${line.trim()}: ${message}` });
    });
  }
  return problems;
}

export function lengthProblems({ path, text }: Source): Problem[] {
  const lines = text.split('\n').length - 1;
  if (!isCode(path) || lines <= LINES_MAX) return [];
  return [{ path, line: 1, rule: 'length', message: `${lines} lines, at most ${LINES_MAX}` }];
}

/** Links to files, in Markdown; addresses and places inside a page are not looked at. */
export function linkProblems({ path, text }: Source, exists: (path: string) => boolean): Problem[] {
  if (extname(path) !== '.md') return [];
  const problems: Problem[] = [];
  // Code is not prose: blank it out, but keep the line numbers.
  const prose = text.replace(/^```.*?^```/gms, (block) => block.replace(/[^\n]/g, ''));
  prose.split('\n').forEach((line, index) => {
    for (const [, target = ''] of line.replace(/`[^`]*`/g, '').matchAll(/\]\(([^)\s]+)[^)]*\)/g)) {
      const file = target.replace(/#.*$/, '');
      if (file === '' || /^[a-z]+:/.test(file)) continue;
      if (exists(join(dirname(path), decodeURI(file)))) continue;
      problems.push({ path, line: index + 1, rule: 'link', message: `${target} leads nowhere` });
    }
  });
  return problems;
}

const INVARIANT = /\b(?:I[1-6]|W2D|R1|G1|D1)\b/g;
/** First argument of `it(`, `it.each(...)(` and their like, when it is a text. */
const TITLE = /\b(?:it|test)(?:\.\w+)*(?:\([^()]*\))?\(\s*(['"`])((?:\\.|(?!\1).)*)\1/gs;

export function testTitles(text: string): string[] {
  return [...text.matchAll(TITLE)].map(([, , title = '']) => title);
}

/** Each invariant that the product cites is named in the title of a test. */
export function invariantProblems(sources: readonly Source[]): Problem[] {
  const tested = new Set(
    sources
      // The tests of the tools hold titles of made-up tests.
      .filter(({ path }) => /^test\/(?!unit\/tooling\/).*\.test\.ts$/.test(path))
      .flatMap(({ text }) => testTitles(text))
      .flatMap((title) => title.match(INVARIANT) ?? []),
  );
  const problems = new Map<string, Problem>();
  for (const { path, text } of sources.filter(({ path }) => /^(?:src|assembly)\//.test(path))) {
    text.split('\n').forEach((line, index) => {
      for (const id of line.match(INVARIANT) ?? []) {
        if (tested.has(id) || problems.has(id)) continue;
        const message = `${id} is in the title of no test`;
        problems.set(id, { path, line: index + 1, rule: 'invariant', message });
      }
    });
  }
  return [...problems.values()];
}

function walk(root: string, folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return SKIPPED.has(entry.name) ? [] : walk(root, path);
    return entry.isFile() ? [path.split(sep).join('/')] : [];
  });
}

const TEXT = new Set([...CODE, '.md', '.json', '.yml', '.yaml']);

export function readSources(root: string): Source[] {
  return walk(root, '')
    .filter((path) => TEXT.has(extname(path)))
    .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));
}

export function tidy(root: string): Problem[] {
  const sources = readSources(root);
  const exists = (path: string) => existsSync(join(root, path));
  return [
    ...sources.flatMap((source) => [
      ...lineProblems(source),
      ...lengthProblems(source),
      ...linkProblems(source, exists),
    ]),
    ...invariantProblems(sources),
  ];
}

export function describeProblem({ path, line, rule, message }: Problem): string {
  return `${path}:${line}: ${rule}: ${message}`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const root = join(import.meta.dirname, '..');
  const problems = tidy(root);
  for (const problem of problems) console.error(describeProblem(problem));
  console.log(`${problems.length} problem(s) below ${relative(process.cwd(), root) || '.'}`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
