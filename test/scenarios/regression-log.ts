/**
 * Threads of a pool with a log.
 *
 * Cases: `start` (the journal cannot start, and the opener blocks until it has written).
 */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BufferPool } from '../../src/index.ts';
import { check, checkThrows } from '../support/checks.ts';
import { inDirectory, perform } from '../support/stage.ts';

const OPTIONS = {
  blobBytes: 4096,
  frames: 16,
  log: { ringBytes: 16384, bytesMax: 1 << 20 },
} as const;

// --- start ------------------------------------------------------------------------------------------

async function start(): Promise<void> {
  await inDirectory(async (directory) => {
    const pool = await BufferPool.open(directory, OPTIONS);
    // The workers are starting: whoever attaches now finds another data file than the opener's.
    const data = join(directory, 'blobs.dat');
    renameSync(data, `${data}.old`);
    writeFileSync(data, '');
    pool.change((op) => {
      op.create();
      op.seal(0);
      op.commit(new Uint8Array(0));
    });
    const error = checkThrows(
      () => pool.durableSync(undefined, 'synced'),
      'POISONED',
      'W2D what a thread is told that waits for a journal which cannot start',
    );
    check(/worker could not go on/.test(error.message), `W2D the reason: ${error.message}`);
    await pool.close().catch(() => undefined);
  });
}

await perform({ start }, {});
