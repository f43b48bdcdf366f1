/**
 * Bytes as people see and type them.
 *
 * Owns:        the escapes: `\\`, `\t`, `\n`, `\r`, `\xHH` for a byte, `\u{H}` for a character.
 * Invariants:  what `escapeBytes` gives holds no control character, none that changes the direction
 *              or is not seen, and no other backslash; `unescapeBytes` gives the same bytes again.
 * Threads:     any.
 *
 * A "byte string" is a string with one character for each byte ('latin1'): names of files are bytes,
 * and so they stay what they are while they are still compared, sorted and cut as strings are.
 */
import { Buffer, isUtf8 } from 'node:buffer';

/** Control, format (also those that change the direction), private use, line and paragraph ends. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Zl}\p{Zp}]/gu;
const HIDDEN_OR_BACKSLASH = /[\p{Cc}\p{Cf}\p{Co}\p{Zl}\p{Zp}\\]/gu;

const NAMED: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  '\t': '\\t',
  '\n': '\\n',
  '\r': '\\r',
};

function escapeCharacter(character: string): string {
  const named = NAMED[character];
  if (named !== undefined) return named;
  const code = character.codePointAt(0) ?? 0;
  return code < 0x80 ? `\\x${hexByte(code)}` : `\\u{${code.toString(16)}}`;
}

function hexByte(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}

/** A message for people: whatever names it quotes cannot act on the terminal. */
export function visible(text: string): string {
  return text.replace(HIDDEN, (character) =>
    character === '\n' ? '\n' : escapeCharacter(character),
  );
}

/** Length of the valid UTF-8 character that begins at `at`; 0 if there is none. */
function characterBytes(bytes: Buffer, at: number): number {
  const lead = bytes[at] ?? 0;
  const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  return isUtf8(bytes.subarray(at, at + length)) ? Math.min(length, bytes.length - at) : 0;
}

/** Any bytes as one line of text, from which they can be had again. */
export function escapeBytes(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString('utf8').replace(HIDDEN_OR_BACKSLASH, escapeCharacter);
  const pieces: string[] = [];
  let from = 0;
  const flush = (to: number): void => {
    const text = bytes.toString('utf8', from, to);
    pieces.push(text.replace(HIDDEN_OR_BACKSLASH, escapeCharacter));
  };
  for (let at = 0; at < bytes.length; ) {
    const length = characterBytes(bytes, at);
    if (length === 0) {
      flush(at);
      pieces.push(`\\x${hexByte(bytes[at] as number)}`);
      from = at + 1;
    }
    at += Math.max(length, 1);
  }
  flush(bytes.length);
  return pieces.join('');
}

const ESCAPE = /\\(?:([\\tnr])|x([0-9a-fA-F]{2})|u\{([0-9a-fA-F]{1,6})\})?/g;
const UNNAMED: Readonly<Record<string, string>> = { '\\': '\\', t: '\t', n: '\n', r: '\r' };

/**
 * The bytes that `escapeBytes` was given.
 *
 * @throws {SyntaxError} a backslash that begins no escape.
 */
export function unescapeBytes(text: string): Buffer {
  if (!text.includes('\\')) return Buffer.from(text, 'utf8');
  const pieces: Buffer[] = [];
  let from = 0;
  for (const match of text.matchAll(ESCAPE)) {
    const [whole, named, byte, character] = match;
    pieces.push(Buffer.from(text.slice(from, match.index), 'utf8'));
    from = match.index + whole.length;
    if (named !== undefined) pieces.push(Buffer.from(UNNAMED[named] as string));
    else if (byte !== undefined) pieces.push(Buffer.from([Number.parseInt(byte, 16)]));
    else pieces.push(characterOf(character, text));
  }
  pieces.push(Buffer.from(text.slice(from), 'utf8'));
  return Buffer.concat(pieces);
}

function characterOf(hex: string | undefined, text: string): Buffer {
  const code = hex === undefined ? Number.NaN : Number.parseInt(hex, 16);
  const isCharacter = code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
  if (isCharacter) return Buffer.from(String.fromCodePoint(code), 'utf8');
  throw new SyntaxError(
    `"${visible(text)}" has a backslash that begins no escape. There are \\\\, \\t, \\n, \\r, \\xHH ` +
      'for a byte and \\u{H} for a character.',
  );
}

export function bytesOf(byteString: string): Buffer {
  return Buffer.from(byteString, 'latin1');
}

// --- numbers ---------------------------------------------------------------------------------------

const GROUPED = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

export function grouped(count: number): string {
  return GROUPED.format(count);
}

/** A count with its noun, which takes an s (or `plural`) unless there is one. */
export function counted(count: number, noun: string, plural: string = `${noun}s`): string {
  return `${grouped(count)} ${count === 1 ? noun : plural}`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

export function sizeText(bytes: number): string {
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

export function durationText(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60) % 60;
  const hours = Math.floor(whole / 3600);
  const rest = String(whole % 60).padStart(2, '0');
  return hours === 0
    ? `${minutes}:${rest} min`
    : `${hours}:${String(minutes).padStart(2, '0')}:${rest} h`;
}
