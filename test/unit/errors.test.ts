/** Errors: the list in docs/errors.md against the code, and the way across `postMessage`. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import {
  ERROR_CODES,
  errnoOf,
  fromWire,
  toWire,
  WeirpoolError,
  type WireError,
} from '../../src/errors.ts';

const ROOT = join(import.meta.dirname, '../..');
const OUTCOMES = ['`not_applied`', '`unknown`'];

/** Text of each section of docs/errors.md by its heading. */
function sections(): Map<string, string> {
  const text = readFileSync(join(ROOT, 'docs/errors.md'), 'utf8');
  const parts = text.split(/^## /m).slice(1);
  return new Map(parts.map((part) => [part.slice(0, part.indexOf('\n')), part]));
}

function throughPort<T>(value: T): T {
  const { port1, port2 } = new MessageChannel();
  port1.postMessage(value);
  const message = receiveMessageOnPort(port2)?.message as T;
  port1.close();
  return message;
}

describe('docs/errors.md', () => {
  it('lists every code, and no other, in the order of the code', () => {
    expect([...sections().keys()]).toEqual([...ERROR_CODES]);
    expect([...ERROR_CODES]).toEqual([...ERROR_CODES].sort());
  });

  it.each([...sections()])('%s says the outcome, what happened and what to do', (_, text) => {
    const outcome = /^- Outcome: (.*)$/m.exec(text)?.[1] ?? '';
    expect(outcome.split(' or ').every((word) => OUTCOMES.includes(word))).toBe(true);
    expect(text).toMatch(/^- What happened: \S/m);
    expect(text).toMatch(/^- What to do: \S/m);
  });

  it('allows the outcome that the sources give each code', () => {
    const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !path.includes('generated'))
      .map((path) => readFileSync(join(ROOT, 'src', path), 'utf8'));
    const thrown = sources.flatMap((text) => [
      ...text.matchAll(/new WeirpoolError\(\s*'(\w+)',(.*?)\n {2}\S/gs),
    ]);
    expect(thrown.length).toBeGreaterThan(15);
    for (const [, code = '', rest = ''] of thrown) {
      const given = /outcome: '(\w+)'/.exec(rest)?.[1];
      if (given === undefined) continue;
      expect(sections().get(code), code).toContain(`\`${given}\``);
    }
  });
});

describe('WeirpoolError', () => {
  it('has name, code, outcome and details, and keeps its cause', () => {
    const cause = new Error('below');
    const plain = new WeirpoolError('STORE_FULL', 'full');
    expect(plain).toMatchObject({ name: 'WeirpoolError', outcome: 'not_applied', details: {} });
    expect(plain).toBeInstanceOf(Error);
    const details = { id: 7, path: '/x', sum: 5n };
    const error = new WeirpoolError('POISONED', 'm', { cause, outcome: 'unknown', details });
    expect(error).toMatchObject({ code: 'POISONED', message: 'm', outcome: 'unknown', details });
    expect(error.cause).toBe(cause);
  });

  it('says its code where an error is printed', () => {
    expect(String(new WeirpoolError('STORE_FULL', 'full'))).toBe('WeirpoolError: full');
  });
});

describe('across postMessage', () => {
  it.each([...ERROR_CODES])('%s arrives as it was', (code) => {
    const system = Object.assign(new Error('no space'), { code: 'ENOSPC' });
    const below = new WeirpoolError('STORE_IO', 'write failed', {
      cause: system,
      outcome: 'unknown',
      details: { errno: 'ENOSPC', offset: 2 ** 40, checksum: 2n ** 63n },
    });
    const error = new WeirpoolError(code, `because of ${code}`, {
      cause: below,
      details: { id: 5 },
    });
    const back = fromWire(throughPort(toWire(error)));
    expect(back).toBeInstanceOf(WeirpoolError);
    expect(back).toMatchObject({
      name: 'WeirpoolError',
      message: error.message,
      code,
      outcome: 'not_applied',
      details: { id: 5 },
      stack: error.stack,
    });
    expect(back.cause).toBeInstanceOf(WeirpoolError);
    expect(back.cause).toMatchObject({
      code: 'STORE_IO',
      outcome: 'unknown',
      details: below.details,
    });
    expect((back.cause as Error).cause).toMatchObject({ name: 'Error', code: 'ENOSPC' });
  });

  it('other errors keep name, message, code, stack and causes', () => {
    const cause = new RangeError('inner');
    const error = Object.assign(new TypeError('outer', { cause }), { code: 'ERR_X' });
    const back = fromWire(throughPort(toWire(error)));
    expect(back).toMatchObject({
      name: 'TypeError',
      message: 'outer',
      code: 'ERR_X',
      stack: error.stack,
    });
    expect(back.cause).toMatchObject({ name: 'RangeError', message: 'inner' });
    expect(back).not.toBeInstanceOf(WeirpoolError);
  });

  it.each([
    ['a string', 'just text'],
    ['a number', 7],
    ['undefined', undefined],
    ['null', null],
    ['an object', { a: 1 }],
  ])('what is no error becomes one: %s', (_, thrown) => {
    const back = fromWire(throughPort(toWire(thrown)));
    expect(back).toBeInstanceOf(Error);
    expect(back.message).toBe(String(thrown));
  });

  it('a code of a later version becomes a plain error with that code, outcome not guessed', () => {
    const wire: WireError = { ...toWire(new WeirpoolError('STORE_IO', 'm')), code: 'LATER' };
    const back = fromWire(throughPort(wire));
    expect(back).not.toBeInstanceOf(WeirpoolError);
    expect(back).toMatchObject({ name: 'WeirpoolError', code: 'LATER', message: 'm' });
    const { outcome: _, ...without } = toWire(new WeirpoolError('STORE_IO', 'm'));
    expect(fromWire(without as WireError)).toMatchObject({ outcome: 'unknown' });
  });
});

describe('errnoOf', () => {
  it('gives the code of a system error and nothing else', () => {
    expect(errnoOf(Object.assign(new Error(''), { code: 'EIO' }))).toBe('EIO');
    for (const other of [undefined, null, new Error(''), 'x', { code: 5 }]) {
      expect(errnoOf(other)).toBeUndefined();
    }
  });
});

describe('what is no error of ours, on the wire', () => {
  it('ends where causes go round in a circle', () => {
    const error = new Error('first');
    error.cause = new WeirpoolError('STORE_IO', 'second', { cause: error });
    let depth = 0;
    for (let at: unknown = fromWire(structuredClone(toWire(error))); at instanceof Error; depth++) {
      at = at.cause;
    }
    expect(depth).toBe(33);
  });

  it.each([Object.create(null), { toString: 1 }, Symbol('s'), null])('is told: %o', (thrown) => {
    expect(fromWire(toWire(thrown))).toBeInstanceOf(Error);
  });

  it.each([
    undefined,
    null,
    7,
    'text',
    [],
    { name: {}, message: 3, cause: null, stack: 5, code: 9 },
  ])('makes an error: %o', (wire) => {
    const error = fromWire(wire as unknown as WireError);
    expect(error).toBeInstanceOf(Error);
    expect(typeof error.message).toBe('string');
  });

  it('has an outcome that there is', () => {
    const wire = { ...toWire(new WeirpoolError('STORE_IO', 'm')), outcome: 'applied' };
    expect(fromWire(wire as unknown as WireError)).toMatchObject({ outcome: 'unknown' });
  });
});
