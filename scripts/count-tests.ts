/**
 * Closing line of `.ci/run`: `N passed, N failed`, from the JSON report of the test runner.
 *
 * Arguments: the report's path, the exit code of the test run, the names of other steps that
 * failed. A test file that cannot be loaded holds no failed test, but is a failure; so is each step,
 * and a run that failed without saying which test (no report, an unhandled error).
 */
import { existsSync, readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

export interface Counts {
  readonly passed: number;
  readonly failed: number;
}

export function countTests(report: Report): Counts {
  const unloaded = report.testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && assertionResults.every((test) => test.status !== 'failed'),
  );
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + unloaded.length,
  };
}

function main(path: string, status: number, steps: readonly string[]): void {
  const counts = existsSync(path)
    ? countTests(JSON.parse(readFileSync(path, 'utf8')) as Report)
    : { passed: 0, failed: 0 };
  const unexplained = status !== 0 && counts.failed === 0 ? ['the test run'] : [];
  const failedSteps = [...steps, ...unexplained];
  const failed = counts.failed + failedSteps.length;
  if (failedSteps.length > 0) console.log(`failed: ${failedSteps.join(', ')}`);
  console.log(`${counts.passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [path = '', status = '1', ...steps] = process.argv.slice(2);
  main(path, Number(status), steps);
}
