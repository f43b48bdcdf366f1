/**
 * What a decoder may ask for: bytes of memory and file calls, counted and not timed.
 *
 * Owns:        the constructors and functions by which the product makes arrays, buffers and memories,
 *              replaced in this process by such that count what is asked for.
 * Invariants:  the same case asks for the same: nothing here depends on the collector or on a clock.
 * Threads:     the main thread of a fuzz program.
 *
 * Who asks for more than the bound gets an error instead of the memory, so that a case that would
 * take gigabytes fails quickly. Whoever catches that error is found out all the same: `exceeded`
 * stays. Strings, maps and arrays that grow by pushing are not counted: the heap of the process is
 * limited instead, and its end is the end of the program.
 */
import { Buffer } from 'node:buffer';
import type { FileSystem } from '../../../src/fs/file-system.ts';

const PAGE_BYTES = 65536;
/** What an element of a list takes at least. */
const ELEMENT_BYTES = 8;

/** Not an error of the product: nothing may turn it into an answer. */
export class Excess extends Error {
  override readonly name = 'Excess';
}

export class Budget {
  /** Bytes of arrays and buffers asked for since `begin`. */
  bytes = 0;
  /** Of wasm memories, which take nothing before they are touched. */
  reserved = 0;
  calls = 0;
  exceeded: Excess | undefined;
  #bytesMax = Number.POSITIVE_INFINITY;
  #reservedMax = Number.POSITIVE_INFINITY;
  #callsMax = Number.POSITIVE_INFINITY;

  begin(bytesMax: number, reservedMax: number, callsMax: number): void {
    this.bytes = 0;
    this.reserved = 0;
    this.calls = 0;
    this.exceeded = undefined;
    this.#bytesMax = bytesMax;
    this.#reservedMax = reservedMax;
    this.#callsMax = callsMax;
  }

  /** From here on nothing is limited. */
  end(): void {
    this.#bytesMax = Number.POSITIVE_INFINITY;
    this.#reservedMax = Number.POSITIVE_INFINITY;
    this.#callsMax = Number.POSITIVE_INFINITY;
  }

  take(bytes: number): void {
    if (!(bytes > 0)) return;
    this.bytes += bytes;
    if (this.bytes <= this.#bytesMax) return;
    this.exceeded ??= new Excess(`${this.bytes} bytes were asked for, of ${this.#bytesMax}`);
    throw this.exceeded;
  }

  reserve(bytes: number): void {
    this.reserved += bytes;
    if (this.reserved <= this.#reservedMax) return;
    this.exceeded ??= new Excess(`${this.reserved} bytes reserved, of ${this.#reservedMax}`);
    throw this.exceeded;
  }

  call(name: string): void {
    if (++this.calls <= this.#callsMax) return;
    this.exceeded ??= new Excess(`${this.#callsMax} file calls, the next one is ${name}`);
    throw this.exceeded;
  }
}

type Constructor = new (...args: never[]) => object;

/** A constructor of which each call is counted first. */
function counted<C extends Constructor>(original: C, count: (args: readonly unknown[]) => void): C {
  return new Proxy(original, {
    construct(target, args, newTarget) {
      count(args);
      return Reflect.construct(target, args, newTarget);
    },
  });
}

function lengthOf(value: unknown): number {
  if (typeof value === 'number') return value;
  // A view of a buffer takes nothing; a copy of an array does.
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return 0;
  return Number((value as { length?: unknown } | undefined)?.length ?? 0);
}

const VIEWS = [
  'Uint8Array',
  'Uint16Array',
  'Uint32Array',
  'Int32Array',
  'Float64Array',
  'BigUint64Array',
  'BigInt64Array',
] as const;

/** Replaces the ways to ask for memory, once for a process. */
export function installBudget(): Budget {
  const budget = new Budget();
  const globals = globalThis as unknown as Record<string, Constructor>;
  for (const name of VIEWS) {
    const original = globals[name] as Constructor & { readonly BYTES_PER_ELEMENT: number };
    const width = original.BYTES_PER_ELEMENT;
    globals[name] = counted(original, ([first]) => budget.take(lengthOf(first) * width));
  }
  for (const name of ['ArrayBuffer', 'SharedArrayBuffer'] as const) {
    globals[name] = counted(globals[name] as Constructor, ([bytes]) => budget.take(Number(bytes)));
  }
  globals['Array'] = counted(globals['Array'] as Constructor, (args) => {
    if (args.length === 1) budget.take(Number(args[0]) * ELEMENT_BYTES);
  });
  const api = (globalThis as unknown as { WebAssembly: Record<string, Constructor> }).WebAssembly;
  api['Memory'] = counted(api['Memory'] as Constructor, ([descriptor]) => {
    budget.reserve((descriptor as { readonly initial: number }).initial * PAGE_BYTES);
  });
  installFunctions(budget);
  return budget;
}

function installFunctions(budget: Budget): void {
  const { alloc, allocUnsafe, concat } = Buffer;
  Buffer.alloc = ((bytes: number, ...rest: [never]) => {
    budget.take(bytes);
    return alloc.call(Buffer, bytes, ...rest);
  }) as typeof Buffer.alloc;
  Buffer.allocUnsafe = (bytes) => {
    budget.take(bytes);
    return allocUnsafe.call(Buffer, bytes);
  };
  Buffer.concat = (list, total) => {
    budget.take(total ?? list.reduce((sum, { length }) => sum + length, 0));
    return concat.call(Buffer, list, total);
  };
  const { from } = Array;
  Array.from = ((items: unknown, ...rest: [never]) => {
    budget.take(lengthOf(items) * ELEMENT_BYTES);
    return from.call(Array, items as ArrayLike<unknown>, ...rest);
  }) as typeof Array.from;
}

/** The file system, each call counted. */
export function countedFiles<F extends FileSystem>(budget: Budget, fs: F): F {
  return new Proxy(fs, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown => {
        budget.call(String(name));
        return value.apply(target, args);
      };
    },
  });
}
