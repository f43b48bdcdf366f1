/** One suite for every backend that there is. */
import { createBackend } from '../../src/store/attach-backend.ts';
import { FaultyBackend } from '../../src/store/faulty-backend.ts';
import { FileBackend } from '../../src/store/file-backend.ts';
import { createMemoryStore, MemoryBackend } from '../../src/store/memory-backend.ts';
import { bundled } from '../unit/store/bundle.ts';
import { BLOB_BYTES, temporaryDirectory } from '../unit/store/support.ts';
import { describeBackend } from './backend-suite.ts';

describeBackend('file', () => {
  const directory = temporaryDirectory();
  return { backend: (context) => new FileBackend(directory, context) };
});

describeBackend('file (direct writes, new manifests all the time)', () => {
  const directory = temporaryDirectory();
  const options = { directWrites: true, manifestLogBytes: 4096 };
  return { backend: (context) => new FileBackend(directory, context, options) };
});

describeBackend('memory', () => {
  const data = createMemoryStore(BLOB_BYTES, { capacityBytes: 100 * BLOB_BYTES });
  return { backend: (context) => new MemoryBackend(context, data) };
});

describeBackend('faulty (without faults)', () => {
  const data = createMemoryStore(BLOB_BYTES, { capacityBytes: 100 * BLOB_BYTES });
  return { backend: (context) => new FaultyBackend(new MemoryBackend(context, data)) };
});

describeBackend('module', () => {
  const module = bundled(new URL('./backend-module.ts', import.meta.url));
  const options = { directory: temporaryDirectory() };
  return { backend: (context) => createBackend({ kind: 'module', module, options }, context) };
});
