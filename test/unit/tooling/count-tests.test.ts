import { expect, it } from 'vitest';
import { countTests } from '../../../scripts/count-tests.ts';

const passed = { status: 'passed', assertionResults: [{ status: 'passed' }] };
const failed = { status: 'failed', assertionResults: [{ status: 'passed' }, { status: 'failed' }] };
const unloaded = { status: 'failed', assertionResults: [] };

it('a file that cannot be loaded counts as one failure', () => {
  const report = { numPassedTests: 2, numFailedTests: 1, testResults: [passed, failed, unloaded] };
  expect(countTests(report)).toEqual({ passed: 2, failed: 2 });
});
