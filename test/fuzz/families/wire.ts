/** Errors on the wire: whatever was thrown, and whatever comes instead of a wired error. */
import fc from 'fast-check';
import {
  ERROR_CODES,
  fromWire,
  toWire,
  WeirpoolError,
  type WireError,
} from '../../../src/errors.ts';
import { type Context, type Family, must, type Prepared } from '../support/family.ts';

/** What an error chain may take: with its texts. */
const BYTES_MAX = 64 * 1024;
const CHAIN_MAX = 1000;

interface Case {
  readonly way: 'there' | 'back';
  readonly value: unknown;
  readonly chain: number;
  readonly loop: boolean;
  readonly known: boolean;
}

const anything = fc.anything({
  withBigInt: true,
  withNullPrototype: true,
  withObjectString: true,
  withDate: true,
  withMap: true,
  withTypedArray: true,
  maxDepth: 3,
});

const wired = fc.record(
  {
    name: fc.oneof(fc.constantFrom('WeirpoolError', 'Error', 'toString'), fc.string(), anything),
    message: fc.oneof(fc.string(), anything),
    code: fc.oneof(fc.constantFrom(...ERROR_CODES, 'ENOENT', undefined), anything),
    outcome: fc.oneof(fc.constantFrom('unknown', 'not_applied', undefined), anything),
    details: fc.oneof(fc.constant({ id: 3 }), anything),
    cause: fc.oneof(fc.constant(undefined), anything),
    stack: fc.oneof(fc.constant(undefined), fc.string(), anything),
  },
  { requiredKeys: [] },
);

const cases: fc.Arbitrary<Case> = fc.record({
  way: fc.constantFrom('there', 'back'),
  value: fc.oneof(wired, anything),
  chain: fc.oneof(fc.nat(5), fc.constantFrom(50, CHAIN_MAX)),
  loop: fc.boolean(),
  known: fc.boolean(),
});

/** Errors that are each other's cause, down to something that is none. */
function chained({ value, chain, loop, known }: Case): unknown {
  let cause: unknown = value;
  let last: Error | undefined;
  for (let n = 0; n < chain; n++) {
    const error: Error = known
      ? new WeirpoolError('STORE_IO', `step ${n}`, { cause, details: { n } })
      : new Error(`step ${n}`, { cause });
    last ??= error;
    cause = error;
  }
  if (loop && last !== undefined) last.cause = cause;
  return cause;
}

function depthOf(error: Error): number {
  let depth = 0;
  for (let at: unknown = error; at instanceof Error; at = at.cause) depth++;
  return depth;
}

function roundTrip(given: Case): void {
  const error = chained(given);
  const wire = toWire(error);
  // It is there to be posted.
  const back = fromWire(structuredClone(wire));
  must(back instanceof Error, 'no error comes back');
  if (error instanceof WeirpoolError) {
    must(back instanceof WeirpoolError, 'an error of ours comes back as another');
    must(back.code === error.code && back.outcome === error.outcome, 'code and outcome');
    must(back.message === error.message, 'the message');
  }
  must(depthOf(back) <= CHAIN_MAX, 'causes without an end');
}

export const wire: Family<Case> = {
  name: 'wire',
  prepare(context: Context): Prepared<Case> {
    const check = (given: Case): void => {
      const bounds = { bytesMax: BYTES_MAX };
      if (given.way === 'there') context.runSync('toWire', bounds, () => roundTrip(given));
      else {
        context.runSync('fromWire', bounds, () => {
          const error = fromWire(given.value as WireError);
          must(error instanceof Error && typeof error.message === 'string', 'no error');
          if (error instanceof WeirpoolError) must(ERROR_CODES.includes(error.code), 'a code');
        });
      }
    };
    return { cases, check, wanted: ['toWire ok', 'fromWire ok'] };
  },
};
