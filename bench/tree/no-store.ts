/** The same program without a store: what it has of memory beside. */
import { Buffer } from 'node:buffer';
import type { Store } from './store.ts';
import { VALUE_BYTES } from './workload.ts';

export class NoStore implements Store {
  readonly #value = Buffer.alloc(VALUE_BYTES);

  get(key: string): Uint8Array {
    this.read(key);
    return Buffer.from(this.#value);
  }

  /** The digits of the file's number are the index. */
  read(key: string): number {
    this.#value.writeUInt32LE(Number(key.slice(-10, -4)), 0);
    return this.#value.readUInt32LE(0);
  }

  put(): undefined {}

  putSynced(): Promise<void> {
    return Promise.resolve();
  }

  putBatch(): void {}

  deleteBatch(): void {}

  scan(): number {
    return 0;
  }

  rollUp(): string[] {
    return [];
  }

  rollUpBySeeks(): string[] {
    return [];
  }

  settle(): void {}

  liveBytes(): number {
    return 0;
  }

  close(): void {}
}
