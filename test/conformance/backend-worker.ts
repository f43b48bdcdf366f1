/** A thread that attaches to a store, reads slot 0, writes slot 1 and commits it as blob 2. */
import { parentPort, workerData } from 'node:worker_threads';
import { KERNELS_WASM } from '../../src/generated/assets.ts';
import { Checksummer } from '../../src/memory/checksum.ts';
import { wasm } from '../../src/memory/webassembly.ts';
import { attachBackend } from '../../src/store/attach-backend.ts';
import type { BackendHandle } from '../../src/store/contract.ts';

const { handle, shared, blobBytes } = workerData as {
  handle: BackendHandle;
  shared: BigInt64Array;
  blobBytes: number;
};
const checksummer = new Checksummer(new wasm.Module(Buffer.from(KERNELS_WASM, 'base64')), 65536);
const backend = await attachBackend(handle, { blobBytes, checksummer, shared });
const bytes = new Uint8Array(blobBytes);
backend.readSlot(0, bytes);
backend.writeSlot(
  1,
  bytes.map((byte) => byte + 1),
);
backend.sync();
backend.commit({ mapped: [{ id: 2, slot: 1, checksum: 2n }], deleted: [], nextBlobId: 3 });
await backend.close();
parentPort?.postMessage(bytes[0]);
