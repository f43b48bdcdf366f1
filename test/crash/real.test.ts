/**
 * Real file systems under the harness: power cuts on loop devices, calls that a tracer lets fail, a
 * disk that fills up. Where root, loop devices or the tracer are missing, the reason is printed.
 *
 * SEED=n for other moments.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { diskMode, fullRunOf } from '../../src/harness/disk.ts';
import { type Mode, type Outcome, runMode } from '../../src/harness/mode.ts';
import { MountSpace } from '../../src/harness/mount-space.ts';
import type { PartContext } from '../../src/harness/parts.ts';
import { powerMode } from '../../src/harness/power.ts';
import { bundleProgram, bundleScenario, type Patch } from '../support/scenario.ts';
import { testSeed } from '../support/seed.ts';
import { BROKEN } from './broken/index.ts';
import { treeSubject } from './subjects/tree.ts';

const TIMEOUT_MS = 300_000;
const POWER_RUNS = 2;
/** One of each kind of fault takes too long here; these are chosen by the seed. */
const DISK_RUNS = 3;
/** Of a broken product, before it counts as not noticed: four cuts each. */
const VARIANT_RUNS = 20;
/** A pid that no process has: it is above the highest that Linux gives. */
const NO_PID = 2 ** 22 + 1;

async function run(
  make: (context: PartContext) => Mode,
  options: {
    readonly runs?: number;
    readonly run?: number;
    readonly patches?: readonly Patch[];
  },
): Promise<Outcome> {
  const program = await bundleProgram('test/crash/main.ts', options.patches);
  const self = pathToFileURL(program).href;
  const mode = make({ subjects: [treeSubject], workloads: [], self });
  const { runs, run: only } = options;
  const outcome = await runMode(mode, { seed: testSeed(), runs, run: only });
  const { report, violations } = outcome;
  process.stderr.write(`${JSON.stringify(report)}\n${violations.slice(0, 1).join()}\n`);
  return outcome;
}

/** Why the mode cannot be run here; printed. */
async function missingFor(make: (context: PartContext) => Mode): Promise<string | undefined> {
  const mode = make({ subjects: [treeSubject], workloads: [], self: import.meta.url });
  const missing = await mode.prepare?.();
  await mode.finish?.();
  if (missing !== undefined) process.stderr.write(`${mode.name} is skipped: ${missing}\n`);
  return missing;
}

function brokenLike(title: string): readonly Patch[] {
  const found = BROKEN.find((broken) => broken.title.includes(title));
  if (found === undefined) throw new Error(`nothing broken is called ${title}`);
  return found.patches;
}

const noPower = await missingFor(powerMode);
const noDisk = await missingFor(diskMode);

describe.skipIf(noPower !== undefined)('power cuts', () => {
  it(
    'W2D R1 after the power was cut what was synced is there, and of the rest a prefix',
    async () => {
      const { violations, report } = await run(powerMode, { runs: POWER_RUNS });
      expect(violations).toEqual([]);
      expect(report.kills).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  const variants: readonly { title: string; patches: readonly Patch[] }[] = [
    {
      title: 'W2D a manifest that names slots which are not synced',
      patches: brokenLike('before the slots that it names are synced'),
    },
    {
      title: 'W2D what is acknowledged as synced and only written',
      patches: brokenLike('acknowledges as synced what is only written'),
    },
    {
      title: '23 names that are never synced',
      patches: [
        {
          file: 'src/fs/files.ts',
          find: '      this.#syncNow(directory);\n',
          replace: '      if (this.#supported.size < 0) this.#syncNow(directory);\n',
        },
      ],
    },
  ];
  for (const { title, patches } of variants) {
    it(
      `they show ${title}`,
      async () => {
        const { violations } = await run(powerMode, { runs: VARIANT_RUNS, patches });
        expect(violations).not.toEqual([]);
      },
      TIMEOUT_MS,
    );
  }
});

describe.skipIf(noDisk !== undefined)('calls that fail', () => {
  it(
    'W2D R1 a process says what it could not do, and keeps what it has acknowledged',
    async () => {
      const { violations, report } = await run(diskMode, { runs: DISK_RUNS });
      expect(violations).toEqual([]);
      expect(report.injections).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );
});

describe.skipIf(noPower !== undefined || noDisk !== undefined)('a disk that fills up', () => {
  const full = fullRunOf(testSeed());

  it(
    'W2D once there is space again work goes on, and nothing is lost',
    async () => {
      const { violations, report } = await run(diskMode, { run: full });
      expect(violations).toEqual([]);
      expect(report.runs).toBe(1);
    },
    TIMEOUT_MS,
  );

  it(
    'it shows I1 a round that fails and forgets what it has captured',
    async () => {
      const patches = brokenLike('forgets what a failed round has captured');
      const { violations } = await run(diskMode, { run: full, patches });
      expect(violations).not.toEqual([]);
    },
    TIMEOUT_MS,
  );
});

/** Files behind loop devices, as the machine sees them. */
function backingFiles(): string[] {
  return readdirSync('/sys/block').flatMap((name) => {
    const path = `/sys/block/${name}/loop/backing_file`;
    return existsSync(path) ? [readFileSync(path, 'utf8')] : [];
  });
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((done) => setTimeout(done, 10));
}

describe.skipIf(noPower !== undefined)('mounts of the harness', () => {
  it(
    'they are gone when the process that has made them is killed',
    async () => {
      const program = await bundleScenario('hold-mount');
      const env = { ...process.env };
      delete env['NODE_OPTIONS'];
      const child = spawn(process.execPath, [program], {
        env,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [line] = await new Promise<string[]>((resolve) => {
        createInterface({ input: child.stdout }).once('line', (text) => resolve([text]));
      });
      const { directory, path } = JSON.parse(line as string) as Record<
        'directory' | 'path',
        string
      >;
      const isHeld = (): boolean => backingFiles().some((file) => file.includes(directory));
      expect(readdirSync(path)).toContain('lost+found');
      expect(isHeld()).toBe(true);
      // Nobody else sees them.
      expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(directory);
      child.kill('SIGKILL');
      await until(() => !existsSync(directory) && !isHeld());
    },
    TIMEOUT_MS,
  );

  it('what a process has left whose shell was killed, too, goes with the next one', async () => {
    const left = join(tmpdir(), `weirpool-mounts-${NO_PID}-1-left`);
    mkdirSync(join(left, 'run-0', 'mount'), { recursive: true });
    const space = await MountSpace.open();
    await space.close();
    expect(existsSync(left)).toBe(false);
    expect(existsSync(space.directory)).toBe(false);
  });
});
