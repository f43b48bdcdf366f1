/**
 * `weirpool dump`: everything, so that `weirpool load` makes the same of it.
 *
 * Threads:     the main thread.
 */
import type { Buffer } from 'node:buffer';
import { openReader, treeToRead, using } from '../open.ts';
import { encodeRecord, encodeTree, type Form } from '../records.ts';
import { type Session, showProgress } from '../session.ts';

export interface DumpOptions {
  readonly tree?: string;
  readonly frames?: number;
  readonly format?: Form;
  readonly null?: boolean;
}

export async function dumpCommand(
  session: Session,
  store: string,
  options: DumpOptions,
): Promise<number> {
  const { out, interrupt } = session;
  const form = options.null === true ? 'nul' : (options.format ?? 'ndjson');
  await using(await openReader(store, options), async (db) => {
    // Only this form can say to which tree a line belongs.
    const isWhole = form === 'ndjson' && options.tree === undefined;
    const names = isWhole ? db.trees() : [treeToRead(db, options.tree)];
    let done = 0;
    const look = { label: 'Dumping', unit: 'entries' };
    const read = () => ({ done, total: undefined });
    const progress = showProgress(session, look, read, { streams: true });
    try {
      for (const name of names) {
        if (isWhole) out.push(encodeTree(name));
        for (const [key, value] of db.tree(name).range() as Iterable<[Buffer, Buffer]>) {
          out.push(encodeRecord(form, key, value));
          done++;
          if (out.isFull) await out.drain();
          if (interrupt.isDue) await interrupt.look();
        }
      }
    } finally {
      progress.stop();
    }
    await out.drain();
  });
  return 0;
}
