/**
 * File systems that lose power: ext4 and XFS on a file behind a loop device.
 *
 * A cut shuts the file system down where it is: what it has not handed to its device is lost, what
 * its journal has not committed never was, and every call from then on fails. Mounting it again
 * replays the journal, as it does after a real power cut. What the device was given stays: a cache
 * in the device that loses its content is not part of it.
 *
 * Owns:        an image file and its mount in a MountSpace; the loop device goes with the mount.
 * Threads:     the main thread.
 * Source:      xfs_io(8), shutdown; XFS_IOC_GOINGDOWN, which ext4 has as EXT4_IOC_SHUTDOWN.
 */
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MountSpace } from './mount-space.ts';

export const LOOP_KINDS = ['ext4', 'xfs'] as const;
export type LoopKind = (typeof LOOP_KINDS)[number];

/** Programs of a cut, and the package that has them on Debian. */
export const LOOP_PROGRAMS: ReadonlyMap<string, string> = new Map([
  ['unshare', 'util-linux'],
  ['mount', 'mount'],
  ['umount', 'mount'],
  ['losetup', 'mount'],
  ['mkfs.ext4', 'e2fsprogs'],
  ['mkfs.xfs', 'xfsprogs'],
  ['xfs_io', 'xfsprogs'],
]);

const MIB = 1024 * 1024;
/** Sparse. XFS takes no less. */
const IMAGE_BYTES: Readonly<Record<LoopKind, number>> = { ext4: 48 * MIB, xfs: 320 * MIB };

const MAKE: Readonly<Record<LoopKind, readonly string[]>> = {
  ext4: ['mkfs.ext4', '-q', '-F'],
  xfs: ['mkfs.xfs', '-q', '-f'],
};

/** Whether the journal's buffers reach the device before it is cut off; `lost` loses more. */
export type JournalFate = 'written' | 'lost';

const UNMOUNT_TRIES = 50;
const UNMOUNT_PAUSE_MS = 20;

export class LoopDisk {
  readonly kind: LoopKind;
  readonly #space: MountSpace;
  readonly #folder: string;

  private constructor(space: MountSpace, kind: LoopKind, folder: string) {
    this.kind = kind;
    this.#space = space;
    this.#folder = folder;
  }

  /** Makes an empty one and mounts it; `name` is its own within the space. */
  static async make(space: MountSpace, kind: LoopKind, name: string): Promise<LoopDisk> {
    const disk = new LoopDisk(space, kind, join(space.directory, name));
    mkdirSync(disk.#mount, { recursive: true });
    writeFileSync(disk.#image, '');
    truncateSync(disk.#image, IMAGE_BYTES[kind]);
    await space.run([...MAKE[kind], disk.#image]);
    await disk.mount();
    return disk;
  }

  get #image(): string {
    return join(this.#folder, 'image');
  }

  /** As the namespace calls it. */
  get #mount(): string {
    return join(this.#folder, 'mount');
  }

  /** Where it is mounted, for every process. */
  get path(): string {
    return this.#space.seen(this.#mount);
  }

  async mount(): Promise<void> {
    await this.#space.run(['mount', '-t', this.kind, '-o', 'loop', this.#image, this.#mount]);
  }

  /** Power is gone. Who has files open there must end before it can come back. */
  async cut(journal: JournalFate): Promise<void> {
    const shutdown = journal === 'written' ? 'shutdown -f' : 'shutdown';
    await this.#space.run(['xfs_io', '-x', '-c', shutdown, this.#mount]);
  }

  /** Power is back: the file system is mounted anew, and repairs itself by its journal. */
  async restore(): Promise<void> {
    await this.#unmount();
    await this.mount();
  }

  async #unmount(): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await this.#space.run(['umount', this.#mount]);
        return;
      } catch (error) {
        // Files of a process that was killed are closed a moment after it has gone.
        if (tries === UNMOUNT_TRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, UNMOUNT_PAUSE_MS));
      }
    }
  }

  async remove(): Promise<void> {
    await this.#unmount();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
