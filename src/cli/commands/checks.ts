/**
 * `weirpool verify` and `checkpoint`: is it sound, and make it short to open.
 *
 * Threads:     the main thread.
 */
import { type VerifyProgress, type VerifyReport, verify } from '../../index.ts';
import { EXIT_FAILED } from '../failure.ts';
import { assertStore, openWriter, using } from '../open.ts';
import { type Session, showProgress, tell } from '../session.ts';
import { counted, durationText, sizeText, visible } from '../text.ts';

async function watchedVerify(session: Session, store: string): Promise<VerifyReport> {
  let now: VerifyProgress = { phase: 'blobs', done: 0, total: 0 };
  const progress = showProgress(session, { label: 'Checking', unit: 'parts' }, () => ({
    done: now.done,
    total: now.total === 0 ? undefined : now.total,
    detail: now.phase,
  }));
  try {
    const { signal } = session.interrupt;
    const onProgress = (next: VerifyProgress): void => {
      now = next;
    };
    return await verify(store, { onProgress, signal });
  } finally {
    progress.stop();
  }
}

export async function verifyCommand(
  session: Session,
  store: string,
  options: { readonly json?: boolean },
): Promise<number> {
  assertStore(store);
  const startedAt = performance.now();
  const report = await watchedVerify(session, store);
  const { out } = session;
  const { findings, blobs, logRecords } = report;
  if (options.json === true) {
    const text = JSON.stringify(report, (_, value) =>
      typeof value === 'bigint' ? `${value}` : value,
    );
    out.line(text);
  } else {
    for (const { code, message } of findings) out.line(visible(`${code}: ${message}`));
    const found =
      findings.length === 0 ? 'Nothing is damaged' : counted(findings.length, 'finding');
    const looked = `${counted(blobs, 'blob')} and ${counted(logRecords, 'record')} of the log`;
    const seconds = durationText((performance.now() - startedAt) / 1000);
    out.line(`${found}: ${looked} checked in ${seconds}`);
  }
  await out.drain();
  if (findings.length === 0) return 0;
  tell(
    'weirpool: the store is damaged. Restore it from a backup, or save what can be read with\n  `weirpool salvage`.',
  );
  return EXIT_FAILED;
}

export async function checkpointCommand(
  { out }: Session,
  store: string,
  options: { readonly frames?: number; readonly json?: boolean },
): Promise<number> {
  const { frames } = options;
  const startedAt = performance.now();
  const done = await using(await openWriter(store, { frames, create: false }), async (db) => {
    const report = await db.checkpoint();
    const { log, store: used } = db.stats();
    return { ...report, logBytes: log?.diskBytes ?? 0, dataBytes: used.dataBytes };
  });
  const seconds = (performance.now() - startedAt) / 1000;
  if (options.json === true) out.line(JSON.stringify({ ...done, seconds }));
  else {
    out.line(
      `${counted(done.frames, 'blob')} written, ${counted(done.deletes, 'blob')} deleted in ` +
        `${durationText(seconds)}; log ${sizeText(done.logBytes)}, data ${sizeText(done.dataBytes)}`,
    );
  }
  await out.drain();
  return 0;
}
