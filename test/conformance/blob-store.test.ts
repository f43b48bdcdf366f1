/** One suite for every BlobStore that there is: the pool, over each of its stores. */
import { BufferPool } from '../../src/pool/pool.ts';
import type { BackendContext } from '../../src/store/contract.ts';
import { FaultyBackend } from '../../src/store/faulty-backend.ts';
import { createMemoryStore, MemoryBackend } from '../../src/store/memory-backend.ts';
import { attachOther } from '../unit/pool/support.ts';
import { bundled } from '../unit/store/bundle.ts';
import { temporaryDirectory } from '../unit/store/support.ts';
import { describeBlobStore, STORE_BLOB_BYTES } from './blob-store.ts';

const SMALL = { blobBytes: STORE_BLOB_BYTES, frames: 4 } as const;

describeBlobStore('pool over a file store', () => {
  const directory = temporaryDirectory();
  return { durable: true, open: () => BufferPool.open(directory, SMALL) };
});

describeBlobStore('pool over a memory store', () => {
  return { durable: false, open: () => BufferPool.open('memory', { ...SMALL, store: 'memory' }) };
});

describeBlobStore('pool over a custom store', () => {
  const module = bundled(new URL('./backend-module.ts', import.meta.url));
  const options = { directory: temporaryDirectory() };
  const open = () => BufferPool.open('unused', { ...SMALL, store: { module, options } });
  return { durable: true, open };
});

describeBlobStore('pool over a store in this thread alone', () => {
  const data = createMemoryStore(STORE_BLOB_BYTES, { capacityBytes: 200 * STORE_BLOB_BYTES });
  const store = (context: BackendContext) => new FaultyBackend(new MemoryBackend(context, data));
  return {
    durable: true,
    open: () => BufferPool.open('unused', { ...SMALL, store, threads: 'inline' }),
  };
});

describeBlobStore('pool that another thread has opened', () => {
  const directory = temporaryDirectory();
  const open = async () => {
    const opener = await BufferPool.open(directory, SMALL);
    const pool = await attachOther(opener);
    const close = async (): Promise<void> => {
      await pool.close();
      await opener.close();
    };
    return new Proxy(pool, {
      get: (target, key) => {
        if (key === 'close') return close;
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  };
  return { durable: true, open };
});
