/** Whether somebody has returned a promise where everything must have happened already. */
export function isThenable(value: unknown): boolean {
  return typeof (value as { then?: unknown } | undefined | null)?.then === 'function';
}
