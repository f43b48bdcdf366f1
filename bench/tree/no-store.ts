/** The same program without a store: what it has of memory beside. */
import type { Store } from './store.ts';
import { Values } from './workload.ts';

export class NoStore implements Store {
  readonly #values = new Values();

  get(key: string): Uint8Array {
    // The digits of the file's number are the index.
    return Uint8Array.from(this.#values.of(Number(key.slice(-10, -4))));
  }

  read(key: string): number {
    return this.#values.of(Number(key.slice(-10, -4))).readUInt32LE(0);
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
