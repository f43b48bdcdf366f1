/** A custom store as a user would write one: a module that every thread imports for itself. */
import type { BackendContext, BackendHandle, StoreBackend } from '../../src/store/contract.ts';
import { FileBackend, type FileHandle } from '../../src/store/file-backend.ts';

interface Options {
  readonly directory: string;
  readonly inner?: FileHandle;
}

export function createBackend(context: BackendContext, given: unknown): StoreBackend {
  const options = given as Options;
  const inner =
    options.inner === undefined
      ? new FileBackend(options.directory, context)
      : FileBackend.attach(options.inner, context);
  return {
    open: () => inner.open(),
    handle: (): BackendHandle => ({
      kind: 'module',
      module: import.meta.url,
      options: { ...options, inner: inner.handle() },
    }),
    readSlot: (slot, target) => inner.readSlot(slot, target),
    writeSlot: (slot, source) => inner.writeSlot(slot, source),
    writeSlots: (writes) => inner.writeSlots(writes),
    sync: () => inner.sync(),
    commit: (change) => inner.commit(change),
    usage: () => inner.usage(),
    close: () => inner.close(),
  };
}
