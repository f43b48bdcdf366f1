/** Inner stores under a test's control, and variants of the stores that are broken on purpose. */
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import type * as Streams from '../../../src/streams/index.ts';
import {
  type AsyncByteStore,
  type ByteEntry,
  type ByteRange,
  type ByteWrite,
  MemoryStore,
} from '../../../src/streams/index.ts';
import { applyPatch, type Patch, PROJECT, temporaryDirectory } from '../../support/variant.ts';

export type { Patch } from '../../support/variant.ts';
export type StreamsModule = typeof Streams;

export function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'latin1'));
}

export function text(value: Uint8Array | undefined): string | undefined {
  return value && Buffer.from(value).toString('latin1');
}

export function pairs(entries: Iterable<readonly [Uint8Array, Uint8Array]>): string[] {
  return Array.from(entries, ([key, value]) => `${text(key)}=${text(value)}`);
}

/** Flushed entries as texts: `key=value`, `key-` for a tombstone. */
export function flushedTexts(
  entries: readonly { readonly key: Uint8Array; readonly value: Uint8Array | undefined }[],
): string[] {
  return entries.map(({ key, value }) => `${text(key)}${value ? `=${text(value)}` : '-'}`);
}

/** An inner store in memory that says which calls it got, and fails when it is told to. */
export class LoggingStore extends MemoryStore {
  readonly calls: string[] = [];
  /** Thrown by the calls whose text it matches. */
  failing: RegExp | undefined;

  #log(call: string): void {
    this.calls.push(call);
    if (this.failing?.test(call)) throw new Error(`no ${call}`);
  }

  override get(key: Uint8Array): Uint8Array | undefined {
    this.#log(`get ${text(key)}`);
    return super.get(key);
  }

  override put(key: Uint8Array, value: Uint8Array): void {
    this.#log(`put ${text(key)}=${text(value)}`);
    super.put(key, value);
  }

  override delete(key: Uint8Array): void {
    this.#log(`delete ${text(key)}`);
    super.delete(key);
  }

  override clear(): void {
    this.#log('clear');
    super.clear();
  }

  content(): string[] {
    return pairs(this.range({ low: undefined, high: undefined, reverse: false }));
  }
}

/** The same without `batch`. */
export class SingleStore extends LoggingStore {
  // biome-ignore lint/suspicious/noExplicitAny: it is taken away
  override readonly batch: any = undefined;
}

/** A call of a staged store that waits for its turn. */
export interface Staged {
  readonly what: string;
  /** Lets it have its effect; the answer is still on its way. */
  act(): void;
  /** Lets it have its effect, if it has not yet, and answer. */
  land(): Promise<void>;
  fail(error?: Error): Promise<void>;
}

/** Lets everything go on that can. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((done) => setImmediate(done));
}

/** What it gives now, without anything else having to happen. */
export function now<T>(promise: Promise<T>): Promise<T> {
  const late = settle().then(() => {
    throw new Error('it waits for something');
  });
  return Promise.race([promise, late]);
}

/** The error that it will throw. */
export function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'no error',
    (error: unknown) => error,
  );
}

/** An asynchronous inner store whose calls have their effect when the test says so. */
export class StagedStore implements AsyncByteStore {
  readonly mode = 'async';
  readonly inner = new LoggingStore();
  /** Calls that wait, in the order in which they came. */
  readonly waiting: Staged[] = [];
  /** All calls, in the order in which they came. */
  readonly calls: string[] = [];
  batch?: (writes: readonly ByteWrite[]) => Promise<void>;

  constructor(options: { readonly withBatch?: boolean } = {}) {
    if (options.withBatch === true) {
      this.batch = (writes) =>
        this.#stage(`batch ${flushedTexts(writes).join(' ')}`, () => this.inner.batch(writes));
    }
  }

  #stage<T>(what: string, effect: () => T): Promise<T> {
    this.calls.push(what);
    return new Promise((resolve, reject) => {
      const take = (): void => {
        this.waiting.splice(this.waiting.indexOf(staged), 1);
      };
      let done: { readonly result: T } | undefined;
      const staged: Staged = {
        what,
        act() {
          done ??= { result: effect() };
        },
        async land() {
          take();
          this.act();
          resolve((done as { readonly result: T }).result);
          await settle();
        },
        async fail(error = new Error(`no ${what}`)) {
          take();
          reject(error);
          await settle();
        },
      };
      this.waiting.push(staged);
    });
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#stage(`get ${text(key)}`, () => this.inner.get(key));
  }

  put(key: Uint8Array, value: Uint8Array): Promise<void> {
    return this.#stage(`put ${text(key)}=${text(value)}`, () => this.inner.put(key, value));
  }

  delete(key: Uint8Array): Promise<void> {
    return this.#stage(`delete ${text(key)}`, () => this.inner.delete(key));
  }

  clear(): Promise<void> {
    return this.#stage('clear', () => this.inner.clear());
  }

  /** One call, `range`, for what the whole range has when it lands. */
  async *range(range: ByteRange): AsyncGenerator<ByteEntry> {
    yield* await this.#stage('range', () => [...this.inner.range(range)]);
  }

  /** The one call that waits and is so called. */
  at(what: string): Staged {
    const found = this.waiting.filter((staged) => staged.what === what);
    if (found.length !== 1) {
      throw new Error(`${found.length} calls of ${what} wait: ${this.#texts().join(', ')}`);
    }
    return found[0] as Staged;
  }

  #texts(): string[] {
    return this.waiting.map(({ what }) => what);
  }

  /** What waits now, after everything has gone on that can. */
  async pending(): Promise<string[]> {
    await settle();
    return this.#texts();
  }

  /** Lands what waits, in order, until nothing does. */
  async landAll(): Promise<void> {
    await settle();
    for (let [first] = this.waiting; first !== undefined; [first] = this.waiting)
      await first.land();
  }

  content(): string[] {
    return this.inner.content();
  }
}

/** The stores with some pieces of their source replaced. */
export async function variantOf(patches: readonly Patch[]): Promise<StreamsModule> {
  const outfile = join(temporaryDirectory('streams'), 'streams.mjs');
  const used = new Set<Patch>();
  await build({
    entryPoints: [join(PROJECT, 'src/streams/index.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'silent',
    plugins: [
      {
        name: 'patches',
        setup(builder) {
          builder.onLoad({ filter: /\.ts$/ }, ({ path }) => {
            let contents = readFileSync(path, 'utf8');
            for (const patch of patches) {
              if (patch.file !== relative(PROJECT, path)) continue;
              contents = applyPatch(contents, patch);
              used.add(patch);
            }
            return { contents, loader: 'ts' };
          });
        },
      },
    ],
  });
  for (const patch of patches) if (!used.has(patch)) throw new Error(`${patch.file} is not used`);
  return (await import(pathToFileURL(outfile).href)) as StreamsModule;
}
