/** The command line of the harness: what people and scripts see of it. */
import { spawnSync } from 'node:child_process';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundleProgram } from '../support/scenario.ts';
import { BROKEN } from './broken/index.ts';

const KEYS = [
  'mode',
  'seed',
  'runs',
  'images',
  'kills',
  'injections',
  'placements',
  'schedules',
  'violations',
];
const TIMEOUT_MS = 120_000;

function run(program: string, args: readonly string[]) {
  const env = { ...process.env };
  delete env['NODE_OPTIONS'];
  return spawnSync(process.execPath, [program, ...args], { encoding: 'utf8', env });
}

describe('npm run crash', () => {
  let program = '';
  let forgetful = '';

  beforeAll(async () => {
    program = await bundleProgram('test/crash/main.ts');
    const broken = BROKEN.find(({ title }) => title.includes('leaves the roots out'));
    forgetful = await bundleProgram('test/crash/main.ts', broken?.patches);
  }, TIMEOUT_MS);

  it('says what it has done as JSON in the last line', { timeout: TIMEOUT_MS }, () => {
    const { status, stdout } = run(program, ['rot', '--runs', '1', '--seed', '3', '--json']);
    const report = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
    expect(Object.keys(report)).toEqual(KEYS);
    expect(report).toMatchObject({ mode: 'rot', seed: 3, runs: 1, violations: 0 });
    expect(status).toBe(0);
  });

  it('ends with 1 and a line that replays the violation', { timeout: TIMEOUT_MS }, () => {
    const args = ['points', '--subject', 'pool', '--runs', '3', '--seed', '11'];
    const first = run(forgetful, args);
    expect(first.status).toBe(1);
    const replay = /^replay: npm run crash -- (.*)$/m.exec(first.stdout)?.[1]?.split(' ') ?? [];
    expect(replay).toEqual(expect.arrayContaining(['--seed', '11', '--run', '--subject', 'pool']));
    const again = run(forgetful, replay);
    const violations = (text: string) => text.split('\n').filter((line) => /^violation/.test(line));
    expect(violations(again.stdout)).toEqual(violations(first.stdout));
    expect(violations(again.stdout)).not.toEqual([]);
  });

  it.each([
    [['points', '--runs', 'some'], /--runs <count>.*must be a whole number/s],
    [['points', '--subject', 'nothing'], /Allowed choices are pool, tree/],
    [['nothing'], /unknown command 'nothing'/],
    [['points', '--seed', '4294967296'], /from 0 to 4294967295/],
    [[], /Usage: npm run crash --/],
  ])('ends with 2 and says what is wrong with %j', (args, message) => {
    const { status, stderr } = run(program, args);
    expect(stderr).toMatch(message);
    expect(status).toBe(2);
  });
});
