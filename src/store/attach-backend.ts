/**
 * Backends from descriptions: in the opener from what the user asked for, in another thread from
 * the opener's handle.
 *
 * Owns:        loading of custom stores. Each thread imports the module itself.
 * Threads:     any.
 */
import { isAbsolute } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { BackendContext, BackendHandle, StoreBackend } from './contract.ts';
import { FileBackend, type FileBackendOptions, type FileHandle } from './file-backend.ts';
import {
  createMemoryStore,
  MemoryBackend,
  type MemoryHandle,
  type MemoryStoreData,
} from './memory-backend.ts';

export interface FileStoreSpec extends FileBackendOptions {
  readonly kind: 'file';
  readonly directory: string;
}

export interface MemoryStoreSpec {
  readonly kind: 'memory';
  readonly capacityBytes?: number;
  /** A store that exists already, instead of a new one. */
  readonly data?: MemoryStoreData;
}

export interface ModuleStoreSpec {
  readonly kind: 'module';
  /** Absolute path, `file:` URL or package name of the module. */
  readonly module: string;
  /** Cloneable; passed on as it is. */
  readonly options?: unknown;
}

export type StoreSpec = FileStoreSpec | MemoryStoreSpec | ModuleStoreSpec;

/**
 * What a module of a custom store exports. In the opener `open` is called on the result; in other
 * threads it is not, and `options` are those in the handle that the opener's backend gives out,
 * which must be of kind `module` and name the module.
 */
export interface StoreModuleExports {
  createBackend(context: BackendContext, options: unknown): StoreBackend | Promise<StoreBackend>;
}

export interface ModuleHandle extends BackendHandle {
  readonly kind: 'module';
  readonly module: string;
  readonly options?: unknown;
}

async function fromModule(
  module: string,
  options: unknown,
  context: BackendContext,
): Promise<StoreBackend> {
  const specifier = isAbsolute(module) ? pathToFileURL(module).href : module;
  const exports = (await import(specifier)) as Partial<StoreModuleExports>;
  if (typeof exports.createBackend !== 'function') {
    throw new TypeError(`${module} must export a function createBackend(context, options)`);
  }
  return exports.createBackend(context, options);
}

/**
 * The opener's backend; not open yet.
 *
 * @throws {TypeError} a kind of store that there is not, a module without `createBackend`.
 */
export async function createBackend(
  spec: StoreSpec,
  context: BackendContext,
): Promise<StoreBackend> {
  switch (spec.kind) {
    case 'file':
      return new FileBackend(spec.directory, context, spec);
    case 'memory':
      return new MemoryBackend(context, spec.data ?? createMemoryStore(context.blobBytes, spec));
    case 'module':
      return fromModule(spec.module, spec.options, context);
    default:
      throw unknownKind(spec);
  }
}

/**
 * The backend of another thread, open already.
 *
 * @throws {WeirpoolError} `STORE_IO`, also if the directory was replaced since it was opened;
 *         {TypeError} a handle that this version does not know.
 */
export async function attachBackend(
  handle: BackendHandle,
  context: BackendContext,
): Promise<StoreBackend> {
  switch (handle.kind) {
    case 'file':
      assertFileHandle(handle as FileHandle);
      return FileBackend.attach(handle as FileHandle, context);
    case 'memory': {
      const { data } = handle as MemoryHandle;
      if (typeof data !== 'object' || data === null) throw notAHandle('it has no data');
      return new MemoryBackend(context, data);
    }
    case 'module': {
      const { module, options } = handle as ModuleHandle;
      if (typeof module !== 'string' || module === '') throw notAHandle('it names no module');
      return fromModule(module, options, context);
    }
    default:
      throw unknownKind(handle);
  }
}

function notAHandle(what: string): TypeError {
  return new TypeError(`Not the handle of a store (${what}): pass on what the opener has given`);
}

function assertFileHandle(handle: FileHandle): void {
  const { directory, lockFile, readOnly, dataDevice, dataInode, directWrites } = handle;
  const hasPaths =
    typeof directory === 'string' && directory !== '' && typeof lockFile === 'string';
  const hasData = typeof dataDevice === 'bigint' && typeof dataInode === 'bigint';
  const hasOptions =
    typeof readOnly === 'boolean' && (directWrites === 'auto' || typeof directWrites === 'boolean');
  // Who may write holds the directory by a lock file.
  const isHeld = readOnly || lockFile !== '';
  if (!(hasPaths && hasData && hasOptions && isHeld)) throw notAHandle('of a directory');
}

function unknownKind(value: unknown): TypeError {
  const kind = (value as { readonly kind?: unknown }).kind;
  return new TypeError(`there is no store of kind ${String(kind)}: use file, memory or module`);
}
