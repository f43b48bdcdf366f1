/**
 * Finding nodes: from the root down, without writing shared memory.
 *
 * Owns:        nothing.
 * Invariants:  optimistic latch coupling: a child's version is read before the parent is validated
 *              again, so the child was the parent's at a moment at which its version held;
 *              nothing that was read counts before it was validated: a node that looks corrupt and
 *              held still is corrupt, anything else starts again;
 *              the level falls by one with each step, so a crafted cycle ends.
 * Threads:     one object for each thread.
 * Source:      optimistic lock coupling, Leis, Haubenschild, Neumann, IEEE Data Engineering Bulletin
 *              42(1), 2019.
 */
import { WeirpoolError } from '../errors.ts';
import { type ControlExports, GONE, MISS } from '../generated/layout.ts';
import type { ThreadMemory } from '../memory/pool-memory.ts';
import type { PoolCore } from '../pool/core.ts';
import { RestartError } from '../pool/want.ts';
import type { BlobId } from '../store/contract.ts';
import type { NodeAccess } from './node-access.ts';

/** Optimistic attempts before pins and shared latches are taken. */
export const ATTEMPTS_MAX = 8;

/** What `tryTo` gives beside a frame. */
export const AGAIN = -1;

/** The child that the search key belongs to; the one with the keys below it; the last one. */
export type Way = 'at' | 'below' | 'last';

/** Runs with the node's shared latch held. */
export type Look<T> = (frame: number, id: BlobId) => T;

interface Search<T> {
  readonly tree: BlobId;
  readonly level: number;
  readonly look: Look<T>;
  readonly way: Way;
}

interface Place {
  readonly frame: number;
  readonly id: BlobId;
  /** Level that the node must have; undefined for the root. */
  readonly height: number | undefined;
  /** Pinned too, and at which version it named the node. */
  readonly parent?: { readonly frame: number; readonly version: number };
}

export class Descent {
  readonly #core: PoolCore;
  readonly #control: ControlExports;
  readonly #memory: ThreadMemory;
  readonly #nodes: NodeAccess;
  readonly #me: number;
  readonly #out: number;
  /** The node that was found, and its version. */
  id: BlobId = 0;
  version = 0;
  /** Nodes that were looked at. */
  visited = 0;
  /** What `tryTo` did not find in the pool; 0 if it was not for that. */
  missing: BlobId = 0;

  constructor(core: PoolCore, nodes: NodeAccess) {
    this.#core = core;
    this.#control = core.control;
    this.#memory = core.memory;
    this.#nodes = nodes;
    this.#me = core.me;
    this.#out = core.thread.outIndex;
  }

  /**
   * One attempt to find the node at `level` that the search key belongs to: its frame, AGAIN when
   * something was not cached or has changed.
   */
  tryTo(tree: BlobId, level: number, way: Way = 'at'): number {
    const control = this.#control;
    const nodes = this.#nodes;
    this.id = tree;
    let frame = control.locate(tree, this.#me);
    if (frame < 0) return this.#miss(frame, tree);
    let version = this.#memory.f64[this.#out] as number;
    this.visited++;
    let height = nodes.levelOf(frame);
    if (!nodes.isNode(frame, tree)) return this.#corrupt(frame, version, tree);
    while (height > level) {
      const child = this.#childOn(way, frame);
      if (child === 0) return this.#corrupt(frame, version, tree);
      const below = control.locate(child, this.#me);
      const versionBelow = this.#memory.f64[this.#out] as number;
      if (control.validate(frame, version) === 0) return this.#miss(AGAIN, child);
      if (below < 0) return this.#miss(below, child);
      frame = below;
      version = versionBelow;
      this.id = child;
      this.visited++;
      height--;
      if (nodes.levelOf(frame) !== height || !nodes.isNode(frame, tree)) {
        return this.#corrupt(frame, version, tree);
      }
    }
    if (height < level) return this.#corrupt(frame, version, tree);
    this.version = version;
    return frame;
  }

  #miss(result: number, id: BlobId): number {
    this.missing = result === MISS ? id : 0;
    return AGAIN;
  }

  /**
   * One attempt to find the id of the node at `level` that the search key belongs to, without a look
   * at the node itself: 0 when something on the way has changed. What is not cached is loaded.
   */
  tryId(tree: BlobId, level: number, isHeld?: (id: BlobId) => boolean): BlobId {
    const control = this.#control;
    const nodes = this.#nodes;
    let id = tree;
    let height: number | undefined;
    for (;;) {
      if (isHeld?.(id)) return id;
      const frame = control.locate(id, this.#me);
      if (frame < 0) return frame === MISS ? this.#load(id) : 0;
      const version = this.#memory.f64[this.#out] as number;
      this.visited++;
      const there = nodes.levelOf(frame);
      const expected: number = height === undefined ? there : height - 1;
      if (there !== expected || there < level || !nodes.isNode(frame, tree)) {
        return this.#corruptId(frame, version, id, tree);
      }
      height = there;
      if (there === level) return control.validate(frame, version) === 0 ? 0 : id;
      const child = nodes.childOf(frame);
      if (child === 0) return this.#corruptId(frame, version, id, tree);
      if (control.validate(frame, version) === 0) return 0;
      if (height === level + 1) return child;
      id = child;
    }
  }

  /** Brings a node into a frame. The thread may hold latches: then it may have to start again. */
  #load(id: BlobId): BlobId {
    this.#control.unpin(this.#core.residency.pin(id, true), this.#me);
    return 0;
  }

  #corruptId(frame: number, version: number, id: BlobId, tree: BlobId): BlobId {
    if (this.#control.validate(frame, version) === 0) return 0;
    throw nodeCorrupt(id, tree);
  }

  #corrupt(frame: number, version: number, tree: BlobId): number {
    if (this.#control.validate(frame, version) === 0) return AGAIN;
    throw nodeCorrupt(this.id, tree);
  }

  /** Level of the tree's root. */
  heightOf(tree: BlobId): number {
    const { residency } = this.#core;
    const frame = residency.pin(tree, false);
    try {
      if (residency.acquireShared(frame, tree) === GONE) throw changedError();
      const level = this.#nodes.levelOf(frame);
      this.#control.releaseShared(frame, this.#me);
      return level;
    } finally {
      this.#control.unpin(frame, this.#me);
    }
  }

  /**
   * Finds the node for sure, with pins and shared latches on the way: `look` runs while the node's
   * shared latch is held.
   */
  with<T>(tree: BlobId, level: number, look: Look<T>, way: Way = 'at'): T {
    for (;;) {
      const result = this.#attempt(tree, level, look, way);
      if (result !== undefined) return result.value;
      this.#core.noteRestart();
    }
  }

  #attempt<T>(
    tree: BlobId,
    level: number,
    look: Look<T>,
    way: Way,
  ): { readonly value: T } | undefined {
    const frame = this.#core.residency.pin(tree, true);
    try {
      return this.#visit({ tree, level, look, way }, { frame, id: tree, height: undefined });
    } finally {
      this.#control.unpin(frame, this.#me);
    }
  }

