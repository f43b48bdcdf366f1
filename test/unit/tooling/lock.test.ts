import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { completed, type Lock, missingOptionals } from '../../../scripts/complete-lock.ts';

const ROOT = join(import.meta.dirname, '../../..');

it('the lock names the optional packages of every platform, else npm ci refuses it', () => {
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as Lock;
  expect([...missingOptionals(lock).keys()]).toEqual([]);
});

it('what the lock lacks is added with its version and platform', () => {
  const lock: Lock = {
    packages: {
      '': {},
      'node_modules/tool': {
        version: '1.0.0',
        optionalDependencies: {
          '@tool/cli-darwin-arm64': '1.0.0',
          '@tool/tool-linux-arm-musleabihf': '1.0.0',
          '@tool/tool-win32-x64-msvc': '1.0.0',
        },
      },
    },
  };
  const { packages } = completed(lock);
  const common = { version: '1.0.0', dev: true, optional: true };
  expect(packages['node_modules/@tool/cli-darwin-arm64']).toEqual({
    ...common,
    cpu: ['arm64'],
    os: ['darwin'],
  });
  expect(packages['node_modules/@tool/tool-linux-arm-musleabihf']).toEqual({
    ...common,
    cpu: ['arm'],
    libc: ['musl'],
    os: ['linux'],
  });
  expect(packages['node_modules/@tool/tool-win32-x64-msvc']).toMatchObject({ os: ['win32'] });
  expect(missingOptionals(completed(lock)).size).toBe(0);
});
