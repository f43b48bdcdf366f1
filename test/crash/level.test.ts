/** A process that writes a level database is killed, again and again (test/scenarios/level-kill.ts). */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, it } from 'vitest';
import { historyName } from '../../src/level/database.ts';
import { WeirLevel } from '../../src/level/index.ts';
import { bundleScenario, type Patch } from '../support/scenario.ts';
import { Random, testSeed } from '../support/seed.ts';
import { temporaryDirectory } from '../support/variant.ts';

const KILLS = 4;
const LINES_MAX = 300;
const TIMEOUT_MS = 120_000;

/** Runs the program until it has said so many lines: the last number of each writer. */
async function runUntil(
  program: string,
  directory: string,
  lines: number,
): Promise<Map<string, number>> {
  const child = spawn(process.execPath, ['--enable-source-maps', program, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  const acknowledged = new Map<string, number>();
  let count = 0;
  // What is in the pipe when it is killed was acknowledged too.
  for await (const line of createInterface({ input: child.stdout })) {
    const [writer, n] = line.split(' ');
    acknowledged.set(writer as string, Number(n));
    if (++count === lines) child.kill('SIGKILL');
  }
  expect(await ended).toEqual([null, 'SIGKILL']);
  return acknowledged;
}

async function check(directory: string, acknowledged: ReadonlyMap<string, number>): Promise<void> {
  const store = { blobBytes: 65_536, frames: 512 };
  const db = new WeirLevel<string, string>(directory, { store, createIfMissing: false });
  await db.open();
  const found = new Map(await db.iterator().all());
  for (const [writer, least] of acknowledged) {
    const last = Number(found.get(`count/${writer}`));
    expect(last).toBeGreaterThanOrEqual(least);
    // Each batch is there whole, up to the last one.
    const mine = [...found.keys()].filter((key) => key.startsWith(`a/${writer}/`));
    expect(mine.length).toBe(last);
    for (let n = 1; n <= last; n++) expect(found.get(`a/${writer}/${n}`)).toBe(String(n));
    expect(await db.keys({ gte: `z/${writer}/`, lt: `z/${writer}0` }).all()).toEqual(
      [`z/${writer}/${last - 1}`, `z/${writer}/${last}`].slice(last < 2 ? 1 : 0).sort(),
    );
  }
  expect(db.store.tree(historyName('level')).count()).toBe(0);
  await db.close();
}

/** Some lives in one directory, each ended by a kill. */
async function play(patches: readonly Patch[]): Promise<void> {
  const random = Random.fork(testSeed(), 61);
  const program = await bundleScenario('level-kill', patches);
  const directory = join(temporaryDirectory('level-kill'), 'store');
  const acknowledged = new Map<string, number>();
  for (let kill = 0; kill < KILLS; kill++) {
    const more = await runUntil(program, directory, 1 + random.int(LINES_MAX));
    for (const [writer, n] of more) acknowledged.set(writer, n);
    await check(directory, acknowledged);
  }
  expect(acknowledged.size).toBeGreaterThan(0);
}

it(
  'R1 after a kill every acknowledged batch is there, whole, and no history is left',
  () => play([]),
  TIMEOUT_MS,
);

it(
  'and it is noticed when writes are acknowledged before the system has them',
  async () => {
    const patch = {
      file: 'src/level/settle.ts',
      find: "if (level === 'none' || seq === 0) return undefined;",
      replace: "if (level === 'none' || seq >= 0) return undefined;",
    };
    await expect(play([patch])).rejects.toThrow(/greater than or equal|to be|failed to open/);
  },
  TIMEOUT_MS,
);
