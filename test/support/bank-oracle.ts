/**
 * What a bank must look like after a crash, from what its tellers have said before it.
 *
 * Tellers say each transaction once it is committed, and what they know to be safe. At most one
 * transaction of each teller may have been committed without having been said.
 */
import type { BlobId } from '../../src/index.ts';
import type { Books, Done, Mark } from './bank.ts';

/** `Books` without maps, for a pipe. */
export interface PlainBooks {
  readonly numbers: readonly number[];
  readonly marks: readonly (readonly [BlobId, Mark])[];
}

export function plain({ numbers, marks }: Books): PlainBooks {
  return { numbers, marks: [...marks] };
}

export class BankOracle {
  readonly #tellers: number;
  #marks = new Map<BlobId, Mark>();
  #numbers: readonly number[] = [];
  #done: Done[] = [];
  #safe = 0;
  #closed = false;
  /** Transactions that were known to be safe, and lost ones, so far. */
  readonly counts = { safe: 0, kept: 0, lost: 0, unsaid: 0 };

  constructor(tellers: number) {
    this.#tellers = tellers;
  }

  /** Committed. */
  done(done: Done): void {
    this.#done.push(done);
  }

  /** Every record up to this seq was acknowledged as written or synced. */
  safe(seq: number): void {
    this.#safe = Math.max(this.#safe, seq);
  }

  /** The pool was closed well: nothing may be missing. */
  closed(): void {
    this.#closed = true;
  }

  /** What is wrong with the books after the next opening, if anything; what they say counts then. */
  check({ numbers, marks }: PlainBooks): string | undefined {
    const wrong = this.#wrong(numbers, new Map(marks));
    this.#marks = new Map(marks);
    this.#numbers = numbers;
    this.#done = [];
    this.#safe = 0;
    this.#closed = false;
    return wrong;
  }

  #wrong(numbers: readonly number[], marks: ReadonlyMap<BlobId, Mark>): string | undefined {
    if (this.#marks.size === 0) return undefined; // the first opening
    const isKept = ({ teller, number }: Done): boolean => number <= (numbers[teller] as number);
    const kept = this.#done.filter(isKept);
    const lost = this.#done.filter((done) => !isKept(done));
    this.#count(kept, lost);
    return (
      this.#wrongNumbers(numbers) ??
      this.#wrongPrefix(kept, lost) ??
      this.#wrongMarks(kept, numbers, marks)
    );
  }

  #count(kept: readonly Done[], lost: readonly Done[]): void {
    this.counts.kept += kept.length;
    this.counts.lost += lost.length;
    this.counts.safe += kept.filter(({ seq }) => seq <= this.#safe).length;
  }

  #said(teller: number): number {
    const said = this.#done.filter((done) => done.teller === teller).map(({ number }) => number);
    return Math.max(this.#numbers[teller] as number, ...said);
  }

  #wrongNumbers(numbers: readonly number[]): string | undefined {
    for (let teller = 0; teller < this.#tellers; teller++) {
      const [now, before] = [numbers[teller] as number, this.#numbers[teller] as number];
      const said = this.#said(teller);
      if (now < before) return `teller ${teller} is back at ${now}, it was at ${before}`;
      if (now > said + 1) return `teller ${teller} is at ${now}, it has said ${said}`;
      if (now === said + 1) this.counts.unsaid++;
    }
    return undefined;
  }

  #wrongPrefix(kept: readonly Done[], lost: readonly Done[]): string | undefined {
    const last = Math.max(0, ...kept.map(({ seq }) => seq));
    for (const { teller, number, seq } of lost) {
      const what = `transaction ${number} of teller ${teller} (seq ${seq})`;
      if (this.#closed) return `${what} is lost after a close`;
      if (seq <= this.#safe) return `${what} is lost, seq ${this.#safe} was acknowledged`;
      if (seq < last) return `${what} is lost, a later one (seq ${last}) is there: no prefix`;
    }
    return undefined;
  }

  /** Each blob must name the last transaction that has changed it. */
  #wrongMarks(
    kept: readonly Done[],
    numbers: readonly number[],
    marks: ReadonlyMap<BlobId, Mark>,
  ): string | undefined {
    const last = new Map<BlobId, string>();
    const name = (teller: number, number: number): string => `${number} of teller ${teller}`;
    for (const [id, { teller, number }] of this.#marks) last.set(id, name(teller, number));
    for (const { touched, gone, teller, number } of [...kept].sort((a, b) => a.seq - b.seq)) {
      for (const id of touched) last.set(id, name(teller, number));
      if (gone !== undefined) last.delete(gone);
    }
    const isUnsaid = (teller: number, number: number): boolean => number > this.#said(teller);
    for (const [id, { teller, number }] of marks) {
      if (isUnsaid(teller, number)) continue;
      const [is, should] = [name(teller, number), last.get(id)];
      if (is !== should) return `blob ${id} was changed last by ${is}, it should be ${should}`;
    }
    const unsaid = numbers.some((number, teller) => isUnsaid(teller, number));
    for (const id of last.keys()) {
      if (!marks.has(id) && !unsaid) return `blob ${id} is missing`;
    }
    return undefined;
  }
}
