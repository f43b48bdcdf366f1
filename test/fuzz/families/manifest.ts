/**
 * The manifest: header, close block, records, with the sums as they are and with sums made anew.
 *
 * With the sums as they are, the state is one of those that were committed. With new ones it is within
 * its bounds: ids and slots are counts, no two blobs share a slot, roots are ids.
 */
import fc from 'fast-check';
import type { Checksummer } from '../../../src/memory/checksum.ts';
import { Checksummer as Sums } from '../../../src/memory/checksum.ts';
import {
  type ManifestContent,
  type ManifestPrefix,
  readManifest,
  readManifestPrefix,
  readManifestUnchecked,
} from '../../../src/store/manifest-reader.ts';
import type { StoreState } from '../../../src/store/store-state.ts';
import { kernels } from '../../unit/wal/support.ts';
import { type Mutation, mutated, mutations } from '../support/bytes.ts';
import { type Context, type Family, must, type Prepared } from '../support/family.ts';
import { golden, type Lived, lived } from '../support/images.ts';
import { type Fields, fieldsOfManifest, resealManifest } from '../support/reseal.ts';

export const MANIFEST_BYTES_FACTOR = 1;
export const MANIFEST_BYTES_BASE = 64 * 1024;

/** Three changes: four states; see test/unit/store/manifest.test.ts. */
const GOLDEN_BLOCKS = 7;

interface Base {
  readonly bytes: Uint8Array;
  readonly generation: number;
  readonly fields: Fields;
  readonly states: ReadonlySet<string>;
  readonly older: Uint8Array | undefined;
}

function show({ blobs, roots, nextBlobId, checkpointSeq, commitNumber }: StoreState): string {
  const byId = [...blobs.values()].sort((a, b) => a.id - b.id);
  const mapped = byId.map(({ id, slot, checksum }) => `${id}:${slot}:${checksum}`);
  const named = [...roots].sort(([a], [b]) => a - b);
  return [mapped, named, nextBlobId, checkpointSeq, commitNumber].join(' ');
}

/** States after each record: what is there when the file ends behind it. */
function statesOf(sums: Checksummer, bytes: Uint8Array, generation: number): Set<string> {
  const open = Uint8Array.from(bytes).fill(0, 4096, 8192);
  const states = new Set<string>();
  for (let end = 3 * 4096; end <= bytes.length; end += 4096) {
    const file = { path: 'manifest', generation, bytes: open.subarray(0, end) };
    states.add(show(readManifest(sums, file).state));
  }
  return states;
}

function baseOf(
  sums: Checksummer,
  bytes: Uint8Array,
  generation: number,
  older?: Uint8Array,
): Base {
  const copy = Uint8Array.from(bytes);
  resealManifest(sums, copy);
  must(Buffer.compare(copy, bytes) === 0, 'the manifest is not sealed as it is written');
  const fields = fieldsOfManifest(bytes);
  return { bytes, generation, fields, states: statesOf(sums, bytes, generation), older };
}

function fromStore(sums: Checksummer, { image, older }: Lived): Base {
  const name = [...image.keys()].filter((one) => one.startsWith('manifest-')).at(-1) as string;
  const bytes = image.get(name) as Uint8Array;
  return baseOf(sums, bytes, Number(name.slice('manifest-'.length)), older.get(name));
}

interface Case {
  readonly base: number;
  readonly list: readonly Mutation[];
  readonly sealed: boolean;
  readonly way: 'checked' | 'unchecked' | 'prefix';
}

const cases: fc.Arbitrary<Case> = fc.record({
  base: fc.nat(2),
  list: mutations,
  sealed: fc.boolean(),
  way: fc.constantFrom('checked', 'unchecked', 'prefix'),
});

const isCount = (value: number, min: number): boolean =>
  Number.isSafeInteger(value) && value >= min;

function assertBounds({ state, logEnd }: ManifestContent, { length }: Uint8Array): void {
  must(logEnd <= length, 'the last record ends behind the file');
  must(state.blobs.size * 24 <= length, 'more blobs than the file has room for');
  for (const { id, slot } of state.blobs.values()) {
    must(isCount(id, 1) && isCount(slot, 0), `blob ${id} in slot ${slot}`);
  }
  for (const [owner, id] of state.roots) {
    must(isCount(owner, 0) && isCount(id, 1), `root ${id} of owner ${owner}`);
  }
  const numbers = [state.nextBlobId, state.checkpointSeq, state.commitNumber, state.epoch];
  must(
    numbers.every((value) => isCount(value, 0)),
    `numbers ${numbers}`,
  );
}

export const manifest: Family<Case> = {
  name: 'manifest',
  async prepare(context: Context): Promise<Prepared<Case>> {
    const sums = new Sums(kernels, 64 * 1024);
    const all = [
      baseOf(sums, golden('manifest-v1', GOLDEN_BLOCKS * 4096), 3),
      fromStore(sums, await lived('closed')),
      fromStore(sums, await lived('killed')),
    ];
    const check = ({ base: index, list, sealed, way }: Case): void => {
      const base = all[index] as Base;
      const bytes = mutated(base.bytes, list, base);
      if (sealed) resealManifest(sums, bytes);
      const file = { path: 'manifest', generation: base.generation, bytes };
      const bytesMax = MANIFEST_BYTES_BASE + MANIFEST_BYTES_FACTOR * bytes.length;
      const kind = sealed ? 'sealed' : 'raw';
      const prefix = context.runSync(`${kind} manifest`, { bytesMax }, (): ManifestPrefix => {
        if (way === 'prefix') return readManifestPrefix(sums, file);
        const read = way === 'checked' ? readManifest : readManifestUnchecked;
        return { content: read(sums, file), problem: undefined };
      });
      if (prefix === undefined) return;
      const { content } = prefix;
      assertBounds(content, bytes);
      must(way !== 'checked' || content.state.sharedSlot() === undefined, 'a slot is shared');
      if (!sealed) must(base.states.has(show(content.state)), 'a state that never was');
    };
    const wanted = [
      'raw manifest ok',
      'raw manifest MANIFEST_CORRUPT',
      'sealed manifest ok',
      'sealed manifest MANIFEST_CORRUPT',
      'sealed manifest FORMAT_UNSUPPORTED',
    ];
    return { cases, check, wanted };
  },
};
