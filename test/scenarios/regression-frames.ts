/**
 * Frames at the edges: `chain` (more blobs in one chain of the page table than a look-up without a
 * lock follows), `arena` (the frame that ends where a full arena of 4 GiB ends), `list` (a listing
 * beside a thread that commits without a pause).
 */
import { CONTROL_FENCED_WASM, CONTROL_WASM, KERNELS_WASM } from '../../src/generated/assets.ts';
import { CHAIN_MAX, H_BUCKET_SHIFT } from '../../src/generated/layout.ts';
import type { BlobId } from '../../src/index.ts';
import { createPoolMemory, ThreadMemory } from '../../src/memory/pool-memory.ts';
import { compileModules } from '../../src/memory/wasm.ts';
import { check, checkEqual } from '../support/checks.ts';
import { Random, testSeed } from '../support/seed.ts';
import {
  type Actor,
  blobOf,
  enter,
  finale,
  idAt,
  openStage,
  perform,
  until,
} from '../support/stage.ts';

// --- chain ------------------------------------------------------------------------------------------

const GOLDEN = 0x9e37_79b9_7f4a_7c15n;
const BLOBS = CHAIN_MAX + 16;

async function chain(): Promise<void> {
  const stage = await openStage(import.meta.url, {
    blobs: 0,
    blobsMax: 1024,
    frames: BLOBS + 4,
    threads: 'inline',
  });
  const { pool, memory } = stage;
  const shift = BigInt(memory.load(H_BUCKET_SHIFT));
  const bucketOf = (id: BlobId): bigint => BigInt.asUintN(64, BigInt(id) * GOLDEN) >> shift;
  const ids: BlobId[] = [];
  while (ids.length < BLOBS) {
    const id = pool.allocate();
    if (bucketOf(id) === 5n) ids.push(id);
  }
  for (const id of ids) pool.writeBlob(id, blobOf(id, 1));
  for (const id of ids) pool.pin(id).release();
  checkEqual(pool.cachedCount(), BLOBS, 'I4 all of them are in frames');
  const ways: readonly ((id: BlobId) => number | undefined)[] = [
    (id) => pool.optimistic(id, ({ u32 }) => u32[0]),
    (id) => {
      using guard = pool.read(id);
      return guard.u32[0];
    },
    (id) => {
      using guard = pool.write(id);
      return guard.u32[0];
    },
    (id) => {
      pool.writeBlob(id, blobOf(id, 2));
      const bytes = new Uint8Array(pool.blobBytes);
      check(pool.copyCached(id, bytes), 'I4 it is still cached');
      checkEqual(new Uint32Array(bytes.buffer)[1], 2, 'I6 its image is the written one');
      return id;
    },
  ];
  for (const way of ways) {
    for (const id of ids) checkEqual(way(id), id, 'I4 whose bytes are seen');
  }
  const pins = ids.map((id) => pool.pin(id));
  checkEqual(pool.stats().loads, BLOBS, 'I4 each of them was loaded once');
  checkEqual(pool.stats().pinned, BLOBS, 'I1 all of them are pinned at once');
  for (const pin of pins) pin.release();
  checkEqual(pool.stats().pinned, 0, 'G1 every pin is given back');
  for (const id of ids) check(pool.evict(id), 'I1 each of them can be evicted');
  await finale(stage);
}

// --- arena ------------------------------------------------------------------------------------------

const LARGE_BYTES = 4 * 1024 * 1024;
const FRAMES_OF_ARENA = 2 ** 32 / LARGE_BYTES;

async function arena(): Promise<void> {
  const modules = compileModules({
    control: CONTROL_WASM,
    controlFenced: CONTROL_FENCED_WASM,
    kernels: KERNELS_WASM,
  });
  const plan = { frames: FRAMES_OF_ARENA, blobBytes: LARGE_BYTES, shards: 1 };
  const shared = createPoolMemory({ ...plan, blobsMax: 64, slotsMin: 0 }, modules);
  checkEqual(shared.arenas.length, 1, 'one arena');
  checkEqual(shared.arenas[0]?.buffer.byteLength, 2 ** 32, 'which is full');
  const memory = new ThreadMemory(shared);
  const last = FRAMES_OF_ARENA - 1;
  const { bytes } = memory.frame(last);
  const random = new Random(testSeed());
  random.fill(bytes.subarray(0, 4096));
  random.fill(bytes.subarray(LARGE_BYTES - 4096));
  memory.frame(0).bytes.set(bytes);
  const sum = memory.checksum(last, 1);
  checkEqual(sum, memory.checksum(0, 1), 'I6 the same bytes have the same checksum anywhere');
  check(sum !== memory.checksum(last, 2), 'I6 the checksum depends on the blob');
  for (const at of [0, 7, 64, LARGE_BYTES / 2, LARGE_BYTES - 64, LARGE_BYTES - 1]) {
    bytes[at] = (bytes[at] as number) ^ 1;
    check(memory.checksum(last, 1) !== sum, `I6 the checksum depends on byte ${at}`);
    bytes[at] = (bytes[at] as number) ^ 1;
  }
  checkEqual(memory.checksum(last, 1), sum, 'I6 the checksum of what is there again');
}

// --- list -------------------------------------------------------------------------------------------

const COMMITS = 0;
const DONE = 1;
const LISTINGS = 12;

function committer({ pool, cues, ids }: Actor): void {
  const id = idAt(ids);
  for (let value = 2; cues.get(DONE) === 0; value++) {
    pool.writeBlob(id, blobOf(id, value));
    cues.mark(COMMITS, value);
  }
}

async function list(): Promise<void> {
  // So many entries that a pass takes longer than a commit.
  const stage = await openStage(import.meta.url, { blobs: 3, blobsMax: 2 ** 17 });
  const { pool, cues, ids } = stage;
  enter(stage, 'committer');
  until(() => cues.get(COMMITS) > 0, 'the other thread commits');
  for (let n = 0; n < LISTINGS; n++) {
    checkEqual(pool.list().join(), ids.join(), 'I6 the blobs beside commits');
  }
  cues.set(DONE, 1);
  await finale(stage);
}

await perform({ chain, arena, list }, { committer });
