/** Escapes and records: any bytes, there and back. */
import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeLine, encodeRecord } from '../../../src/cli/records.ts';
import {
  durationText,
  escapeBytes,
  sizeText,
  unescapeBytes,
  visible,
} from '../../../src/cli/text.ts';
import { testSeed } from '../../support/seed.ts';

const RUNS = { seed: testSeed(), numRuns: 500 };

/** Text with everything that is hard, and bytes. */
const anyBytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 20 }).map((text) => Buffer.from(text, 'utf8')),
  fc
    .array(
      fc.constantFrom('\\', 'x', 'u', '{', '}', '\t', '\n', '\u202e', '\u009b', 'é', '\u{1f980}'),
    )
    .map((parts) => Buffer.concat([Buffer.from(parts.join('')), Buffer.from([0xf0, 0x9f])])),
);

describe('escapes', () => {
  it('give any bytes again, in one line, without anything that acts on a terminal', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const text = escapeBytes(Buffer.from(bytes));
        expect(text).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
        expect(unescapeBytes(text)).toEqual(Buffer.from(bytes));
      }),
      RUNS,
    );
  });

  it('are those that are documented', () => {
    const text = 'a\\b\tc\nd\re\u001b\u007f\u009b\u202e\u2028é';
    const bytes = Buffer.concat([Buffer.from(text), Buffer.from([0xc3, 0x28, 0xff])]);
    expect(escapeBytes(bytes)).toBe(
      'a\\\\b\\tc\\nd\\re\\x1b\\x7f\\u{9b}\\u{202e}\\u{2028}é\\xc3(\\xff',
    );
    expect(unescapeBytes('\\x41\\u{1f980}')).toEqual(Buffer.from('A\u{1f980}'));
  });

  it.each(['\\', '\\q', 'a\\x4', '\\u{}', '\\u{d800}', '\\u{110000}', '\\u0041'])(
    '%j is refused',
    (text) => {
      expect(() => unescapeBytes(text)).toThrow(SyntaxError);
    },
  );

  it('keep messages in lines', () => {
    expect(visible('one\ntwo\u001b[2J\u202e')).toBe('one\ntwo\\x1b[2J\\u{202e}');
  });
});

describe('records', () => {
  it.each(['ndjson', 'tsv'] as const)('of %s give any key and value again', (form) => {
    fc.assert(
      fc.property(anyBytes, anyBytes, (key, value) => {
        const line = String(encodeRecord(form, Buffer.from(key), Buffer.from(value)));
        expect(line.indexOf('\n')).toBe(line.length - 1);
        const decoded = decodeLine(form, Buffer.from(line.slice(0, -1)));
        expect(decoded).toEqual({ key: Buffer.from(key), value: Buffer.from(value) });
      }),
      RUNS,
    );
  });

  it('that end with zero bytes cannot hold one', () => {
    const zero = Buffer.from([1, 0]);
    expect(() => encodeRecord('nul', zero, undefined)).toThrow(SyntaxError);
    expect(() => encodeRecord('nul', Buffer.from('key'), zero)).toThrow(/--json/);
    expect(encodeRecord('nul', Buffer.from('k'), Buffer.from('v'))).toEqual(Buffer.from('k\0v\0'));
  });
});

it('sizes and durations are short', () => {
  expect([0, 1023, 1024, 102_400, 1024 ** 3 * 1.5].map(sizeText)).toEqual([
    '0 B',
    '1023 B',
    '1.0 KiB',
    '100 KiB',
    '1.5 GiB',
  ]);
  expect([0.004, 9.999, 10, 75, 3661].map(durationText)).toEqual([
    '0.00 s',
    '10.00 s',
    '10.0 s',
    '1:15 min',
    '1:01:01 h',
  ]);
});
