/**
 * Question:    what do the two kernels cost that touch a whole frame?
 * Workload:    copy of one 512 KiB frame to another, and the checksum of one.
 * Working set: `-near`: always the same two frames (1 MiB); otherwise random frames of 64 (32 MiB).
 * Warm-up:     150 ms for each case.
 * Baseline:    `buffer-copy`, Buffer.copy of the same bytes; `zlib-crc32`, what Node has built in.
 */
import { crc32 } from 'node:zlib';
import { CONTROL_FENCED_WASM, CONTROL_WASM, KERNELS_WASM } from '../src/generated/assets.ts';
import { createPoolMemory, ThreadMemory } from '../src/memory/pool-memory.ts';
import { compileModules } from '../src/memory/wasm.ts';
import { Random } from '../test/support/seed.ts';
import { type Measured, measureInTurns } from './support/measure.ts';
import { assertSum, medianRatio, quantity } from './support/numbers.ts';
import { Report, suiteOptions } from './support/report.ts';

const FRAMES = 64;
const BLOB_BYTES = 512 * 1024;
const OPERATIONS = 50;
const NEAR: readonly number[] = [0, 1];

function makeMemory(random: Random): ThreadMemory {
  const modules = compileModules({
    control: CONTROL_WASM,
    controlFenced: CONTROL_FENCED_WASM,
    kernels: KERNELS_WASM,
  });
  const plan = { frames: FRAMES, blobBytes: BLOB_BYTES, shards: 1, blobsMax: FRAMES, slotsMin: 0 };
  const memory = new ThreadMemory(createPoolMemory(plan, modules));
  for (let frame = 0; frame < FRAMES; frame++) {
    const { u32 } = memory.frame(frame);
    for (let word = 0; word < u32.length; word++) u32[word] = random.uint32();
  }
  return memory;
}

/** A copy is right if the first and the last word have come over. */
function copyCase(name: string, frames: readonly number[], memory: ThreadMemory, copy: Copy) {
  const last = BLOB_BYTES / Uint32Array.BYTES_PER_ELEMENT - 1;
  let mark = 0;
  return {
    name,
    operations: OPERATIONS,
    batch: () => {
      for (let i = 0; i < OPERATIONS; i++) {
        const from = frames[(2 * i) % frames.length] as number;
        const to = frames[(2 * i + 1) % frames.length] as number;
        mark = (mark + 1) >>> 0;
        const source = memory.frame(from).u32;
        source[0] = mark;
        source[last] = mark;
        copy(to, from);
        const target = memory.frame(to).u32;
        assertSum(name, (target[0] as number) + (target[last] as number), 2 * mark);
      }
    },
  } satisfies Measured;
}

type Copy = (to: number, from: number) => void;

/** Sums what a function says about each frame, and compares with what it said at first. */
function sumCase(
  name: string,
  frames: readonly number[],
  sum: (frame: number) => number,
): Measured {
  let expected: number | undefined;
  const batch = (): void => {
    let total = 0;
    for (let i = 0; i < OPERATIONS; i++) total += sum(frames[i % frames.length] as number);
    expected ??= total;
    assertSum(name, total, expected);
  };
  return { name, operations: OPERATIONS, batch };
}

const options = suiteOptions();
const report = new Report('copy', options);
const random = new Random(options.seed);
const copied = makeMemory(random);
const summed = makeMemory(random);
const frames = random.shuffled(Array.from({ length: FRAMES }, (_, frame) => frame));
const buffers = frames.map((_, frame) =>
  Buffer.from(copied.frame(frame).bytes.buffer, frame * BLOB_BYTES, BLOB_BYTES),
);
const bytes = frames.map((_, frame) => summed.frame(frame).bytes);

const byKernel: Copy = (to, from) => copied.copy(to, from);
const byBuffer: Copy = (to, from) => {
  (buffers[from] as Buffer).copy(buffers[to] as Buffer);
};
const low = (sum: bigint): number => Number(sum & 0xffff_ffffn);
const checksum = (frame: number): number => low(summed.checksum(frame, 1));
const crc = (frame: number): number => crc32(bytes[frame] as Uint8Array);

const cases: Measured[] = [
  sumCase('empty-loop', frames, (frame) => frame),
  copyCase('copy', frames, copied, byKernel),
  copyCase('buffer-copy', frames, copied, byBuffer),
  copyCase('copy-near', NEAR, copied, byKernel),
  copyCase('buffer-copy-near', NEAR, copied, byBuffer),
  sumCase('checksum', frames, checksum),
  sumCase('zlib-crc32', frames, crc),
  sumCase('checksum-near', NEAR, checksum),
  sumCase('zlib-crc32-near', NEAR, crc),
];
const BASELINES: Readonly<Record<string, string>> = {
  copy: 'buffer-copy',
  'copy-near': 'buffer-copy-near',
  checksum: 'zlib-crc32',
  'checksum-near': 'zlib-crc32-near',
};
const figures = measureInTurns(cases, options.seconds);
for (const [name, own] of figures) {
  const baseline = BASELINES[name];
  const other = baseline === undefined ? undefined : figures.get(baseline);
  if (baseline === undefined || other === undefined) report.time(name, quantity(own));
  else report.time(name, quantity(own), { name: baseline, ratio: medianRatio(own, other) });
}
report.finish();
