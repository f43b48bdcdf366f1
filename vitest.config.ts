import { defineConfig } from 'vitest/config';

/** One project for each folder below test/; `npx vitest run --project unit` runs one of them. */
const PROJECTS = [
  'unit',
  'conformance',
  'model',
  'fuzz',
  'concurrency',
  'crash',
  'package',
  'cli',
  'write-behind',
];

const TEST_TIMEOUT_MS = 60_000;

export default defineConfig({
  test: {
    globalSetup: ['test/support/global-setup.ts'],
    passWithNoTests: true,
    pool: 'forks',
    reporters: ['default'],
    projects: PROJECTS.map((name) => ({
      extends: true,
      test: {
        name,
        include: [`test/${name}/**/*.test.ts`],
        // Races need both cores of a small machine to themselves.
        maxWorkers: name === 'concurrency' ? 1 : 2,
        testTimeout: TEST_TIMEOUT_MS,
        hookTimeout: TEST_TIMEOUT_MS,
      },
    })),
  },
});
