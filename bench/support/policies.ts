/**
 * Replacement policies over numbers, for comparison: nothing is pinned, nothing is dirty.
 *
 * A policy has `frames` frames and sees the blobs 0 to `blobs` - 1.
 */

export interface Policy {
  /** Accesses the blob, loading it if need be: whether it was a hit. */
  access(blob: number): boolean;
}

const NONE = -1;

/** A list of frames; `links` can be shared by lists that never hold the same frame. */
class List {
  size = 0;
  #young = NONE;
  #old = NONE;
  readonly #younger: Int32Array;
  readonly #older: Int32Array;

  constructor(frames: number) {
    this.#younger = new Int32Array(frames).fill(NONE);
    this.#older = new Int32Array(frames).fill(NONE);
  }

  /** The oldest frame, NONE if there is none. */
  get oldest(): number {
    return this.#old;
  }

  younger(frame: number): number {
    return this.#younger[frame] as number;
  }

  push(frame: number): void {
    this.#younger[frame] = NONE;
    this.#older[frame] = this.#young;
    if (this.#young === NONE) this.#old = frame;
    else this.#younger[this.#young] = frame;
    this.#young = frame;
    this.size++;
  }

  remove(frame: number): void {
    const younger = this.#younger[frame] as number;
    const older = this.#older[frame] as number;
    if (younger === NONE) this.#young = older;
    else this.#older[younger] = older;
    if (older === NONE) this.#old = younger;
    else this.#younger[older] = younger;
    this.size--;
  }
}

/** What all policies have in common: where the blobs are. */
abstract class Frames implements Policy {
  protected readonly frames: number;
  protected readonly blobOf: Int32Array;
  readonly #frameOf: Int32Array;
  #used = 0;

  constructor(frames: number, blobs: number) {
    this.frames = frames;
    this.blobOf = new Int32Array(frames).fill(NONE);
    this.#frameOf = new Int32Array(blobs).fill(NONE);
  }

  access(blob: number): boolean {
    const there = this.#frameOf[blob] as number;
    if (there !== NONE) {
      this.hit(there);
      return true;
    }
    let frame = this.#used;
    if (this.#used < this.frames) this.#used++;
    else {
      frame = this.victim();
      this.#frameOf[this.blobOf[frame] as number] = NONE;
    }
    this.blobOf[frame] = blob;
    this.#frameOf[blob] = frame;
    this.loaded(frame, blob);
    return false;
  }

  protected abstract hit(frame: number): void;
  /** Chooses a frame and takes it out of whatever it is in; all frames are in use. */
  protected abstract victim(): number;
  protected abstract loaded(frame: number, blob: number): void;
}

/** Exact LRU. */
export class Lru extends Frames {
  readonly #list: List;

  constructor(frames: number, blobs: number) {
    super(frames, blobs);
    this.#list = new List(frames);
  }

  protected override hit(frame: number): void {
    this.#list.remove(frame);
    this.#list.push(frame);
  }

  protected override victim(): number {
    const frame = this.#list.oldest;
    this.#list.remove(frame);
    return frame;
  }

  protected override loaded(frame: number): void {
    this.#list.push(frame);
  }
}

/** CLOCK with a counter up to `counterMax` (1 is the classic one); new blobs begin at 0. */
export class Clock extends Frames {
  readonly #counterMax: number;
  readonly #recency: Uint8Array;
  #hand = 0;

  constructor(frames: number, blobs: number, counterMax: number) {
    super(frames, blobs);
    this.#counterMax = counterMax;
    this.#recency = new Uint8Array(frames);
  }

  protected override hit(frame: number): void {
    const recency = this.#recency[frame] as number;
    if (recency < this.#counterMax) this.#recency[frame] = recency + 1;
  }

  protected override victim(): number {
    for (;;) {
      const frame = this.#hand;
      this.#hand = (frame + 1) % this.frames;
      const recency = this.#recency[frame] as number;
      if (recency === 0) return frame;
      this.#recency[frame] = recency - 1;
    }
  }

  protected override loaded(frame: number): void {
    this.#recency[frame] = 0;
  }
}

/** SIEVE: a queue in which survivors stay where they are (Zhang et al., NSDI 2024). */
export class Sieve extends Frames {
  readonly #list: List;
  readonly #visited: Uint8Array;
  #hand = NONE;

  constructor(frames: number, blobs: number) {
    super(frames, blobs);
    this.#list = new List(frames);
    this.#visited = new Uint8Array(frames);
  }

  protected override hit(frame: number): void {
    this.#visited[frame] = 1;
  }

