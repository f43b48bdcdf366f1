import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../../..');

function bench(...args: string[]) {
  const tsx = join(ROOT, 'node_modules/tsx/dist/cli.mjs');
  return spawnSync(process.execPath, [tsx, join(ROOT, 'scripts/bench.ts'), ...args], {
    cwd: ROOT,
    encoding: 'utf8',
  });
}

describe('the benchmark command', () => {
  test.each([
    [[], 'Which suite?'],
    [['nothing'], 'There is no suite nothing.'],
    [['copy', 'miss'], 'One suite at a time'],
    [['copy', '--fast'], '--fast'],
    [['copy', '--seconds', '0'], '--seconds is a number above 0'],
    [['copy', '--only', 'checksum'], 'copy has no --only'],
  ])('refuses %j with code 2, says why and which suites there are', (args, reason) => {
    const { status, stdout, stderr } = bench(...args);
    expect(stderr).toContain(reason);
    expect(stderr).toContain('hit-path|contention|miss|hit-ratio|copy');
    expect(stdout).toBe('');
    expect(status).toBe(2);
  });

  test('prints with --json one line for each case, with all fields', () => {
    const { status, stdout, stderr } = bench('copy', '--json', '--seconds', '0.02');
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const lines: Record<string, unknown>[] = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    for (const line of lines) {
      expect(Object.keys(line)).toEqual([
        'bench',
        'case',
        'threads',
        'nsPerOp',
        'opsPerSec',
        'value',
        'unit',
        'baseline',
        'ratio',
        'spread',
      ]);
      expect(line['bench']).toBe('copy');
      expect(line['nsPerOp']).toBeTypeOf('number');
      expect(line['opsPerSec']).toBeTypeOf('number');
      expect(line['spread']).toBeTypeOf('number');
      expect([line['value'], line['unit']]).toEqual([null, null]);
    }
    const names = lines.map((line) => line['case']);
    expect(new Set(names).size).toBe(names.length);
    const copy = lines.find((line) => line['case'] === 'copy');
    expect(copy).toMatchObject({ threads: 1, baseline: 'buffer-copy' });
    expect(copy?.['ratio']).toBeTypeOf('number');
    expect(names).toEqual(expect.arrayContaining(['empty-loop', 'checksum', 'zlib-crc32']));
  });

  test('compares trees with the stores that are installed, and takes some cases alone', {
    timeout: 180_000,
  }, () => {
    const some = ['--only', 'empty-loop,get-2', '--stores', 'weirpool'];
    const { status, stdout } = bench('tree', ...some, '--json', '--seconds', '0.02');
    expect(status).toBe(0);
    const lines: Record<string, unknown>[] = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toMatchObject([
      { bench: 'tree', case: 'empty-loop', store: 'weirpool', threads: 1, target: null },
      { bench: 'tree', case: 'get-2', store: 'weirpool', threads: 2, target: '>= 3' },
    ]);
    for (const line of lines) expect(line['opsPerSec']).toBeGreaterThan(0);
  });
});
