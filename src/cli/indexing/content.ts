/**
 * The hash of a file's content.
 *
 * Invariants:  nothing but a regular file is read, whatever has taken its name meanwhile: no link is
 *              followed, and no FIFO is waited for.
 * Threads:     any; blocks its thread while it reads.
 */
import type { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

const OPEN_FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

export class ContentHasher {
  readonly #algorithm: string;
  readonly #buffer: Uint8Array = new Uint8Array(256 * 1024);
  /** Bytes that were read. */
  bytes = 0;

  /** @param algorithm  One of node:crypto's. */
  constructor(algorithm: string) {
    this.#algorithm = algorithm;
  }

  get prefix(): string {
    return `${this.#algorithm}:`;
  }

  /**
   * `algorithm:hex`; undefined if it is no regular file any more, or if `goesOn` has said no.
   *
   * @param goesOn  Asked before each piece.
   * @throws        The system's error.
   */
  hash(path: Buffer, goesOn: () => boolean): string | undefined {
    const descriptor = openSync(path, OPEN_FLAGS);
    try {
      if (!fstatSync(descriptor).isFile()) return undefined;
      const hash = createHash(this.#algorithm);
      for (;;) {
        if (!goesOn()) return undefined;
        const count = readSync(descriptor, this.#buffer, 0, this.#buffer.length, null);
        if (count === 0) break;
        this.bytes += count;
        hash.update(this.#buffer.subarray(0, count));
      }
      return `${this.prefix}${hash.digest('hex')}`;
    } finally {
      closeSync(descriptor);
    }
  }
}
