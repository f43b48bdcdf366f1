/**
 * Races and leaks of store slots.
 *
 * Cases: `read` (a slot is handed out while somebody reads it), `returned` (a slot whose write
 * failed is used again), `skipped` (a slot that was being read is never used again), `mapping` (a
 * thread keeps a mapping of its own), `corrupt` (a bit flips in the file), `cycles` (slots leak on
 * delete, the manifest is rewritten).
 */
import { openSync, readdirSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { check, checkEqual, checkThrows } from '../support/checks.ts';
import { GATE } from '../support/gated-store.ts';
import {
  type Actor,
  BLOB_BYTES,
  blobOf,
  closeReads,
  enter,
  finale,
  idAt,
  inDirectory,
  openGate,
  openStage,
  perform,
  until,
} from '../support/stage.ts';

const STEP = 0;
const SEEN = 1;

// --- read, skipped: a verification reads without a frame ------------------------------------------

function verifier({ pool, cues }: Actor): void {
  for (let round = 1; ; round++) {
    cues.await(STEP, round, 'the next round');
    if (cues.get(STEP) > 1000) return;
    const findings = pool.verify();
    checkEqual(findings.length, 0, `I6 what a verification finds: ${findings[0]?.message}`);
    cues.add(SEEN);
  }
}

async function readCase(): Promise<void> {
  const stage = await openStage(import.meta.url, { store: 'gated', blobs: 2 });
  const { pool, cues, ids, gate } = stage;
  closeReads(stage, 1);
  Atomics.store(gate, GATE.patienceMs, 8000);
  enter(stage, 'verifier');
  cues.set(STEP, 1);
  until(() => Atomics.load(gate, GATE.readsAtGate) === 1, 'half of the first blob is read');
  // Its slot is free from here on, and the next write would take the lowest free slot.
  for (const value of [2, 3]) {
    for (const id of ids) pool.writeBlob(id, blobOf(id, value));
  }
  openGate(stage, GATE.readGate);
  cues.await(SEEN, 1, 'the verification is through');
  cues.set(STEP, 2000);
  await finale(stage);
}

const SKIPS = 12;

async function skippedCase(): Promise<void> {
  const stage = await openStage(import.meta.url, { store: 'gated', blobs: 4 });
  const { pool, cues, ids, gate } = stage;
  Atomics.store(gate, GATE.patienceMs, 8000);
  enter(stage, 'verifier');
  for (let round = 1; round <= SKIPS; round++) {
    closeReads(stage, 1);
    cues.set(STEP, round);
    until(() => Atomics.load(gate, GATE.readsAtGate) === 1, 'a slot is being read');
    for (const id of ids) pool.writeBlob(id, blobOf(id, round));
    openGate(stage, GATE.readGate);
    cues.await(SEEN, round, 'the verification is through');
    for (const id of ids) pool.writeBlob(id, blobOf(id, round));
  }
  // Four blobs, one being written, one that was being read; and one to spare.
  check(
    Atomics.load(gate, GATE.maxSlot) < ids.length + 3,
    `slots of ${ids.length} blobs reach up to ${Atomics.load(gate, GATE.maxSlot)}`,
  );
  cues.set(STEP, 2000);
  await finale(stage);
}

// --- returned ---------------------------------------------------------------------------------------

async function returnedCase(): Promise<void> {
  const stage = await openStage(import.meta.url, { store: 'gated', blobs: 2 });
  const { pool, ids, gate } = stage;
  const id = idAt(ids);
  Atomics.store(gate, GATE.writesFail, 1);
  checkThrows(() => pool.writeBlob(id, blobOf(id, 2)), 'STORE_IO', 'the write that fails');
  const failed = Atomics.load(gate, GATE.lastSlot);
  for (let n = 0; n < 8; n++) {
    pool.writeBlob(id, blobOf(id, 3));
    const slot = Atomics.load(gate, GATE.lastSlot);
    check(slot !== failed, 'I6 the slot of a failed write is not used again');
  }
  await finale(stage);
}

// --- mapping ----------------------------------------------------------------------------------------

function follower({ pool, cues, ids }: Actor): void {
  const id = idAt(ids);
  for (let value = 1; value <= 4; value++) {
    cues.await(STEP, value, 'the next value is written');
    const target = new Uint8Array(BLOB_BYTES);
    pool.readInto(id, target);
    checkEqual(new Uint32Array(target.buffer)[1], value, 'I6 what another thread has committed');
    check(pool.evict(id), 'the blob can be evicted');
    cues.set(SEEN, value);
  }
}

async function mappingCase(): Promise<void> {
  const stage = await openStage(import.meta.url, { blobs: 2 });
  const { pool, cues, ids } = stage;
  const id = idAt(ids);
  enter(stage, 'follower');
  for (let value = 1; value <= 4; value++) {
    pool.writeBlob(id, blobOf(id, value));
    cues.set(STEP, value);
    cues.await(SEEN, value, 'the other thread has read it');
  }
  await finale(stage);
}

// --- corrupt ----------------------------------------------------------------------------------------

function flip(path: string, position: number): void {
  const fd = openSync(path, 'r+');
  const byte = new Uint8Array(1);
  readSync(fd, byte, 0, 1, position);
  byte[0] = (byte[0] as number) ^ 0x10;
  writeSync(fd, byte, 0, 1, position);
}

async function corruptCase(): Promise<void> {
  await inDirectory(async (directory) => {
    const stage = await openStage(import.meta.url, { store: 'file', blobs: 3, directory });
    const { pool, ids } = stage;
    const id = idAt(ids, 1);
    // Slots are taken from the first one on: the second blob is in slot 1.
    flip(join(directory, 'blobs.dat'), BLOB_BYTES + 3000);
    const { free } = pool.stats();
    for (const way of [() => pool.pin(id), () => pool.read(id), () => pool.write(id)]) {
      const error = checkThrows(way, 'BLOB_CORRUPT', 'a blob with a wrong byte');
      const { details } = error as Error & { details: Record<string, number> };
      checkEqual(details['id'], id, 'the id in the error');
      checkEqual(details['slot'], 1, 'the slot in the error');
      checkEqual(details['offset'], BLOB_BYTES, 'the offset in the error');
    }
    checkEqual(pool.stats().free, free, 'free frames after failed reads');
    checkEqual(pool.verify().length, 1, 'findings of a verification');
    for (const other of [idAt(ids, 0), idAt(ids, 2)]) pool.read(other).release();
    await finale(stage);
  });
}

// --- cycles -----------------------------------------------------------------------------------------

const LIVE = 100;
const CYCLES = 150;
/** Manifest bytes that one commit of one blob may take: one block. */
const COMMIT_BYTES_MAX = 4096;
/** The file's bound (1 MiB), a snapshot and the first blocks. */
const MANIFEST_BYTES_MAX = 1024 * 1024 + 64 * 1024;

function manifests(directory: string): string {
  return readdirSync(directory)
    .filter((name) => name.startsWith('manifest-'))
    .join(' ');
}

async function cyclesCase(): Promise<void> {
  await inDirectory(async (directory) => {
    const options = { store: 'file', blobs: LIVE, directory, blobsMax: 1024 } as const;
    const stage = await openStage(import.meta.url, options);
    const { pool } = stage;
    const file = manifests(directory);
    const before = pool.stats().store;
    const recent: number[] = [];
    for (let cycle = 0; cycle < CYCLES; cycle++) {
      const id = pool.allocate();
      pool.writeBlob(id, blobOf(id, 1));
      if (cycle % 2 === 0) pool.writeBlob(id, blobOf(id, 2));
      if (cycle % 3 === 0) pool.pin(id).release();
      recent.push(id);
      if (recent.length > 2) check(pool.deleteBlob(recent.shift() as number), 'it was there');
      if (cycle === 20) checkEqual(manifests(directory), file, 'manifest files after 50 commits');
      if (cycle === 20) {
        const { commits, manifestBytes } = pool.stats().store;
        const grown = manifestBytes - before.manifestBytes;
        check(
          grown <= (commits - before.commits) * COMMIT_BYTES_MAX,
          `a commit takes ${grown / (commits - before.commits)} bytes of the manifest`,
        );
      }
    }
    for (const id of recent) pool.deleteBlob(id);
    const { blobs, slotsUsed, dataBytes, manifestBytes } = pool.stats().store;
    checkEqual(blobs, LIVE, 'blobs');
    checkEqual(slotsUsed, LIVE, 'slots in use');
    check(dataBytes <= (LIVE + 4) * BLOB_BYTES, `the data file has ${dataBytes} bytes`);
    check(manifestBytes <= MANIFEST_BYTES_MAX, `the manifest has ${manifestBytes} bytes`);
    check(manifests(directory) !== file, 'the manifest has begun a new generation by now');
    checkEqual(manifests(directory).split(' ').length, 1, 'manifest files');
    await finale(stage);
  });
}

await perform(
  {
    read: readCase,
    skipped: skippedCase,
    returned: returnedCase,
    mapping: mappingCase,
    corrupt: corruptCase,
    cycles: cyclesCase,
  },
  { verifier, follower },
);
