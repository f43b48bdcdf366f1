/**
 * What an index says about one entry of a directory.
 *
 * Owns:        the form of the values: compact JSON, the fields in a fixed order, so that equal facts
 *              are equal bytes and the size can be read without parsing.
 *
 *   type      file, directory, symlink, fifo, socket, block, character
 *   size      bytes
 *   mtimeMs   ms since 1970, to the microsecond
 *   mode      permission bits
 *   target    of a symlink; target64 (base64) if it is not UTF-8
 *   hash      of a file's content, `sha256:...`, when asked for; the last field
 *
 * Threads:     any.
 */
import { Buffer, isUtf8 } from 'node:buffer';
import type { Stats } from 'node:fs';
import { bytesOf } from '../text.ts';

export type EntryType =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'fifo'
  | 'socket'
  | 'block'
  | 'character';

const PERMISSIONS = 0o7777;
const MICROSECONDS = 1000;

export function typeOf(stats: Stats): EntryType {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'symlink';
  if (stats.isFIFO()) return 'fifo';
  if (stats.isSocket()) return 'socket';
  return stats.isBlockDevice() ? 'block' : 'character';
}

/**
 * The value without a hash.
 *
 * @param target  Of a symlink, as a byte string.
 */
export function describeEntry(type: EntryType, stats: Stats, target: string | undefined): string {
  const mtimeMs = Math.round(stats.mtimeMs * MICROSECONDS) / MICROSECONDS;
  const facts = `{"type":"${type}","size":${stats.size},"mtimeMs":${mtimeMs},"mode":${stats.mode & PERMISSIONS}`;
  return target === undefined ? `${facts}}` : `${facts},${describeTarget(target)}}`;
}

function describeTarget(target: string): string {
  const bytes = bytesOf(target);
  return isUtf8(bytes)
    ? `"target":${JSON.stringify(bytes.toString('utf8'))}`
    : `"target64":"${bytes.toString('base64')}"`;
}

export function withHash(value: string, hash: string): string {
  return `${value.slice(0, -1)},"hash":"${hash}"}`;
}

const HASH = ',"hash":"';

/** The hash in a value that is there, if all else in it is as in `value`; '' if it has none. */
export function hashOfSame(value: string, there: Buffer): string | undefined {
  const stored = there.toString('utf8');
  if (stored === value) return '';
  const body = value.length - 1;
  if (!stored.startsWith(value.slice(0, -1)) || !stored.startsWith(HASH, body)) return undefined;
  return stored.slice(body + HASH.length, -2);
}

const FILE_SIZE = Buffer.from('{"type":"file","size":');
const ZERO = 0x30;

/** Bytes of a file, out of its value; 0 for everything else. */
export function fileBytes(value: Buffer): number {
  if (value.length < FILE_SIZE.length || FILE_SIZE.compare(value, 0, FILE_SIZE.length) !== 0)
    return 0;
  let bytes = 0;
  for (let at = FILE_SIZE.length; at < value.length; at++) {
    const digit = (value[at] as number) - ZERO;
    if (digit < 0 || digit > 9) break;
    bytes = bytes * 10 + digit;
  }
  return bytes;
}
