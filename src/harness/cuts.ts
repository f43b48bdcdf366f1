/**
 * Consistent reads of many keys: each must give the state of one moment within its call.
 *
 * The order of all changes is not searched for: an index says it, by the seqs of its commits. That
 * order must agree with time, and a consistent read must be the state behind one of its prefixes:
 * behind all changes that had returned before the call, and none that were called after its return.
 * So a change of several keys is seen whole or not at all.
 */

/** A change, or several at once, as its caller saw it. */
export interface SeenChange {
  /** Its place among all changes of the index. */
  readonly seq: number;
  /** Values by key; undefined is none. */
  readonly changes: ReadonlyMap<string, string | undefined>;
  readonly invoked: number;
  readonly responded: number;
}

/** A consistent read, as its caller saw it. */
export interface SeenCut {
  readonly invoked: number;
  readonly responded: number;
  /** Keys that it read; all that are not in `values` had none. */
  readonly covers: (key: string) => boolean;
  readonly values: ReadonlyMap<string, string>;
}

const DIFFERENCES_MAX = 6;

/**
 * Checks that the seqs of changes agree with time: what had returned before another one was called
 * has the lower seq; and that no seq comes twice.
 *
 * @returns  What is wrong, or undefined.
 */
export function checkOrder(changes: readonly SeenChange[]): string | undefined {
  const ordered = [...changes].sort((a, b) => a.seq - b.seq);
  let earliest: SeenChange | undefined;
  for (const [n, change] of [...ordered.entries()].reverse()) {
    if (ordered[n - 1]?.seq === change.seq) return `two changes have seq ${change.seq}`;
    if (earliest !== undefined && earliest.responded < change.invoked) {
      return (
        `seq ${change.seq} was called at ${change.invoked}, when seq ${earliest.seq} had returned ` +
        `at ${earliest.responded}`
      );
    }
    if (earliest === undefined || change.responded < earliest.responded) earliest = change;
  }
  return undefined;
}

/**
 * Checks that every consistent read is the state of one moment within its call.
 *
 * @param initial  Before all changes.
 * @param changes  All of them, in any order.
 * @returns        What is wrong with the first read that is not, or undefined.
 */
export function checkCuts(
  initial: ReadonlyMap<string, string>,
  changes: readonly SeenChange[],
  cuts: readonly SeenCut[],
): string | undefined {
  const ordered = [...changes].sort((a, b) => a.seq - b.seq);
  for (const cut of cuts) {
    const wrong = checkCut(initial, ordered, cut);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

/** State and read, and in which keys they differ. */
class Comparison {
  readonly #state: Map<string, string>;
  readonly #cut: SeenCut;
  readonly different = new Set<string>();

  constructor(initial: ReadonlyMap<string, string>, cut: SeenCut) {
    this.#state = new Map(initial);
    this.#cut = cut;
    for (const key of [...initial.keys(), ...cut.values.keys()]) this.#compare(key);
  }

  #compare(key: string): void {
    if (this.#cut.covers(key) && this.#state.get(key) !== this.#cut.values.get(key)) {
      this.different.add(key);
    } else {
      this.different.delete(key);
    }
  }

  apply({ changes }: SeenChange): void {
    for (const [key, value] of changes) {
      if (value === undefined) this.#state.delete(key);
      else this.#state.set(key, value);
      this.#compare(key);
    }
  }

  describe(): string {
    const texts = [...this.different].slice(0, DIFFERENCES_MAX).map((key) => {
      const [is, should] = [this.#cut.values.get(key), this.#state.get(key)];
      return `${key} is ${is ?? 'missing'}, not ${should ?? 'missing'}`;
    });
    const more = this.different.size - texts.length;
    return texts.join(', ') + (more > 0 ? `, and ${more} more` : '');
  }
}

function checkCut(
  initial: ReadonlyMap<string, string>,
  ordered: readonly SeenChange[],
  cut: SeenCut,
): string | undefined {
  // Behind all that had returned before it, in front of all that were called after it.
  const least = ordered.findLastIndex(({ responded }) => responded < cut.invoked) + 1;
  const first = ordered.findIndex(({ invoked }) => invoked > cut.responded);
  const most = first < 0 ? ordered.length : first;
  const comparison = new Comparison(initial, cut);
  let nearest: { readonly text: string; readonly size: number } | undefined;
  for (let count = 0; count <= most; count++) {
    if (count > 0) comparison.apply(ordered[count - 1] as SeenChange);
    if (count < least) continue;
    const { size } = comparison.different;
    if (size === 0) return undefined;
    if (nearest === undefined || size < nearest.size) {
      const seq = ordered[count - 1]?.seq ?? 0;
      nearest = { size, text: `behind seq ${seq}: ${comparison.describe()}` };
    }
  }
  return (
    `a consistent read in [${cut.invoked}, ${cut.responded}] is the state of no moment within; ` +
    `nearest is the one ${nearest?.text ?? 'of no seq'}`
  );
}
