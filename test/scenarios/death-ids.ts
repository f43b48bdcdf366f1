/**
 * Ids over `kill -9`: a child process allocates and commits until it is killed, again and again in
 * the same directory. No id that it has told anybody comes back, and what it committed is there.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { BufferPool } from '../../src/pool/pool.ts';
import { check, checkEqual } from '../support/checks.ts';
import { WATCHDOG_ENV } from '../support/protocol.ts';
import { Random, testSeed } from '../support/seed.ts';
import { BLOB_BYTES, blobValue, filled } from './death-support.ts';

const LIVES = 5;
const OPTIONS = { frames: 4, blobBytes: BLOB_BYTES } as const;
/** More than the ids that one lease in the manifest covers, so that leases end in the middle. */
const BURST = 700;

async function child(directory: string): Promise<void> {
  const pool = await BufferPool.open(directory, OPTIONS);
  for (let n = 1; ; n++) {
    const id = pool.allocate();
    if (n % BURST !== 0) {
      writeSync(1, `allocated ${id}\n`);
      continue;
    }
    pool.writeBlob(id, filled(id % 251));
    writeSync(1, `committed ${id}\n`);
  }
}

function start(directory: string): ChildProcess {
  const { [WATCHDOG_ENV]: _, ...env } = process.env;
  const program = fileURLToPath(import.meta.url);
  return spawn(process.execPath, [program, 'child', directory], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** Lets a child live for so many lines: the ids that it told, in order. */
async function life(directory: string, lines: number) {
  const process = start(directory);
  const ended = once(process, 'exit');
  const seen = { told: [] as number[], committed: [] as number[] };
  const output = process.stdout;
  if (output === null) throw new Error('no output');
  let count = 0;
  for await (const line of createInterface({ input: output })) {
    const [word, id] = line.split(' ');
    seen.told.push(Number(id));
    if (word === 'committed') seen.committed.push(Number(id));
    if (++count === lines) process.kill('SIGKILL');
  }
  const [, signal] = (await ended) as [number | null, string | null];
  checkEqual(signal, 'SIGKILL', 'how the child ended');
  return seen;
}

async function main(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-ids-'));
  const random = new Random(testSeed());
  let last = 0;
  const committed: number[] = [];
  for (let n = 0; n < LIVES; n++) {
    const seen = await life(directory, 1 + random.int(3 * BURST));
    for (const id of seen.told) {
      check(id > last, `I4 id ${id} after ${last}: ids are never handed out again`);
      last = id;
    }
    committed.push(...seen.committed);
  }
  const pool = await BufferPool.open(directory, OPTIONS);
  check(pool.allocate() > last, 'I4 ids go on where the killed processes ended');
  const listed = pool.list();
  for (const id of committed) {
    check(listed.includes(id), `I6 blob ${id} was committed before the kill`);
    checkEqual(blobValue(pool, id), id % 251, `I6 bytes of blob ${id}`);
  }
  checkEqual(pool.verify().length, 0, 'I6 findings');
  await pool.close();
  rmSync(directory, { recursive: true });
  console.log(`${committed.length} committed, last id ${last}`);
}

if (process.argv[2] === 'child') await child(process.argv[3] as string);
else await main();
