/**
 * Question:    what does a miss cost when the operating system has the bytes?
 * Workload:    pin and unpin of a random blob that is not cached: eviction, read, checksum.
 * Working set: 256 blobs of 512 KiB (128 MiB, in the cache of the operating system) in 64 frames.
 * Warm-up:     150 ms for each case.
 * Baseline:    `read-sync`, a bare fs.readSync of 512 KiB from the same file into memory of the
 *              same size as the pool's frames; `copy-bytes` for the store in memory.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BufferPool, RESTART } from '../src/index.ts';
import { Random } from '../test/support/seed.ts';
import { type Measured, measureInTurns } from './support/measure.ts';
import { assertSum, medianRatio, quantity } from './support/numbers.ts';
import { Report, suiteOptions } from './support/report.ts';
import { readWord } from './support/workload.ts';

const FRAMES = 64;
const BLOBS = 256;
const BLOB_BYTES = 512 * 1024;

async function openFilled(directory: string, store: 'file' | 'memory'): Promise<BufferPool> {
  const pool = await BufferPool.open(directory, { frames: FRAMES, store });
  const bytes = new Uint8Array(BLOB_BYTES);
  const words = new Uint32Array(bytes.buffer);
  const filler = new Random(1);
  for (let word = 0; word < words.length; word++) words[word] = filler.uint32();
  for (let blob = 0; blob < BLOBS; blob++) {
    const id = pool.allocate();
    words[0] = id;
    pool.writeBlob(id, bytes);
  }
  return pool;
}

/** One miss at a time: the blob is chosen and checked outside of the measured part. */
function missCase(name: string, pool: BufferPool, random: Random): Measured {
  let id = 0;
  let found = 0;
  let misses = pool.stats().misses;
  return {
    name,
    operations: 1,
    before: () => {
      do id = 1 + random.int(BLOBS);
      while (pool.tryOptimistic(id, readWord, 0) !== RESTART);
    },
    batch: () => {
      const pin = pool.pin(id);
      found = pin.optimistic().u32[0] as number;
      pin.release();
    },
    after: () => {
      assertSum(name, found, id);
      misses++;
      assertSum(`${name}: misses`, pool.stats().misses, misses);
    },
  };
}

/** What a read of the bytes alone costs, into 64 targets in turn. */
function bareCase(name: string, random: Random, read: Read): Measured {
  const memory = new SharedArrayBuffer(FRAMES * BLOB_BYTES);
  const targets = Array.from(
    { length: FRAMES },
    (_, frame) => new Uint8Array(memory, frame * BLOB_BYTES, BLOB_BYTES),
  );
  let turn = 0;
  let blob = 0;
  return {
    name,
    operations: 1,
    before: () => {
      blob = random.int(BLOBS);
      turn = (turn + 1) % FRAMES;
    },
    batch: () => assertSum(name, read(targets[turn] as Uint8Array, blob), BLOB_BYTES),
  };
}

type Read = (target: Uint8Array, blob: number) => number;

const options = suiteOptions();
const report = new Report('miss', options);
const directory = mkdtempSync(join(tmpdir(), 'weirpool-bench-miss-'));
try {
  const onDisk = await openFilled(directory, 'file');
  const inMemory = await openFilled('bench', 'memory');
  const file = openSync(join(directory, 'blobs.dat'), 'r');
  const random = new Random(options.seed);
  const source = new Uint8Array(new SharedArrayBuffer(BLOBS * BLOB_BYTES)).fill(1);
  const figures = measureInTurns(
    [
      missCase('miss', onDisk, random),
      bareCase('read-sync', random, (target, blob) =>
        readSync(file, target, 0, BLOB_BYTES, blob * BLOB_BYTES),
      ),
      missCase('miss-memory', inMemory, random),
      bareCase('copy-bytes', random, (target, blob) => {
        target.set(source.subarray(blob * BLOB_BYTES, (blob + 1) * BLOB_BYTES));
        return target.length;
      }),
    ],
    options.seconds,
  );
  closeSync(file);
  await onDisk.close();
  await inMemory.close();
  const of = (name: string): readonly number[] => figures.get(name) ?? [];
  for (const [name, baseline] of [
    ['miss', 'read-sync'],
    ['miss-memory', 'copy-bytes'],
  ] as const) {
    report.time(baseline, quantity(of(baseline)));
    report.time(name, quantity(of(name)), {
      name: baseline,
      ratio: medianRatio(of(name), of(baseline)),
    });
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
report.finish();
