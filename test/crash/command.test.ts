/** The command line of the harness: what people and scripts see of it. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as nap } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundleProgram, runScenario } from '../support/scenario.ts';
import { temporaryDirectory } from '../support/variant.ts';
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

/** Processes whose temporary directory this is. */
function processesIn(place: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1')
          .split('\0')
          .includes(`TMPDIR=${place}`);
      } catch {
        return false; // it has ended, or is somebody else's
      }
    })
    .map(Number);
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await nap(5);
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
    [['points', '--subject', 'nothing'], /Allowed choices are pool, own-store, tree/],
    [['deaths', '--subject', 'tree'], /unknown option '--subject'/],
    [['nothing'], /unknown command 'nothing'/],
    [['points', '--seed', '4294967296'], /from 0 to 4294967295/],
    [[], /Usage: npm run crash --/],
  ])('ends with 2 and says what is wrong with %j', (args, message) => {
    const { status, stderr } = run(program, args);
    expect(stderr).toMatch(message);
    expect(status).toBe(2);
  });

  // Processes are found by /proc.
  it.runIf(existsSync('/proc/self/cmdline')).each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)(
    'leaves no process and no directory behind after %s',
    { timeout: TIMEOUT_MS },
    async (signal, code) => {
      const place = temporaryDirectory('signal');
      const env: NodeJS.ProcessEnv = { ...process.env, TMPDIR: place };
      delete env['NODE_OPTIONS'];
      const child = spawn(process.execPath, [program, 'kill', '--seconds', '60'], {
        env,
        stdio: 'ignore',
      });
      const ended = new Promise((resolve) => child.once('exit', resolve));
      const others = () => processesIn(place).filter((pid) => pid !== child.pid);
      await until(() => readdirSync(place).length > 0 && others().length > 0);
      child.kill(signal);
      expect(await ended).toBe(code);
      // Whom it has killed goes after it.
      await until(() => others().length === 0);
      expect(readdirSync(place)).toEqual([]);
    },
  );

  it('is ended when the survivors of a death wait for ever', { timeout: TIMEOUT_MS }, async () => {
    const { signal, stderr } = await runScenario('death-watch');
    expect(stderr).toContain('violation: run 7: who is left waits for the dead thread for ever');
    expect(signal).toBe('SIGKILL');
  });
});
