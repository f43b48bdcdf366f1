/**
 * Keys and values as lines: what `scan` and `dump` print and `load` reads.
 *
 * Owns:        the three forms; each holds any bytes.
 *
 *   ndjson     {"key":"...","value":"..."}, where bytes that are not UTF-8 stand as base64 in `key64`
 *              and `value64`; {"tree":"..."} says into which tree the following lines go
 *   tsv        key, tab, value, with the escapes of text.ts
 *   nul        key, zero byte, value, zero byte: only what holds no zero byte itself
 *
 * Threads:     any.
 */
import { Buffer, isUtf8 } from 'node:buffer';
import { escapeBytes, unescapeBytes } from './text.ts';

export type Form = 'ndjson' | 'tsv' | 'nul';

export const FORMS: readonly Form[] = ['ndjson', 'tsv', 'nul'];

/** A line that puts a value. */
export interface PutRecord {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** A line that names the tree of those that follow. */
export interface TreeRecord {
  readonly tree: string;
}

function field(name: string, bytes: Buffer): string {
  return isUtf8(bytes)
    ? `"${name}":${JSON.stringify(bytes.toString('utf8'))}`
    : `"${name}64":"${bytes.toString('base64')}"`;
}

const NUL = Buffer.from([0]);

function assertNoNul(bytes: Buffer): Buffer {
  if (!bytes.includes(0)) return bytes;
  throw new SyntaxError(
    `"${escapeBytes(bytes)}" holds a zero byte, which is what -0 ends with. Use --json.`,
  );
}

/** An entry in a form, with its line end. @param value  Undefined: the key alone. */
export function encodeRecord(form: Form, key: Buffer, value: Buffer | undefined): Buffer | string {
  switch (form) {
    case 'ndjson':
      return `{${field('key', key)}${value === undefined ? '' : `,${field('value', value)}`}}\n`;
    case 'tsv':
      return value === undefined
        ? `${escapeBytes(key)}\n`
        : `${escapeBytes(key)}\t${escapeBytes(value)}\n`;
    case 'nul': {
      const parts = value === undefined ? [key] : [key, value];
      return Buffer.concat(parts.flatMap((part) => [assertNoNul(part), NUL]));
    }
  }
}

export function encodeTree(name: string): string {
  return `${JSON.stringify({ tree: name })}\n`;
}

function decodeField(object: Readonly<Record<string, unknown>>, name: string): Buffer | undefined {
  const plain = object[name];
  const encoded = object[`${name}64`];
  if (plain !== undefined && encoded !== undefined) {
    throw new SyntaxError(`There are both "${name}" and "${name}64".`);
  }
  if (encoded !== undefined) return decodeBase64(encoded, name);
  if (plain === undefined) return undefined;
  if (typeof plain === 'string') return Buffer.from(plain, 'utf8');
  if (name === 'value') return Buffer.from(JSON.stringify(plain), 'utf8');
  throw new SyntaxError(`"${name}" must be a string.`);
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function decodeBase64(encoded: unknown, name: string): Buffer {
  if (typeof encoded === 'string' && BASE64.test(encoded)) return Buffer.from(encoded, 'base64');
  throw new SyntaxError(`"${name}64" must be base64.`);
}

function decodeJson(line: string): PutRecord | TreeRecord {
  const parsed: unknown = JSON.parse(line);
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new SyntaxError('A line is an object with "key" and "value".');
  }
  const object = parsed as Readonly<Record<string, unknown>>;
  const tree = object['tree'];
  const key = decodeField(object, 'key');
  if (typeof tree === 'string' && key === undefined) return { tree };
  const value = decodeField(object, 'value');
  if (key !== undefined && value !== undefined) return { key, value };
  throw new SyntaxError('A line is an object with "key" and "value", or "key64" and "value64".');
}

function decodeTsv(line: string): PutRecord {
  const tab = line.indexOf('\t');
  if (tab < 0) throw new SyntaxError('There is no tab between key and value.');
  return { key: unescapeBytes(line.slice(0, tab)), value: unescapeBytes(line.slice(tab + 1)) };
}

/**
 * A line without its end; undefined for an empty one.
 *
 * @throws {SyntaxError} it is none.
 */
export function decodeLine(
  form: Exclude<Form, 'nul'>,
  bytes: Buffer,
): PutRecord | TreeRecord | undefined {
  if (bytes.length === 0) return undefined;
  if (!isUtf8(bytes))
    throw new SyntaxError('The line is not UTF-8. Other bytes need escapes, or base64.');
  const line = bytes.toString('utf8');
  return form === 'tsv' ? decodeTsv(line) : decodeJson(line);
}
