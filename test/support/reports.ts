/**
 * Lines that a thread leaves in shared memory: what it has said is there also if it is terminated
 * in the next instant.
 */
const POSITION_BYTES = 8;

export class Reports {
  readonly shared: SharedArrayBuffer;
  readonly #position: Int32Array;
  readonly #bytes: Uint8Array;

  constructor(shared: SharedArrayBuffer) {
    this.shared = shared;
    this.#position = new Int32Array(shared, 0, 1);
    this.#bytes = new Uint8Array(shared, POSITION_BYTES);
  }

  static ofBytes(bytes: number): Reports {
    return new Reports(new SharedArrayBuffer(POSITION_BYTES + bytes));
  }

  /** Bytes that were said so far; grows with each line. */
  get said(): number {
    return Atomics.load(this.#position, 0);
  }

  /** One writer. */
  say(what: string, value: unknown): void {
    const line = new TextEncoder().encode(`${what} ${JSON.stringify(value)}\n`);
    const from = this.said;
    if (from + line.length > this.#bytes.length) throw new RangeError('too much was said');
    this.#bytes.set(line, from);
    Atomics.store(this.#position, 0, from + line.length);
  }

  /** Everything that was said, by lines. */
  *lines(): Generator<readonly [string, unknown]> {
    const text = new TextDecoder().decode(this.#bytes.slice(0, this.said));
    for (const line of text.split('\n')) {
      const at = line.indexOf(' ');
      if (at > 0) yield [line.slice(0, at), JSON.parse(line.slice(at + 1))];
    }
  }
}
