/**
 * The layout of the control memory is part of what the threads of a pool agree on. Who changes it
 * raises ABI_VERSION and writes the image anew: `UPDATE_GOLDEN=1 npx vitest run layout-golden`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { LAYOUT } from '../../src/generated/layout.ts';

const IMAGE = join(import.meta.dirname, '../golden/layout.json');

/** Wide constants are written as hexadecimal text: JSON has no 64-bit numbers. */
function image(): Record<string, number | string> {
  return Object.fromEntries(
    Object.entries(LAYOUT).map(([name, value]) => [
      name,
      typeof value === 'bigint' ? `0x${value.toString(16)}` : value,
    ]),
  );
}

it('the layout is the one that its version stands for', () => {
  if (process.env['UPDATE_GOLDEN'] === '1') {
    writeFileSync(IMAGE, `${JSON.stringify(image(), undefined, 2)}\n`);
  }
  const golden: unknown = JSON.parse(readFileSync(IMAGE, 'utf8'));
  expect(image()).toEqual(golden);
});
