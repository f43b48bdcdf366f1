/**
 * The manifest log: the append-only file in which every commit of a store is recorded.
 *
 * Owns:        the descriptor of the current generation (one for each thread), and the rule for
 *              when a new generation begins.
 * Invariants:  a record is written where the last synced one ends, and never over one;
 *              a new generation takes no commit before its name in the directory is synced;
 *              a failed sync stops the store for good: the next one would succeed although the
 *              pages are gone.
 * Threads:     under the commit lock. Positions are shared; a thread whose descriptor belongs to an
 *              older generation opens the current one.
 *
 * The fence. Who takes the directory over removes its holder's lock file and only then reads the
 * manifest. A commit looks for the lock file before it writes (nothing happened: `not_applied`),
 * and again after its sync: if the file is still there, the other's reading comes later and sees
 * the record; if not, the other may have read before it, and the outcome is `unknown`.
 */
import { type Outcome, WeirpoolError } from '../errors.ts';
import { closeQuietly, OPEN_WRITE, openOwn, readFully, readOwn, writeFully } from '../fs/files.ts';
import { ioError } from '../fs/io-error.ts';
import type { Checksummer } from '../memory/checksum.ts';
import type { StoreChange } from './contract.ts';
import { isHeld } from './directory-lock.ts';
import {
  BLOCK_BYTES,
  CLOSE_POSITION,
  encodeClose,
  encodeHeader,
  encodeRecord,
  FIRST_RECORD,
  FORMAT_VERSION,
  KIND_CHANGE,
  KIND_SNAPSHOT,
  type ManifestSeal,
} from './manifest.ts';
import {
  createManifest,
  type DirectoryAccess,
  manifestPath,
  newestGeneration,
  unknownOutcome,
} from './manifest-files.ts';
import {
  isManifestOf,
  type ManifestContent,
  manifestCorrupt,
  readManifest,
} from './manifest-reader.ts';
import type { Positions } from './positions.ts';
import { assertChange, recordOf, type StateChange, type StoreState } from './store-state.ts';

/** A generation takes records up to `logBytesMin`, or so many times the size of its snapshot. */
const LOG_TO_SNAPSHOT_MAX = 4;

export interface ManifestLogParts {
  readonly access: DirectoryAccess;
  readonly positions: Positions;
  readonly checksummer: Checksummer;
  readonly blobBytes: number;
  /** Path of the lock file whose absence means that the directory was taken over. */
  readonly lockFile: string;
  readonly logBytesMin: number;
}

export class ManifestLog {
  readonly #access: DirectoryAccess;
  readonly #positions: Positions;
  readonly #checksummer: Checksummer;
  readonly #blobBytes: number;
  readonly #lockFile: string;
  readonly #logBytesMin: number;
  /** Descriptor of `#generation`; undefined before this thread's first commit. */
  #fd: number | undefined;
  #generation = 0;
  /** Log end before which a generation that could not be begun is not tried again. */
  #rotateFrom = 0;

  constructor(parts: ManifestLogParts) {
    this.#access = parts.access;
    this.#positions = parts.positions;
    this.#checksummer = parts.checksummer;
    this.#blobBytes = parts.blobBytes;
    this.#lockFile = parts.lockFile;
    this.#logBytesMin = parts.logBytesMin;
  }

  get #path(): string {
    return manifestPath(this.#access.directory, this.#positions.generation);
  }

  #seal(generation: number): ManifestSeal {
    return { checksummer: this.#checksummer, storeId: this.#positions.storeId, generation };
  }

  // --- opening and closing -------------------------------------------------------------------

