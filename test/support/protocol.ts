/** What a scenario program and the test that runs it have agreed on. */

/** Begins the line on standard error that says what a check found. */
export const VIOLATION = 'violation: ';

/** Begins the line on standard error with which the watchdog ends the process. */
export const WATCHDOG = 'watchdog: ';

/** Environment: path of the watchdog's program, and when it is to act. */
export const WATCHDOG_ENV = 'WEIRPOOL_TEST_WATCHDOG';
export const WATCHDOG_MS_ENV = 'WEIRPOOL_TEST_WATCHDOG_MS';

/** Environment: where temporary directories go, so that they are gone after the tests. */
export const TEMPORARY_ENV = 'WEIRPOOL_TEST_TMP';
