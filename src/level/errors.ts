/**
 * Errors as abstract-level has them: a `code` beside the message. The store's own come through as they are.
 *
 * Threads:     any.
 */

export class LevelError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** What reading ends with when its signal is aborted, as abstract-level words it. */
export function abortError(signal: AbortSignal): Error {
  const error = new LevelError('LEVEL_ABORTED', 'Operation has been aborted');
  error.name = 'AbortError';
  error.cause = signal.reason;
  return error;
}