  /** Looks at a pinned node under its shared latch, then at the child on the way. */
  #visit<T>(search: Search<T>, place: Place): { readonly value: T } | undefined {
    const { tree, level, look, way } = search;
    const { frame, id, height, parent } = place;
    const control = this.#control;
    if (this.#core.residency.acquireShared(frame, id) === GONE) return undefined;
    let child: BlobId;
    let version: number;
    let there: number;
    try {
      // The child may have split before its latch was had: the parent would not be as it was.
      if (parent !== undefined && control.validate(parent.frame, parent.version) === 0) {
        return undefined;
      }
      this.visited++;
      there = this.#nodes.levelOf(frame);
      const isExpected = there === (height ?? there) && there >= level;
      if (!isExpected || !this.#nodes.isNode(frame, tree)) throw nodeCorrupt(id, tree);
      if (there === level) return { value: look(frame, id) };
      child = this.#childOn(way, frame);
      if (child === 0) throw nodeCorrupt(id, tree);
      version = control.optimistic(frame);
    } finally {
      control.releaseShared(frame, this.#me);
    }
    const below = version < 0 ? -1 : this.#pin(child, frame, version);
    if (below < 0) return undefined;
    try {
      const next = { frame: below, id: child, height: there - 1, parent: { frame, version } };
      return this.#visit(search, next);
    } finally {
      control.unpin(below, this.#me);
    }
  }

  #childOn(way: Way, frame: number): BlobId {
    if (way === 'at') return this.#nodes.childOf(frame);
    return this.#nodes.childBefore(frame, way === 'last');
  }

  /** Pins a child whose parent is pinned; negative if the parent has changed meanwhile. */
  #pin(child: BlobId, parent: number, version: number): number {
    let frame: number;
    try {
      frame = this.#core.residency.pin(child, true);
    } catch (error) {
      // A node that was merged away is gone; a parent that held still names what must be there.
      const { code } = error as WeirpoolError;
      const missing = code === 'BLOB_NOT_FOUND' || code === 'BLOB_GONE';
      if (missing && this.#control.validate(parent, version) === 0) return -1;
      throw error;
    }
    if (this.#control.validate(parent, version) !== 0) return frame;
    this.#control.unpin(frame, this.#me);
    return -1;
  }
}

export function nodeCorrupt(id: BlobId, tree: BlobId): WeirpoolError {
  return new WeirpoolError(
    'NODE_CORRUPT',
    `Blob ${id} is no valid node of the tree with root ${tree}. Check the store with verify, then ` +
      'restore it from a backup, or salvage what can be read.',
    { details: { id, tree } },
  );
}

export function changedError(): RestartError {
  return new RestartError({ kind: 'change' });
}
