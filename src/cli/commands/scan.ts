/**
 * `weirpool scan`: the entries of a range, one to a line.
 *
 * Threads:     the main thread.
 */
import type { Buffer } from 'node:buffer';
import { openReader, treeToRead, using } from '../open.ts';
import { boundsOf, type RangeArguments } from '../range.ts';
import { encodeRecord, type Form } from '../records.ts';
import { type Session, showProgress } from '../session.ts';

export interface ScanOptions extends RangeArguments {
  readonly tree?: string;
  readonly frames?: number;
  readonly limit?: number;
  readonly reverse?: boolean;
  readonly keys?: boolean;
  readonly json?: boolean;
  readonly null?: boolean;
}

function formOf({ json, null: nul }: ScanOptions): Form {
  if (json === true) return 'ndjson';
  return nul === true ? 'nul' : 'tsv';
}

export async function scanCommand(
  session: Session,
  store: string,
  options: ScanOptions,
): Promise<number> {
  const { out, interrupt } = session;
  const { limit, reverse = false, keys = false } = options;
  const range = { ...boundsOf(options), reverse, ...(limit === undefined ? {} : { limit }) };
  const form = formOf(options);
  await using(await openReader(store, options), async (db) => {
    const tree = db.tree(treeToRead(db, options.tree));
    let done = 0;
    const look = { label: 'Scanning', unit: 'entries' };
    const read = () => ({ done, total: undefined });
    const progress = showProgress(session, look, read, { streams: true });
    try {
      const entries = keys
        ? (tree.keys(range) as Iterable<Buffer>)
        : (tree.range(range) as Iterable<[Buffer, Buffer]>);
      for (const entry of entries) {
        const [key, value] = Array.isArray(entry) ? entry : [entry, undefined];
        out.push(encodeRecord(form, key, value));
        done++;
        if (out.isFull) await out.drain();
        if (interrupt.isDue) await interrupt.look();
      }
    } finally {
      progress.stop();
    }
    await out.drain();
  });
  return 0;
}