  protected override victim(): number {
    for (;;) {
      if (this.#hand === NONE) this.#hand = this.#list.oldest;
      const frame = this.#hand;
      this.#hand = this.#list.younger(frame);
      if (this.#visited[frame] === 0) {
        this.#list.remove(frame);
        return frame;
      }
      this.#visited[frame] = 0;
    }
  }

  protected override loaded(frame: number): void {
    this.#visited[frame] = 0;
    this.#list.push(frame);
  }
}

/** Remembers the last `capacity` blobs exactly. */
class FifoGhost implements Ghost {
  readonly #capacity: number;
  readonly #addedAt: Float64Array;
  #added = 0;

  constructor(capacity: number, blobs: number) {
    this.#capacity = capacity;
    this.#addedAt = new Float64Array(blobs);
  }

  add(blob: number): void {
    this.#added++;
    this.#addedAt[blob] = this.#added;
  }

  take(blob: number): boolean {
    const at = this.#addedAt[blob] as number;
    this.#addedAt[blob] = 0;
    return at > 0 && this.#added - at < this.#capacity;
  }
}

const WAYS = 4;

/** As assembly/replacement.ts: buckets of four, the oldest of a bucket is forgotten. */
class BucketGhost implements Ghost {
  readonly #entries: Int32Array;
  readonly #buckets: number;

  constructor(capacity: number) {
    this.#buckets = Math.max(1, Math.floor(capacity / WAYS));
    this.#entries = new Int32Array(this.#buckets * WAYS).fill(NONE);
  }

  #bucket(blob: number): number {
    let h = blob ^ (blob >>> 16);
    h = Math.imul(h, 0x85ebca6b);
    h ^= h >>> 13;
    h = Math.imul(h, 0xc2b2ae35);
    h ^= h >>> 16;
    return ((h >>> 0) % this.#buckets) * WAYS;
  }

  add(blob: number): void {
    const bucket = this.#bucket(blob);
    this.#entries.copyWithin(bucket + 1, bucket, bucket + WAYS - 1);
    this.#entries[bucket] = blob;
  }

  take(blob: number): boolean {
    const bucket = this.#bucket(blob);
    const at = this.#entries.indexOf(blob, bucket);
    if (at === NONE || at >= bucket + WAYS) return false;
    this.#entries.copyWithin(at, at + 1, bucket + WAYS);
    this.#entries[bucket + WAYS - 1] = NONE;
    return true;
  }
}

interface Ghost {
  add(blob: number): void;
  /** Whether the blob is remembered; forgets it. */
  take(blob: number): boolean;
}

export interface S3FifoOptions {
  /** Share of the frames that the small queue may fill. */
  readonly small: number;
  /** Largest value of the hit counter; `promoteAt` hits move a frame to the main queue. */
  readonly counterMax: number;
  readonly promoteAt: number;
  /** `fifo`: exact, 0.9 x frames, as in the paper. `buckets`: as many ids as frames. */
  readonly ghost: 'none' | 'fifo' | 'buckets';
}

/** S3-FIFO (Yang et al., SOSP 2023) and its relatives. */
export class S3Fifo extends Frames {
  readonly #options: S3FifoOptions;
  readonly #small: List;
  readonly #main: List;
  readonly #recency: Uint8Array;
  readonly #target: number;
  readonly #ghost: Ghost | undefined;

  constructor(frames: number, blobs: number, options: S3FifoOptions) {
    super(frames, blobs);
    this.#options = options;
    this.#small = new List(frames);
    this.#main = new List(frames);
    this.#recency = new Uint8Array(frames);
    this.#target = Math.max(2, Math.min(4, frames >> 1), Math.floor(frames * options.small));
    if (options.ghost === 'fifo') this.#ghost = new FifoGhost(Math.floor(frames * 0.9), blobs);
    if (options.ghost === 'buckets') this.#ghost = new BucketGhost(frames);
  }

  protected override hit(frame: number): void {
    const recency = this.#recency[frame] as number;
    if (recency < this.#options.counterMax) this.#recency[frame] = recency + 1;
  }

  protected override victim(): number {
    while (this.#small.size >= this.#target || (this.#main.size === 0 && this.#small.size > 0)) {
      const frame = this.#small.oldest;
      this.#small.remove(frame);
      if ((this.#recency[frame] as number) < this.#options.promoteAt) {
        this.#ghost?.add(this.blobOf[frame] as number);
        return frame;
      }
      this.#recency[frame] = 0;
      this.#main.push(frame);
    }
    for (;;) {
      const frame = this.#main.oldest;
      this.#main.remove(frame);
      const recency = this.#recency[frame] as number;
      if (recency === 0) return frame;
      this.#recency[frame] = recency - 1;
      this.#main.push(frame);
    }
  }

  protected override loaded(frame: number, blob: number): void {
    this.#recency[frame] = 0;
    if (this.#ghost?.take(blob) === true) this.#main.push(frame);
    else this.#small.push(frame);
  }
}
