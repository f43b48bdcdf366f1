/**
 * A scripted workload for the log, on a file system that fails or loses power, and the check.
 *
 * Each run opens the log, checks what it gives, appends records of many sizes, syncs, takes
 * checkpoints and trims. The manifest is played by the history: its checkpoint seq and epoch are
 * durable at once. Checked at each reading: the records are those that were appended, in order,
 * without a gap; all that were acknowledged as synced are there; what was lost once never comes
 * back; and no seq is given twice.
 */
import type { FileSystem } from '../../../src/fs/file-system.ts';
import * as format from '../../../src/wal/format.ts';
import * as reader from '../../../src/wal/reader.ts';
import * as writer from '../../../src/wal/segment-writer.ts';
import {
  accessTo,
  kernels,
  payloadOf,
  RECORD_BYTES_MAX,
  SEGMENT_BYTES,
  STORE_ID,
} from './support.ts';

/** The product, or a variant of it. */
export interface LogModules {
  readonly LogReader: typeof reader.LogReader;
  readonly LogWriter: typeof writer.LogWriter;
  readonly LogSums: typeof format.LogSums;
  readonly encodeRecord: typeof format.encodeRecord;
}

export const PRODUCT: LogModules = { ...format, ...reader, ...writer };

interface Entry {
  readonly seq: number;
  readonly n: number;
}

/** What was appended and what was promised, over all runs. */
export class History {
  /** In log order, above the checkpoint seq or not; those that were lost are taken out. */
  entries: Entry[] = [];
  acknowledged = 0;
  checkpointSeq = 0;
  epoch = 0;
  issuedMax = 0;
  records = 0;
  readonly violations: string[] = [];

  clone(): History {
    const copy = new History();
    return Object.assign(copy, this, { entries: [...this.entries], violations: [] });
  }

  /** Compares what a reading gave. */
  check(found: readonly format.LogRecord[]): void {
    const expected = this.entries.filter(({ seq }) => seq > this.checkpointSeq);
    found.forEach(({ seq, owner, payload }, index) => {
      const entry = expected[index];
      const same = entry?.seq === seq && entry.n === owner;
      const bytes = Buffer.from(payloadOf(owner, payload.length)).equals(payload);
      if (!same || !bytes) this.violations.push(`record ${owner} at ${seq}, not ${entry?.seq}`);
    });
    const last = found.at(-1)?.seq ?? 0;
    const missing = expected.find(({ seq }) => seq <= this.acknowledged && seq > last);
    if (missing !== undefined) this.violations.push(`synced record ${missing.n} is missing`);
    const covered = this.entries.filter(({ seq }) => seq <= this.checkpointSeq);
    this.entries = [...covered, ...expected.slice(0, found.length)];
  }
}

/** Sizes of payloads by step: small ones, one that leaves a segment, some that fill several. */
const SIZES = [
  [0, 100],
  [3000],
  [40, 15_000, 8],
  [12_000],
  [],
  [700, 700],
  [9000],
  [16],
  [15_000],
  [64],
];

interface Run {
  readonly history: History;
  readonly log: writer.LogWriter;
  readonly died: () => boolean;
  readonly modules: LogModules;
  readonly sums: format.LogSums;
}

function isUnknown(error: unknown): boolean {
  return (error as { outcome?: string }).outcome === 'unknown';
}

/** Appends the records of a step in two views; again once if that failed. */
function append({ history, log, died, modules, sums }: Run, sizes: readonly number[]): void {
  let position = log.writtenSeq;
  const start = position;
  const seed = sums.seed(STORE_ID, history.epoch);
  const records = sizes.map((bytes) => {
    const n = ++history.records;
    const payload = payloadOf(n, bytes);
    const content = { kind: 1, owner: n, created: [], deleted: [n], payload };
    const record = modules.encodeRecord(sums, seed, content, position);
    position += record.length;
    if (position <= history.issuedMax) history.violations.push(`seq ${position} given again`);
    history.issuedMax = Math.max(history.issuedMax, position);
    history.entries.push({ seq: position, n });
    return record;
  });
  const bytes = Buffer.concat(records);
  const cut = Math.floor(bytes.length / 16) * 8;
  for (let attempt = 0; attempt < 3; attempt++) {
    const done = log.writtenSeq - start;
    const views = [bytes.subarray(done, Math.max(done, cut)), bytes.subarray(Math.max(done, cut))];
    try {
      log.append(views, log.writtenSeq);
      return;
    } catch (error) {
      if (died() || isUnknown(error) || attempt === 2) throw error;
    }
  }
}

function sync({ history, log }: Run): void {
  history.acknowledged = log.sync();
}

function steps(run: Run): void {
  const { history, log } = run;
  let mark = 0;
  SIZES.forEach((sizes, step) => {
    append(run, sizes);
    if (log.durableSeq > history.acknowledged) history.acknowledged = log.durableSeq;
    if (step % 3 !== 1) sync(run);
    if (step === 5) mark = log.durableSeq;
    if (step === 4) {
      history.checkpointSeq = log.durableSeq;
      log.trim(history.checkpointSeq);
    } else if (step === 8) {
      // A round that took long, and whose trim did not come.
      history.checkpointSeq = mark;
    }
    if (step % 4 === 1) log.prepareSpare();
  });
}

export interface RunOptions {
  readonly modules?: LogModules;
  /** Whether the process has died: nothing more happens then. */
  readonly died?: () => boolean;
  readonly close?: boolean;
  /** Opens and checks only. */
  readonly openOnly?: boolean;
}

/** Opens the log, checks it, and goes on writing as far as that goes. */
export function runLog(fs: FileSystem, history: History, options: RunOptions = {}): void {
  const { modules = PRODUCT, died = () => false, close = false, openOnly = false } = options;
  const access = accessTo(fs);
  const sums = new modules.LogSums(kernels);
  const { checkpointSeq } = history;
  history.epoch++;
  try {
    const source = { access, sums, storeId: STORE_ID, checkpointSeq };
    const log = new modules.LogReader(source);
    const found = [...log.records()];
    history.check(found);
    const { epoch } = history;
    const sizes = { segmentBytes: SEGMENT_BYTES, recordBytesMax: RECORD_BYTES_MAX };
    const parts = { access, sums, storeId: STORE_ID, epoch, ...sizes };
    const opened = modules.LogWriter.open(parts, log.end, checkpointSeq);
    history.acknowledged = Math.max(history.acknowledged, found.at(-1)?.seq ?? 0);
    const run = { history, log: opened, died, modules, sums };
    if (openOnly) opened.abandon();
    else if (close) {
      steps(run);
      history.acknowledged = opened.close();
    } else steps(run);
  } catch (error) {
    const { code } = error as { code?: string };
    if (died()) return;
    if (code !== 'STORE_IO') history.violations.push(`${(error as Error).stack}`);
  }
}
