/** Mounts a file system as the harness does, says where, and waits to be killed. */
import { LoopDisk } from '../../src/harness/loop-device.ts';
import { MountSpace } from '../../src/harness/mount-space.ts';

const space = await MountSpace.open();
const disk = await LoopDisk.make(space, 'ext4', 'held');
process.stdout.write(`${JSON.stringify({ directory: space.directory, path: disk.path })}\n`);
setInterval(() => undefined, 1000);
