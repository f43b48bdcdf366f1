/** Waits for durability beside the real journal: none may end before its record is as safe as it says. */
import { expect, it, onTestFinished } from 'vitest';
import { Weirpool } from '../../../src/index.ts';
import { temporaryDirectory } from '../../support/variant.ts';

const CHANGES = 200;

it.each(['written', 'synced'] as const)(
  'W2D a promise of a record that is %s resolves once its last byte is',
  async (level) => {
    const db = await Weirpool.open(temporaryDirectory('acknowledge'), {
      frames: 64,
      blobBytes: 65_536,
      log: { ringBytes: 2 ** 18 },
    });
    onTestFinished(() => db.close());
    const tree = db.tree('t', { key: 'utf8', value: 'utf8' });
    let early = 0;
    for (let n = 0; n < CHANGES; n++) {
      const seq = tree.put(`key ${n}`, 'v');
      await db.durable(seq, level);
      const { writtenSeq = 0, durableSeq = 0 } = db.stats().log ?? {};
      if ((level === 'synced' ? durableSeq : writtenSeq) < seq) early++;
    }
    expect(early).toBe(0);
  },
);
