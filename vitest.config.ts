import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

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

/** Files that take long come first, or one worker has nothing to do at the end. */
class LongFilesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification): boolean => moduleId.includes('/test/crash/');
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

const TEST_TIMEOUT_MS = 60_000;

export default defineConfig({
  test: {
    globalSetup: ['test/support/global-setup.ts'],
    passWithNoTests: true,
    pool: 'forks',
    reporters: ['default'],
    sequence: { sequencer: LongFilesFirst },
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
