import { expect, test } from 'vitest';
import { addTotals, totalsLine, vitestTotals } from '../../../infra/local/test-totals.ts';

const report = (fields: object): string => JSON.stringify({ success: true, testResults: [], ...fields });

test('passed and failed tests are taken from the report', () => {
  const text = report({
    success: false,
    numPassedTests: 5,
    numFailedTests: 2,
    testResults: [{ status: 'failed', assertionResults: [{ status: 'failed' }, { status: 'failed' }] }],
  });
  expect(vitestTotals(text, 1)).toEqual({ passed: 5, failed: 2 });
});

test('a file that could not be loaded counts as one failure', () => {
  const text = report({ success: false, numPassedTests: 5, testResults: [{ status: 'failed', assertionResults: [] }] });
  expect(vitestTotals(text, 1)).toEqual({ passed: 5, failed: 1 });
});

test('a run that failed without naming a test counts as one failure', () => {
  expect(vitestTotals(report({ numPassedTests: 5, numFailedTests: 0 }), 1)).toEqual({ passed: 5, failed: 1 });
});

test('a run without a report, or without any test, is a failure and never a success', () => {
  expect(vitestTotals(undefined, 0)).toEqual({ passed: 0, failed: 1 });
  expect(vitestTotals('{', 0)).toEqual({ passed: 0, failed: 1 });
  expect(vitestTotals(report({ numPassedTests: 0 }), 0)).toEqual({ passed: 0, failed: 1 });
});

test('totals add up to the one last line', () => {
  const sum = addTotals([
    { passed: 1, failed: 0 },
    { passed: 20, failed: 3 },
  ]);
  expect(totalsLine(sum)).toBe('21 passed, 3 failed');
});
