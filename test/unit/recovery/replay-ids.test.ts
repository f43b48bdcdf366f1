/** A replay makes and deletes exactly the blobs that its record names, or nothing is opened. */
import { expect, it } from 'vitest';
import { BufferPool } from '../../../src/pool/pool.ts';
import type { Owner } from '../../../src/recovery/replay.ts';
import { change, killed, LOGGED, openLogged, type Step } from '../pool/logged.ts';
import { blobValue, filled, rejectionOf, temporaryDirectory } from '../pool/support.ts';

type Replay = Owner['replay'];

/** A store whose log does `steps` after blobs 1 and 2 are in the store, and a bulk load waits. */
async function crashed(steps: (range: { first: number; last: number }) => Step[]) {
  const directory = temporaryDirectory();
  const pool = await openLogged(directory);
  change(pool, [{ create: 1 }, { create: 2 }]);
  await pool.checkpoint();
  const bulk = pool.bulkLoad(2);
  await bulk.add(filled(3));
  await bulk.add(filled(4));
  const range = await bulk.commit();
  change(pool, steps(range));
  pool.durableSync();
  return { copy: killed(directory), range };
}

const nothing: Replay = () => undefined;
const createsOne: Replay = (_, op) => void op.create();
const createsThree: Replay = (_, op) => {
  for (let n = 0; n < 3; n++) op.create();
};
const deletes =
  (id: number): Replay =>
  (_, op) =>
    void op.delete(id);
const adopts =
  (first: number): Replay =>
  ({ created }, op) =>
    op.adopt({ first: first || (created[0] as number), last: 99 });
const sealsFirst: Replay = (_, op) => op.seal();

it.each<[string, (range: { first: number; last: number }) => Step[], Replay]>([
  ['creates nothing', () => [{ create: 5 }, { create: 6 }], nothing],
  ['creates fewer', () => [{ create: 5 }, { create: 6 }], createsOne],
  ['creates more', () => [{ create: 5 }, { create: 6 }], createsThree],
  ['creates fewer and has sealed', () => [{ create: 5 }], sealsFirst],
  ['deletes nothing', () => [{ delete: 1 }], nothing],
  ['deletes another one', () => [{ delete: 1 }], deletes(2)],
  ['deletes what the record does not', () => [{ put: 1, value: 9 }], deletes(1)],
  ['adopts nothing', (range) => [{ adopt: range }], nothing],
  ['adopts what was created', () => [{ create: 5 }], adopts(0)],
  ['adopts what the record does not', () => [{ create: 5 }], adopts(1)],
])('R1 a replay that %s is refused, and the store stays as it is', async (_, steps, replay) => {
  const { copy } = await crashed(steps);
  const wrong = BufferPool.open(copy, { ...LOGGED, owners: { 0: { replay } } });
  const { code } = await rejectionOf(wrong);
  expect(['REPLAY_FAILED', 'BLOB_NOT_FOUND']).toContain(code);
  const right = await openLogged(copy);
  const kept = right.list().map((id) => blobValue(right, id));
  const expected = await openLogged(killed(copy));
  expect(expected.list().map((id) => blobValue(expected, id))).toEqual(kept);
});

it('R1 a replay that creates a blob where its record adopts one is refused', async () => {
  const { copy } = await crashed((range) => [{ adopt: range }]);
  const wrong = BufferPool.open(copy, { ...LOGGED, owners: { 0: { replay: createsOne } } });
  expect(await rejectionOf(wrong)).toMatchObject({ code: 'REPLAY_FAILED' });
  const right = await openLogged(copy);
  expect(right.list().map((id) => blobValue(right, id))).toEqual([1, 2, 3, 4]);
});
