/**
 * Log records of trees: docs/format.md, "Records of trees".
 *
 * Owns:        the payload format, version TREE_RECORD_VERSION.
 * Threads:     any.
 */
import { Buffer } from 'node:buffer';
import { WeirpoolError } from '../errors.ts';
import {
  OPERATION_DELETE,
  OPERATION_PUT,
  RE_KEY,
  RE_KEY_BYTES,
  RE_OPERATION,
  RE_VALUE_BYTES,
} from '../generated/layout.ts';
import type { BlobId } from '../store/contract.ts';
import type { Entry } from './change.ts';
import { RECORD_HEADER_BYTES } from './node-access.ts';

export const TREE_RECORD_VERSION = 1;
export const RECORD_CHANGE = 1;
export const RECORD_MERGE = 2;
export const RECORD_CLEAR = 3;
export const RECORD_SPLIT = 4;

export const FLAG_NEW_TREE = 1;
export const FLAG_NEW_CATALOG = 2;
export const FLAG_DROP_TREE = 4;
/** Done by `Batch`, which a replay does too: another way would leave other garbage in the nodes. */
export const FLAG_RUNS = 8;

export const ENTRY_HEADER_BYTES: number = RE_KEY;
const PLAN_BYTES = 4;
const NO_BOUND = 0xffff;
/** The upper part of the split begins where the new key goes. */
export const PLAN_IN_ORDER = 0x8000_0000;

export interface ChangeRecord {
  readonly type: typeof RECORD_CHANGE;
  readonly flags: number;
  readonly entries: readonly Entry[];
  /** 0 without DROP_TREE. */
  readonly dropped: BlobId;
  readonly plan: number[];
}

export interface MergeRecord {
  readonly type: typeof RECORD_MERGE;
  readonly tree: BlobId;
  readonly parent: BlobId;
  readonly lower: BlobId;
  readonly upper: BlobId;
}

export interface ClearRecord {
  readonly type: typeof RECORD_CLEAR;
  readonly tree: BlobId;
  readonly low: Uint8Array;
  /** Exclusive; undefined: to the end. */
  readonly high: Uint8Array | undefined;
}

export interface SplitRecord {
  readonly type: typeof RECORD_SPLIT;
  readonly tree: BlobId;
  /** Some key of the leaf. */
  readonly key: Uint8Array;
  readonly plan: number[];
}

export type TreeRecord = ChangeRecord | MergeRecord | ClearRecord | SplitRecord;

function header(buffer: Buffer, type: number, flags: number, count: number): void {
  buffer[0] = TREE_RECORD_VERSION;
  buffer[1] = type;
  buffer[2] = flags;
  buffer[3] = 0;
  buffer.writeUInt32LE(count, 4);
}

export function keyLength(key: Uint8Array | string): number {
  return typeof key === 'string' ? Buffer.byteLength(key) : key.length;
}

/** Bytes of a record without its plan. */
export function changeBytes(entries: readonly Entry[]): number {
  let bytes = RECORD_HEADER_BYTES + 8;
  for (const { key, value } of entries) {
    bytes += ENTRY_HEADER_BYTES + keyLength(key) + (value?.length ?? 0);
  }
  return bytes;
}

export function planBytes(splits: number): number {
  return splits * PLAN_BYTES;
}

export function encodeChange(record: Omit<ChangeRecord, 'type'>): Buffer {
  const { entries, flags, dropped, plan } = record;
  const buffer = Buffer.allocUnsafe(changeBytes(entries) + planBytes(plan.length));
  header(buffer, RECORD_CHANGE, flags, entries.length);
  let at = RECORD_HEADER_BYTES;
  for (const entry of entries) at = encodeEntry(buffer, at, entry);
  if ((flags & FLAG_DROP_TREE) !== 0) at = buffer.writeDoubleLE(dropped, at);
  return buffer.subarray(0, writePlan(buffer, at, plan));
}

function encodeEntry(buffer: Buffer, from: number, { tree, key, value }: Entry): number {
  const keyAt = from + ENTRY_HEADER_BYTES;
  let keyBytes: number;
  if (typeof key === 'string') {
    keyBytes = buffer.write(key, keyAt, 'utf8');
  } else {
    buffer.set(key, keyAt);
    keyBytes = key.length;
  }
  buffer.writeDoubleLE(tree, from);
  buffer[from + RE_OPERATION] = value === undefined ? OPERATION_DELETE : OPERATION_PUT;
  buffer[from + RE_OPERATION + 1] = 0;
  buffer.writeUInt16LE(keyBytes, from + RE_KEY_BYTES);
  buffer.writeUInt32LE(value?.length ?? 0, from + RE_VALUE_BYTES);
  if (value !== undefined) buffer.set(value, keyAt + keyBytes);
  return keyAt + keyBytes + (value?.length ?? 0);
}

export function encodeMerge({ tree, parent, lower, upper }: Omit<MergeRecord, 'type'>): Buffer {
  const buffer = Buffer.allocUnsafe(RECORD_HEADER_BYTES + 32);
  header(buffer, RECORD_MERGE, 0, 1);
  let at = RECORD_HEADER_BYTES;
  for (const id of [tree, parent, lower, upper]) at = buffer.writeDoubleLE(id, at);
  return buffer;
}

