/**
 * The store in memory: nothing survives the process, everything else behaves as on disk.
 *
 * Owns:        nothing; the bytes belong to `MemoryStoreData`, which lives as long as somebody
 *              keeps it, is shared by all threads, and can be opened again.
 * Invariants:  a commit is one compare-and-swap of the head word, after its record was written: a
 *              thread that dies before it leaves the store as it was.
 * Threads:     as `StoreBackend`. Opening begins a new generation, which fences off whoever had
 *              the store open before.
 *
 * Commits are recorded as in a manifest file, in two areas that take turns: the generation's
 * parity says which. What the areas and the slots do not use is never touched and costs nothing.
 */
import { randomBytes } from 'node:crypto';
import { WeirpoolError } from '../errors.ts';
import type {
  BackendContext,
  BackendHandle,
  BackendUsage,
  SlotWrite,
  SlotWriteResult,
  StoreBackend,
  StoreChange,
  StoreImage,
} from './contract.ts';
import {
  BLOCK_BYTES,
  encodeHeader,
  encodeRecord,
  FIRST_RECORD,
  FORMAT_VERSION,
  KIND_CHANGE,
  KIND_SNAPSHOT,
} from './manifest.ts';
import { readManifest } from './manifest-reader.ts';
import { Positions } from './positions.ts';
import {
  assertChange,
  assertSlotBytes,
  recordOf,
  type StateChange,
  StoreState,
} from './store-state.ts';

const CAPACITY_BYTES_DEFAULT = 1024 ** 3;
/** A chunk is one allocation: small enough for any machine to promise, large enough for blobs. */
const CHUNK_BYTES = 64 * 1024 * 1024;
/** Room for records besides the snapshot, and for roots in it. */
const LOG_BYTES_SPARE = 4 * 1024 * 1024;
const MAPPED_BYTES = 24;
const STORE_ID_BYTES = 8;
/** Head word: generation in the upper half, blocks of its log in the lower one. */
const GENERATION_SHIFT = 32n;
const BLOCKS_MASK = 0xffff_ffffn;

export interface MemoryStoreOptions {
  /** Bytes of blobs that fit, reserved and not used before they are written. Default 1 GiB. */
  readonly capacityBytes?: number;
}

/** A store in shared memory; cloneable. */
export interface MemoryStoreData {
  /** 64 random bits: tells this store from others, at every opening. */
  readonly storeId: bigint;
  readonly blobBytes: number;
  readonly slotCount: number;
  readonly slotsPerChunk: number;
  readonly chunks: readonly SharedArrayBuffer[];
  readonly logs: readonly [SharedArrayBuffer, SharedArrayBuffer];
  readonly head: BigInt64Array;
}

export interface MemoryHandle extends BackendHandle {
  readonly kind: 'memory';
  readonly data: MemoryStoreData;
}

/**
 * An empty store in memory.
 *
 * @throws {RangeError} `capacityBytes` that is no positive whole number.
 */
export function createMemoryStore(
  blobBytes: number,
  options: MemoryStoreOptions = {},
): MemoryStoreData {
  const capacityBytes = options.capacityBytes ?? CAPACITY_BYTES_DEFAULT;
  if (!Number.isSafeInteger(capacityBytes) || capacityBytes < 1) {
    throw new RangeError(`capacityBytes must be a positive whole number, not ${capacityBytes}`);
  }
  const slotCount = Math.ceil(capacityBytes / blobBytes);
  const slotsPerChunk = Math.max(1, Math.min(slotCount, Math.floor(CHUNK_BYTES / blobBytes)));
  const chunkCount = Math.ceil(slotCount / slotsPerChunk);
  const logBytes =
    Math.ceil((2 * slotCount * MAPPED_BYTES) / BLOCK_BYTES) * BLOCK_BYTES + LOG_BYTES_SPARE;
  return {
    storeId: randomBytes(STORE_ID_BYTES).readBigUInt64LE(),
    blobBytes,
    slotCount,
    slotsPerChunk,
    chunks: Array.from(
      { length: chunkCount },
      () => new SharedArrayBuffer(slotsPerChunk * blobBytes),
    ),
    logs: [new SharedArrayBuffer(logBytes), new SharedArrayBuffer(logBytes)],
    head: new BigInt64Array(new SharedArrayBuffer(BigInt64Array.BYTES_PER_ELEMENT)),
  };
}

function headOf(generation: number, logEnd: number): bigint {
  return (BigInt(generation) << GENERATION_SHIFT) | BigInt(logEnd / BLOCK_BYTES);
}

export class MemoryBackend implements StoreBackend {
  readonly data: MemoryStoreData;
  readonly #context: BackendContext;
  readonly #positions: Positions;
  readonly #chunks: readonly Uint8Array[];
  readonly #logs: readonly Uint8Array[];
  #closed = false;

  /** @param data  A store that exists already; default: a new one of the default capacity. */
  constructor(
    context: BackendContext,
    data: MemoryStoreData = createMemoryStore(context.blobBytes),
  ) {
    this.data = data;
    this.#context = context;
    this.#positions = new Positions(context.shared);
    this.#chunks = data.chunks.map((chunk) => new Uint8Array(chunk));
    this.#logs = data.logs.map((log) => new Uint8Array(log));
  }

  // --- opening and closing -------------------------------------------------------------------

  async open(): Promise<StoreImage> {
    const { blobBytes } = this.#context;
    if (this.data.blobBytes !== blobBytes) {
      throw new WeirpoolError(
        'BLOB_SIZE_MISMATCH',
        `The store in memory has blobs of ${this.data.blobBytes} bytes, not of ${blobBytes}. ` +
          `Open it with blobBytes: ${this.data.blobBytes}.`,
        { details: { found: this.data.blobBytes, wanted: blobBytes } },
      );
    }
    this.#positions.reset();
    const head = Atomics.load(this.data.head, 0);
    const state = this.#read(head);
    state.epoch++;
    this.#begin(head, state);
    return state.image(this.data.storeId);
  }

