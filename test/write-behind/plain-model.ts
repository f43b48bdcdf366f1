/**
 * A write-behind cache as one would write it down: lists and maps, no care for speed, promises or
 * crashes. What a cache does must be what this does.
 */

interface ModelEntry {
  value: number;
  changedAt: number;
}

export class PlainModel {
  readonly capacity: number;
  readonly store = new Map<string, number>();
  /** In the order of insertion. */
  readonly entries = new Map<string, ModelEntry>();
  /** In the order of becoming dirty. */
  dirty: string[] = [];
  flushes = 0;
  entriesFlushed = 0;
  now = 0;
  /** Keys for which the store fails. */
  failing: ReadonlySet<string> = new Set();

  constructor(capacity: number) {
    this.capacity = Math.max(1, capacity);
  }

  /** Whether the store took it. */
  #write(key: string): boolean {
    if (this.failing.has(key)) return false;
    this.store.set(key, (this.entries.get(key) as ModelEntry).value);
    this.dirty = this.dirty.filter((other) => other !== key);
    this.entriesFlushed++;
    return true;
  }

  /** Whether there is room for one more. */
  #makeRoom(): boolean {
    while (this.entries.size >= this.capacity) {
      const [victim = ''] = this.entries.keys();
      if (this.dirty.includes(victim) && !this.#write(victim)) return false;
      this.entries.delete(victim);
    }
    return true;
  }

  /** `failed`: nothing was done. */
  put(key: string, value: number): 'done' | 'failed' {
    if (!this.entries.has(key) && !this.#makeRoom()) return 'failed';
    this.entries.set(key, { value, changedAt: this.now });
    if (!this.dirty.includes(key)) this.dirty.push(key);
    return 'done';
  }

  get(key: string): number | undefined | 'failed' {
    const entry = this.entries.get(key);
    if (entry !== undefined) return entry.value;
    if (this.failing.has(key)) return 'failed';
    const value = this.store.get(key);
    if (value !== undefined && this.#makeRoom()) this.entries.set(key, { value, changedAt: 0 });
    return value;
  }

  delete(key: string): boolean | 'failed' {
    if (this.failing.has(key)) return 'failed';
    this.store.delete(key);
    this.dirty = this.dirty.filter((other) => other !== key);
    return this.entries.delete(key);
  }

  markClean(key: string): boolean {
    const was = this.dirty.includes(key);
    this.dirty = this.dirty.filter((other) => other !== key);
    return was;
  }

  flush(): number | 'failed' {
    const written = this.#flush(this.dirty);
    if (written !== 'failed') this.flushes++;
    return written;
  }

  flushIfNeeded(count: number): number | 'failed' {
    return this.dirty.length >= count ? this.flush() : 0;
  }

  flushOlderThan(ms: number): number | 'failed' {
    const isOld = (key: string): boolean =>
      this.now - (this.entries.get(key) as ModelEntry).changedAt >= ms;
    const written = this.#flush(this.dirty.filter((key) => ms === 0 || isOld(key)));
    if (written !== 'failed' && written > 0) this.flushes++;
    return written;
  }

  #flush(keys: readonly string[]): number | 'failed' {
    const written = keys.filter((key) => this.#write(key)).length;
    return written === keys.length ? written : 'failed';
  }

  /** Counts begin again. */
  reopened(): void {
    this.flushes = 0;
    this.entriesFlushed = 0;
  }
}
