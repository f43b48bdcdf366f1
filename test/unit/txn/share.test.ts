/** The frames that a mini-transaction may have, while the pool's own threads come and go. */
import { afterEach, expect, it } from 'vitest';
import { H_CHECKPOINTER, H_JOURNAL, H_LOADER } from '../../../src/generated/layout.ts';
import { BufferPool } from '../../../src/index.ts';
import { ThreadMemory } from '../../../src/memory/pool-memory.ts';
import { temporaryDirectory } from '../../support/variant.ts';

const FRAMES = 12;
/** The opener is the only thread that uses the pool. */
const SHARE = FRAMES / 2;

let opened: BufferPool | undefined;

afterEach(async () => {
  await opened?.close();
  opened = undefined;
});

function createMany(pool: BufferPool, count: number): number {
  return pool.change((op) => {
    for (let n = 0; n < count; n++) op.create();
    return op.commit(new Uint8Array(0));
  });
}

it.each([H_JOURNAL, H_CHECKPOINTER])(
  'D1 a service thread that has come in and not said so yet takes no share of the frames (word %i)',
  async (word) => {
    const options = { frames: FRAMES, blobBytes: 4096, log: { ringBytes: 16_384 } };
    opened = await BufferPool.open(temporaryDirectory('share'), options);
    const memory = new ThreadMemory(opened.handle.memory);
    const isIn = (): boolean => memory.load(H_JOURNAL) !== 0 && memory.load(H_CHECKPOINTER) !== 0;
    while (!isIn()) await new Promise((done) => setTimeout(done, 1));
    const said = memory.load(word);
    memory.store(word, 0);
    try {
      expect(createMany(opened, SHARE)).toBeGreaterThan(0);
      expect(() => createMany(opened as BufferPool, SHARE + 1)).toThrow(
        expect.objectContaining({ code: 'OP_TOO_LARGE' }),
      );
    } finally {
      memory.store(word, said);
    }
  },
);

it('D1 a loader that is starting takes no share of the frames', async () => {
  const options = { frames: FRAMES, blobBytes: 4096, log: { ringBytes: 16_384 } };
  opened = await BufferPool.open(temporaryDirectory('share'), options);
  const memory = new ThreadMemory(opened.handle.memory);
  expect(memory.load(H_LOADER)).toBe(0);
  const prefetched = opened.prefetch([1]);
  // From here on it may attach at any time.
  expect(memory.load(H_LOADER)).not.toBe(0);
  await prefetched;
  expect(createMany(opened, SHARE)).toBeGreaterThan(0);
});
