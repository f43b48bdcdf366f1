/** The list of findings in docs/verify.md against the code. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ERROR_CODES } from '../../../src/errors.ts';
import { FINDING_CODES } from '../../../src/recovery/finding.ts';

const TEXT = readFileSync(join(import.meta.dirname, '../../../docs/verify.md'), 'utf8');

it('docs/verify.md lists every code of a finding, and no other, in the order of the code', () => {
  const listed = [...TEXT.matchAll(/^\| `([A-Z_]+)` \|/gm)].map(([, code]) => code);
  expect(listed).toEqual([...FINDING_CODES]);
  expect([...FINDING_CODES]).toEqual([...FINDING_CODES].sort());
  const errors: readonly string[] = ERROR_CODES;
  expect(FINDING_CODES.filter((code) => errors.includes(code))).toEqual([]);
});
