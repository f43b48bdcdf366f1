/**
 * Reads of an inner store that are under way, and whether what they bring is still worth anything.
 *
 * Owns:        the marks.
 * Invariants:  a read is stale if its key was changed, in the cache or in the inner store, after it
 *              began: what it brings may be returned to who asked, but not be kept nor be decided on.
 * Threads:     private to a thread; needed only over stores that answer later.
 */

/** One read that is under way. */
export interface ReadMark {
  isStale: boolean;
}

export class ReadMarks {
  readonly #marks = new Map<string, Set<ReadMark>>();

  begin(id: string): ReadMark {
    const mark = { isStale: false };
    const marks = this.#marks.get(id);
    if (marks === undefined) this.#marks.set(id, new Set([mark]));
    else marks.add(mark);
    return mark;
  }

  end(id: string, mark: ReadMark): void {
    const marks = this.#marks.get(id);
    marks?.delete(mark);
    if (marks?.size === 0) this.#marks.delete(id);
  }

  /** The key has been changed. */
  touch(id: string): void {
    if (this.#marks.size === 0) return;
    for (const mark of this.#marks.get(id) ?? []) mark.isStale = true;
  }

  /** All keys have been changed. */
  touchAll(): void {
    for (const id of this.#marks.keys()) this.touch(id);
  }
}