  /** What the newest manifest holds; undefined if there is none. Errors as `readManifest`. */
  load(): ManifestContent | undefined {
    const generation = newestGeneration(this.#access);
    return generation === 0 ? undefined : this.#read(generation);
  }

  #read(generation: number): ManifestContent {
    const path = manifestPath(this.#access.directory, generation);
    const bytes = readOwn(this.#access.fs, path);
    return readManifest(this.#checksummer, { path, generation, bytes });
  }

  /** Takes the positions of what was loaded, for usage figures: nothing is written, now or later. */
  adopt({ header, state, snapshotEnd, logEnd }: ManifestContent): void {
    this.#positions.storeId = header.storeId;
    this.#positions.generation = header.generation;
    this.#positions.snapshotEnd = snapshotEnd;
    this.#positions.logEnd = logEnd;
    this.#positions.publish(state);
  }

  /** Begins the generation after `previous` with a snapshot of the state. */
  begin(state: StoreState, storeId: bigint, previous: number): void {
    this.#positions.storeId = storeId;
    this.#startGeneration(previous + 1, state);
  }

  /** Records that nothing may be missing from the file. Opener only, when no thread commits. */
  finish(): void {
    if (this.#positions.stopped || !isHeld(this.#access.fs, this.#lockFile)) return;
    const { logEnd, commitNumber } = this.#positions;
    const block = encodeClose(this.#seal(this.#positions.generation), { logEnd, commitNumber });
    const fd = this.#currentFd();
    writeFully(this.#access.fs, { fd, path: this.#path, position: CLOSE_POSITION }, block);
    this.#sync(fd);
  }

  close(): void {
    if (this.#fd !== undefined) closeQuietly(this.#access.fs, this.#fd);
    this.#fd = undefined;
  }

  // --- committing ----------------------------------------------------------------------------

  /** Errors and outcomes as `StoreBackend.commit`. */
  commit(change: StoreChange): void {
    assertChange(change);
    this.#assertRunning();
    this.#assertHeldBefore();
    const next = recordOf(change, this.#positions);
    if (!this.#isFull() || !this.#tryRotate(next)) this.#append(next);
    this.#assertHeldAfter();
  }

  #assertRunning(): void {
    if (!this.#positions.stopped) return;
    throw new WeirpoolError(
      'STORE_IO',
      `${this.#access.directory} takes no commits any more: an earlier sync failed, or the ` +
        'directory was taken over. Close the pool and open the store again.',
      { details: { operation: 'commit', path: this.#path, errno: 'ESTOPPED' } },
    );
  }

  #assertHeldBefore(): void {
    if (isHeld(this.#access.fs, this.#lockFile)) return;
    throw this.#fenced('not_applied');
  }

  #assertHeldAfter(): void {
    let held = false;
    try {
      held = isHeld(this.#access.fs, this.#lockFile);
    } catch (error) {
      this.#positions.stop();
      throw unknownOutcome(error as WeirpoolError);
    }
    if (!held) throw this.#fenced('unknown');
  }

  #fenced(outcome: Outcome): WeirpoolError {
    this.#positions.stop();
    return new WeirpoolError(
      'FENCED',
      `${this.#lockFile} has gone: another process took the store over, or somebody removed or ` +
        'replaced the directory. Close this pool, and open the store in one place only.',
      { outcome, details: { path: this.#lockFile, epoch: this.#positions.epoch } },
    );
  }

  #append(change: StateChange): void {
    const { generation, logEnd } = this.#positions;
    const record = encodeRecord(this.#seal(generation), KIND_CHANGE, change, logEnd);
    const fd = this.#currentFd();
    try {
      writeFully(this.#access.fs, { fd, path: this.#path, position: logEnd }, record);
    } catch (error) {
      throw this.#undoAppend(fd, logEnd, error as WeirpoolError);
    }
    this.#sync(fd);
    this.#positions.logEnd = logEnd + record.length;
    this.#positions.publish(change);
  }

  /**
   * A write that failed may have left a record that is whole. It is cut off, durably, before the
   * caller hears that nothing was applied and uses the slots again.
   */
  #undoAppend(fd: number, logEnd: number, error: WeirpoolError): WeirpoolError {
    const { fs } = this.#access;
    try {
      if (fs.statFd(fd).bytes <= logEnd) return error;
      fs.truncate(fd, logEnd);
      fs.syncData(fd);
      return error;
    } catch {
      this.#positions.stop();
      return unknownOutcome(error);
    }
  }

  #sync(fd: number): void {
    try {
      this.#access.fs.syncData(fd);
    } catch (error) {
      this.#positions.stop();
      throw ioError(error, { operation: 'fdatasync', path: this.#path, outcome: 'unknown' });
    }
  }

  /** This thread's descriptor of the current generation. */
  #currentFd(): number {
    const { generation } = this.#positions;
    if (this.#fd !== undefined && this.#generation === generation) return this.#fd;
    this.close();
    const path = this.#path;
    const fd = openOwn(this.#access.fs, path, OPEN_WRITE);
    const head = new Uint8Array(BLOCK_BYTES);
    const bytes = readFully(this.#access.fs, { fd, path, position: 0 }, head);
    if (bytes < BLOCK_BYTES || !isManifestOf(this.#seal(generation), head)) {
      closeQuietly(this.#access.fs, fd);
      throw manifestCorrupt(path, 0, 'the header of the manifest that this pool has open');
    }
    this.#fd = fd;
    this.#generation = generation;
    return fd;
  }

  // --- generations ---------------------------------------------------------------------------

  /** The state after the last commit, as the current generation has it. Errors as `readManifest`. */
  committed(): StoreState {
    const { generation, logEnd, commitNumber } = this.#positions;
    const { state, logEnd: found } = this.#read(generation);
    if (found === logEnd && state.commitNumber === commitNumber) return state;
    throw manifestCorrupt(this.#path, found, `valid records up to byte ${logEnd}`);
  }

  #isFull(): boolean {
    const { logEnd, snapshotEnd } = this.#positions;
    const snapshotBytes = snapshotEnd - FIRST_RECORD;
    const logBytesMax = Math.max(this.#logBytesMin, LOG_TO_SNAPSHOT_MAX * snapshotBytes);
    return logEnd >= this.#rotateFrom && logEnd - snapshotEnd >= logBytesMax;
  }

  /**
   * Begins a new generation with the change in its snapshot. False if that was not possible and
   * nothing has changed, as on a full disk: the old one still takes records.
   */
  #tryRotate(change: StateChange): boolean {
    const { generation, logEnd } = this.#positions;
    try {
      const state = this.committed();
      state.apply(change);
      this.#startGeneration(generation + 1, state);
    } catch (error) {
      const { code, outcome } = error as WeirpoolError;
      if (outcome === 'unknown' || code === 'FENCED') this.#positions.stop();
      if (outcome === 'unknown' || code !== 'STORE_IO') throw error;
      this.#rotateFrom = logEnd + this.#logBytesMin;
      return false;
    }
    const old = manifestPath(this.#access.directory, generation);
    try {
      this.#access.fs.unlink(old);
    } catch {
      // A leftover: the next opening drops it.
    }
    return true;
  }

  #startGeneration(generation: number, state: StoreState): void {
    const { storeId } = this.#positions;
    const change = state.snapshot();
    const header = encodeHeader(this.#checksummer, {
      formatVersion: FORMAT_VERSION,
      blobBytes: this.#blobBytes,
      storeId,
      generation,
      epoch: state.epoch,
    });
    const noClose = new Uint8Array(BLOCK_BYTES);
    const seal = this.#seal(generation);
    const snapshot = encodeRecord(seal, KIND_SNAPSHOT, change, FIRST_RECORD);
    const fd = createManifest(this.#access, generation, [header, noClose, snapshot]);
    this.close();
    this.#fd = fd;
    this.#generation = generation;
    this.#positions.snapshotEnd = FIRST_RECORD + snapshot.length;
    this.#positions.logEnd = this.#positions.snapshotEnd;
    this.#positions.generation = generation;
    this.#positions.publish(change);
  }

  get bytes(): number {
    return this.#positions.logEnd;
  }
}
