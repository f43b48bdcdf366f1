/** A process that opens a store, says so, and keeps it open until it is killed. */
import { KERNELS_WASM } from '../../../src/generated/assets.ts';
import { Checksummer } from '../../../src/memory/checksum.ts';
import { wasm } from '../../../src/memory/webassembly.ts';
import { FileBackend } from '../../../src/store/file-backend.ts';

const [directory = '', mode] = process.argv.slice(2);
const checksummer = new Checksummer(new wasm.Module(Buffer.from(KERNELS_WASM, 'base64')), 65536);
const shared = new BigInt64Array(new SharedArrayBuffer(128));
const unsupported = async () => 'unsupported' as const;
const sockets = { listen: unsupported, ask: unsupported };
const options = mode === 'files' ? { lock: { sockets } } : {};
const backend = new FileBackend(directory, { blobBytes: 4096, checksummer, shared }, options);
try {
  await backend.open();
  backend.commit({ mapped: [], deleted: [], nextBlobId: 5 });
  process.stdout.write('open\n');
} catch (error) {
  process.stdout.write(`${(error as { code: string }).code}\n`);
}
setInterval(() => undefined, 1000);