export function encodeClear({ tree, low, high }: Omit<ClearRecord, 'type'>): Buffer {
  const highBytes = high?.length ?? 0;
  const buffer = Buffer.allocUnsafe(RECORD_HEADER_BYTES + 16 + low.length + highBytes);
  header(buffer, RECORD_CLEAR, 0, 1);
  let at = buffer.writeDoubleLE(tree, RECORD_HEADER_BYTES);
  at = buffer.writeUInt16LE(low.length, at);
  at = buffer.writeUInt16LE(high === undefined ? NO_BOUND : highBytes, at);
  at = buffer.writeUInt32LE(0, at);
  buffer.set(low, at);
  if (high !== undefined) buffer.set(high, at + low.length);
  return buffer;
}

/** Bytes of a split's record without its plan. */
export function splitBytes(key: Uint8Array): number {
  return RECORD_HEADER_BYTES + 16 + key.length;
}

export function encodeSplit({ tree, key, plan }: Omit<SplitRecord, 'type'>): Buffer {
  const buffer = Buffer.alloc(splitBytes(key) + planBytes(plan.length));
  header(buffer, RECORD_SPLIT, 0, 1);
  const at = buffer.writeDoubleLE(tree, RECORD_HEADER_BYTES);
  buffer.writeUInt16LE(key.length, at);
  buffer.set(key, at + 8);
  writePlan(buffer, at + 8 + key.length, plan);
  return buffer;
}

function writePlan(buffer: Buffer, from: number, plan: readonly number[]): number {
  let at = from;
  for (const split of plan) at = buffer.writeUInt32LE(split >>> 0, at);
  return at;
}

function readPlan(buffer: Buffer, from: number): number[] {
  const plan: number[] = [];
  for (let at = from; at < buffer.length; at += PLAN_BYTES) plan.push(buffer.readUInt32LE(at));
  return plan;
}

// --- decoding ----------------------------------------------------------------------------------------

function damaged(what: string): WeirpoolError {
  return new WeirpoolError('REPLAY_FAILED', `A record of a tree is not readable: ${what}.`);
}

/** @throws {WeirpoolError} `REPLAY_FAILED`: not a record of this version. */
export function decodeRecord(payload: Uint8Array): TreeRecord {
  const buffer = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  if (buffer.length < RECORD_HEADER_BYTES) throw damaged('it is too short');
  if (buffer[0] !== TREE_RECORD_VERSION) throw damaged(`it has version ${buffer[0]}`);
  try {
    const type = buffer[1];
    if (type === RECORD_CHANGE) return decodeChange(buffer);
    if (type === RECORD_MERGE) return decodeMerge(buffer);
    if (type === RECORD_CLEAR) return decodeClear(buffer);
    if (type === RECORD_SPLIT) return decodeSplit(buffer);
  } catch (error) {
    if (error instanceof RangeError) throw damaged('it ends in the middle');
    throw error;
  }
  throw damaged(`it has type ${buffer[1]}`);
}

function part(buffer: Buffer, from: number, bytes: number): Buffer {
  if (from + bytes > buffer.length) throw damaged('it ends in the middle');
  return buffer.subarray(from, from + bytes);
}

function decodeChange(buffer: Buffer): ChangeRecord {
  const count = buffer.readUInt32LE(4);
  const flags = buffer[2] as number;
  const entries: Entry[] = [];
  let at = RECORD_HEADER_BYTES;
  for (let n = 0; n < count; n++) {
    const tree = buffer.readDoubleLE(at);
    const keyBytes = buffer.readUInt16LE(at + RE_KEY_BYTES);
    const valueBytes = buffer.readUInt32LE(at + RE_VALUE_BYTES);
    const isDelete = buffer[at + RE_OPERATION] === OPERATION_DELETE;
    const key = part(buffer, at + ENTRY_HEADER_BYTES, keyBytes);
    const value = part(buffer, at + ENTRY_HEADER_BYTES + keyBytes, valueBytes);
    entries.push({ tree, key, value: isDelete ? undefined : value });
    at += ENTRY_HEADER_BYTES + keyBytes + valueBytes;
  }
  let dropped = 0;
  if ((flags & FLAG_DROP_TREE) !== 0) {
    dropped = buffer.readDoubleLE(at);
    at += 8;
  }
  return { type: RECORD_CHANGE, flags, entries, dropped, plan: readPlan(buffer, at) };
}

function decodeMerge(buffer: Buffer): MergeRecord {
  const id = (n: number): number => buffer.readDoubleLE(RECORD_HEADER_BYTES + n * 8);
  return { type: RECORD_MERGE, tree: id(0), parent: id(1), lower: id(2), upper: id(3) };
}

function decodeClear(buffer: Buffer): ClearRecord {
  const at = RECORD_HEADER_BYTES;
  const lowBytes = buffer.readUInt16LE(at + 8);
  const highBytes = buffer.readUInt16LE(at + 10);
  const from = at + 16;
  return {
    type: RECORD_CLEAR,
    tree: buffer.readDoubleLE(at),
    low: part(buffer, from, lowBytes),
    high: highBytes === NO_BOUND ? undefined : part(buffer, from + lowBytes, highBytes),
  };
}

function decodeSplit(buffer: Buffer): SplitRecord {
  const at = RECORD_HEADER_BYTES;
  const keyBytes = buffer.readUInt16LE(at + 8);
  const key = part(buffer, at + 16, keyBytes);
  const plan = readPlan(buffer, at + 16 + keyBytes);
  return { type: RECORD_SPLIT, tree: buffer.readDoubleLE(at), key, plan };
}