  handle(): MemoryHandle {
    return { kind: 'memory', data: this.data };
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #log(generation: number): Uint8Array {
    return this.#logs[generation % 2] as Uint8Array;
  }

  /** The state that a head word stands for. */
  #read(head: bigint): StoreState {
    if (head === 0n) return new StoreState();
    const generation = Number(head >> GENERATION_SHIFT);
    const logEnd = Number(head & BLOCKS_MASK) * BLOCK_BYTES;
    const bytes = this.#log(generation).subarray(0, logEnd);
    const file = { path: 'the store in memory', generation, bytes };
    return readManifest(this.#context.checksummer, file).state;
  }

  /** Begins the generation after `head` with a snapshot. */
  #begin(head: bigint, state: StoreState): void {
    const { checksummer, blobBytes } = this.#context;
    const { storeId } = this.data;
    const generation = Number(head >> GENERATION_SHIFT) + 1;
    const { epoch } = state;
    const header = { formatVersion: FORMAT_VERSION, blobBytes, storeId, generation, epoch };
    const seal = { checksummer, storeId, generation };
    const change = state.snapshot();
    const snapshot = encodeRecord(seal, KIND_SNAPSHOT, change, FIRST_RECORD);
    const logEnd = FIRST_RECORD + snapshot.length;
    const log = this.#log(generation);
    if (logEnd > log.length) throw this.#logFull(logEnd);
    log.set(encodeHeader(checksummer, header));
    log.fill(0, BLOCK_BYTES, FIRST_RECORD);
    log.set(snapshot, FIRST_RECORD);
    this.#moveHead(head, headOf(generation, logEnd));
    this.#positions.generation = generation;
    this.#positions.snapshotEnd = logEnd;
    this.#publish(logEnd, change);
  }

  #moveHead(from: bigint, to: bigint): void {
    if (Atomics.compareExchange(this.data.head, 0, from, to) !== from) throw this.#fenced();
  }

  #publish(logEnd: number, change: StateChange): void {
    this.#positions.logEnd = logEnd;
    this.#positions.publish(change);
  }

  #fenced(): WeirpoolError {
    return new WeirpoolError(
      'FENCED',
      'The store in memory was opened again elsewhere. Close this pool, and use one at a time.',
      { details: { epoch: this.#positions.epoch } },
    );
  }

  #logFull(bytes: number): WeirpoolError {
    return new WeirpoolError(
      'STORE_FULL',
      `The store in memory has no room for a record that ends at byte ${bytes} of its log. ` +
        'Make it with a larger `capacityBytes`, or commit in smaller parts.',
      { details: { bytes, capacityBytes: this.data.logs[0].byteLength } },
    );
  }

  // --- using ---------------------------------------------------------------------------------

  /** The slot's bytes, of which `other` is to be the source or the target. */
  #bytesOf(slot: number, other: Uint8Array): Uint8Array {
    const { blobBytes, slotCount, slotsPerChunk } = this.data;
    this.#assertOpen();
    assertSlotBytes(slot, other, blobBytes);
    if (slot < slotCount) {
      const chunk = this.#chunks[Math.floor(slot / slotsPerChunk)] as Uint8Array;
      const at = (slot % slotsPerChunk) * blobBytes;
      return chunk.subarray(at, at + blobBytes);
    }
    throw new WeirpoolError(
      'STORE_FULL',
      `The store in memory has ${slotCount} slots; slot ${slot} is beyond them. Make it with a ` +
        'larger `capacityBytes`.',
      { details: { slot, slotCount } },
    );
  }

  #assertOpen(): void {
    if (this.#closed) throw new WeirpoolError('POOL_CLOSED', 'The store in memory is not open.');
  }

  readSlot(slot: number, target: Uint8Array): void {
    target.set(this.#bytesOf(slot, target));
  }

  writeSlot(slot: number, source: Uint8Array): void {
    this.#bytesOf(slot, source).set(source);
  }

  async writeSlots(writes: readonly SlotWrite[]): Promise<readonly SlotWriteResult[]> {
    for (const { slot, source } of writes) assertSlotBytes(slot, source, this.data.blobBytes);
    return writes.map(({ slot, source }) => {
      try {
        this.writeSlot(slot, source);
        return { slot, error: undefined };
      } catch (error) {
        return { slot, error: error as Error };
      }
    });
  }

  sync(): void {
    this.#assertOpen();
  }

  commit(change: StoreChange): void {
    this.#assertOpen();
    assertChange(change);
    const { generation, logEnd } = this.#positions;
    const head = headOf(generation, logEnd);
    if (Atomics.load(this.data.head, 0) !== head) throw this.#fenced();
    const next = recordOf(change, this.#positions);
    const { checksummer } = this.#context;
    const seal = { checksummer, storeId: this.data.storeId, generation };
    const record = encodeRecord(seal, KIND_CHANGE, next, logEnd);
    const end = logEnd + record.length;
    const log = this.#log(generation);
    if (end > log.length) {
      const state = this.#read(head);
      state.apply(next);
      this.#begin(head, state);
      return;
    }
    log.set(record, logEnd);
    this.#moveHead(head, headOf(generation, end));
    this.#publish(end, next);
  }

  usage(): BackendUsage {
    const { slotCount, blobBytes } = this.data;
    return { dataBytes: slotCount * blobBytes, manifestBytes: this.#positions.logEnd };
  }
}
