/** The hybrid latch on the wasm itself; real threads are in test/concurrency/latch.test.ts. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  B_WAITERS,
  BUSY,
  DESC_B,
  GONE,
  H_STATUS,
  HELD,
  NOT_HELD,
  OK,
  S_PARKS,
  SLICE,
  STATUS_POISONED,
  STOPPED,
} from '../../../src/generated/layout.ts';
import { testSeed } from '../../support/seed.ts';
import { Bench } from './support.ts';

const PARK_MS = 1;

interface Stage {
  readonly bench: Bench;
  readonly frame: number;
  readonly me: number;
  readonly other: number;
  readonly third: number;
}

function stage(): Stage {
  const bench = new Bench();
  const [me, other, third] = [bench.attach(), bench.attach(), bench.attach()];
  return { bench, frame: bench.load(1, me), me, other, third };
}

/** How the frame is held before `me` asks for it. */
const HOLDERS: Readonly<Record<string, (s: Stage) => void>> = {
  'held by nobody': () => undefined,
  'shared by this thread': ({ bench, frame, me }) => {
    expect(bench.control.acquireShared(frame, me, 0)).toBe(OK);
  },
  'shared by another thread': ({ bench, frame, other }) => {
    expect(bench.control.acquireShared(frame, other, 0)).toBe(OK);
  },
  'exclusive in this thread': ({ bench, frame, me }) => {
    expect(bench.control.acquireExclusive(frame, me, 0)).toBe(OK);
  },
  'exclusive in another thread': ({ bench, frame, other }) => {
    expect(bench.control.acquireExclusive(frame, other, 0)).toBe(OK);
  },
  'claimed by another thread': ({ bench, frame, other, third }) => {
    expect(bench.control.acquireShared(frame, third, 0)).toBe(OK);
    expect(bench.control.acquireExclusive(frame, other, PARK_MS)).toBe(SLICE);
    expect(bench.flags(frame)).toBe('P');
  },
  'claimed by another thread and shared by this one': ({ bench, frame, me, other }) => {
    expect(bench.control.acquireShared(frame, me, 0)).toBe(OK);
    expect(bench.control.acquireExclusive(frame, other, PARK_MS)).toBe(SLICE);
  },
  'loading in another thread': ({ bench, frame, other }) => {
    expect(bench.control.evictFrame(frame, 1, other, 0)).toBe(OK);
    expect(bench.control.unmap(frame, other, 0)).toBe(OK);
    expect(bench.control.publishLoading(2, frame, other, 0)).toBe(OK);
  },
  'a deleted blob that is still pinned': ({ bench, frame, me, other }) => {
    expect(bench.control.pin(1, me, 0)).toBe(frame);
    expect(bench.control.acquireExclusive(frame, other, 0)).toBe(OK);
    expect(bench.control.unmap(frame, other, 0)).toBe(OK);
    expect(bench.control.dropBlob(frame, other, 0)).toBe(BUSY);
    expect(bench.flags(frame)).toBe('G');
  },
};

const VISIBLE = 'a version';
const HIDDEN = 'none';

/** What `me` gets then: shared, exclusive, upgrade (all only tried), and the optimistic version. */
const OUTCOMES: readonly (readonly [string, number, number, number, string])[] = [
  ['held by nobody', OK, OK, OK, VISIBLE],
  ['shared by this thread', OK, HELD, HELD, VISIBLE],
  ['shared by another thread', OK, BUSY, BUSY, VISIBLE],
  ['exclusive in this thread', HELD, HELD, HELD, HIDDEN],
  ['exclusive in another thread', BUSY, BUSY, BUSY, HIDDEN],
  ['claimed by another thread', BUSY, BUSY, BUSY, VISIBLE],
  ['claimed by another thread and shared by this one', OK, HELD, HELD, VISIBLE],
  ['loading in another thread', BUSY, BUSY, BUSY, HIDDEN],
  ['a deleted blob that is still pinned', GONE, GONE, GONE, HIDDEN],
];

function held(name: string): Stage {
  const s = stage();
  HOLDERS[name]?.(s);
  return s;
}

describe('every mode against every holder, only tried', () => {
  it.each(OUTCOMES)('a frame %s', (name, shared, exclusive, upgrade, optimistic) => {
    const attempts: readonly (readonly [number, (s: Stage) => number])[] = [
      [shared, ({ bench, frame, me }) => bench.control.acquireShared(frame, me, 0)],
      [exclusive, ({ bench, frame, me }) => bench.control.acquireExclusive(frame, me, 0)],
      [
        upgrade,
        ({ bench, frame, me }) => bench.control.upgrade(frame, Number(bench.version(frame)), me),
      ],
    ];
    for (const [expected, attempt] of attempts) {
      const s = held(name);
      const word = s.bench.word(s.frame);
      const latches = s.bench.latches(s.me);
      expect(attempt(s)).toBe(expected);
      expect(s.bench.latches(s.me)).toBe(latches + (expected === OK ? 1 : 0));
      if (expected !== OK) expect(s.bench.word(s.frame)).toBe(word);
    }
    const { bench, frame } = held(name);
    expect(bench.control.optimistic(frame) >= 0 ? VISIBLE : HIDDEN).toBe(optimistic);
  });

  it('a thread that may park gets SLICE where it would only have got BUSY', () => {
    for (const [name, shared, exclusive] of OUTCOMES) {
      const first = held(name);
      const read = first.bench.control.acquireShared(first.frame, first.me, PARK_MS);
      expect(read).toBe(shared === BUSY ? SLICE : shared);
      const second = held(name);
      const write = second.bench.control.acquireExclusive(second.frame, second.me, PARK_MS);
      expect(write).toBe(exclusive === BUSY ? SLICE : exclusive);
    }
  });

  it('everything is STOPPED once the pool is poisoned', () => {
    const { bench, frame, me } = stage();
    bench.memory.store(H_STATUS, STATUS_POISONED);
    const { control } = bench;
    expect(control.acquireShared(frame, me, PARK_MS)).toBe(STOPPED);
    expect(control.acquireExclusive(frame, me, PARK_MS)).toBe(STOPPED);
    expect(control.upgrade(frame, control.optimistic(frame), me)).toBe(STOPPED);
    expect(control.pin(1, me, 1)).toBe(STOPPED);
    expect(control.pinShared(1, me)).toBe(STOPPED);
    expect(control.pinExclusive(1, me, 1)).toBe(STOPPED);
    expect(control.locate(1, me)).toBe(STOPPED);
  });
});

describe('the fast paths that take pin and latch in one', () => {
  it.each(OUTCOMES)('a frame %s is taken with its pin or not at all', (name, shared, exclusive) => {
    if (name.startsWith('a deleted') || name.startsWith('loading')) return;
    // A second shared latch of one thread goes the slow way when a writer is pending.
    const pending = name.includes('claimed');
    const first = held(name);
    const readPins = first.bench.pins(first.frame);
    const read = first.bench.control.pinShared(1, first.me);
    expect(read).toBe(shared === OK && !pending ? first.frame : BUSY);
    expect(first.bench.pins(first.frame)).toBe(readPins + (read >= 0 ? 1 : 0));
    const second = held(name);
    const write = second.bench.control.pinExclusive(1, second.me, 7);
    expect(write).toBe(exclusive === OK ? second.frame : BUSY);
    expect(second.bench.pins(second.frame)).toBe(write >= 0 ? 1 : 0);
    expect(second.bench.control.dirtySeq(second.frame)).toBe(write >= 0 ? 7 : 0);
  });

  it('G1 what one call took one call gives back, and only once', () => {
    const { bench, frame, me, other } = stage();
    const { control } = bench;
    expect(control.pinShared(1, me)).toBe(frame);
    expect(control.unpinShared(frame, other)).toBe(NOT_HELD);
    expect(control.unpinShared(frame, me)).toBe(OK);
    expect(control.unpinShared(frame, me)).toBe(NOT_HELD);
    expect(control.pinExclusive(1, me, 1)).toBe(frame);
    expect(control.unpinExclusive(frame, other)).toBe(NOT_HELD);
    expect(control.unpinExclusive(frame, me)).toBe(OK);
    expect(control.unpinExclusive(frame, me)).toBe(NOT_HELD);
    expect([bench.pins(frame), bench.sharedCount(frame), bench.flags(frame)]).toEqual([0, 0, '']);
    expect(bench.latches(me)).toBe(0);
  });
});

describe('the exclusive latch', () => {
  it('names its owner in the word, and the claimant', () => {
    const { bench, frame, me, other } = stage();
    const { control } = bench;
    expect(control.latchOwner(frame)).toBe(0);
    control.acquireExclusive(frame, other, 0);
    expect(control.latchOwner(frame)).toBe(other + 1);
    control.releaseExclusive(frame, other);
    expect(control.latchOwner(frame)).toBe(0);
    control.acquireShared(frame, me, 0);
    control.acquireExclusive(frame, other, PARK_MS);
    expect([bench.flags(frame), control.latchOwner(frame)]).toEqual(['P', other + 1]);
  });

  it('is released by its owner alone, once', () => {
    const { bench, frame, me, other } = stage();
    bench.control.acquireExclusive(frame, me, 0);
    expect(bench.control.releaseExclusive(frame, other)).toBe(NOT_HELD);
    expect(bench.control.releaseShared(frame, me)).toBe(NOT_HELD);
    expect(bench.control.releaseExclusive(frame, me)).toBe(OK);
    expect(bench.control.releaseExclusive(frame, me)).toBe(NOT_HELD);
    expect(bench.latches(me)).toBe(0);
  });

  it('keeps its claim over a SLICE: readers stay out, and the next call goes on', () => {
    const { bench, frame, me, other, third } = stage();
    const { control } = bench;
    control.acquireShared(frame, other, 0);
    for (let call = 0; call < 3; call++) {
      expect(control.acquireExclusive(frame, me, PARK_MS)).toBe(SLICE);
      expect(bench.flags(frame)).toBe('P');
      expect(control.acquireShared(frame, third, 0)).toBe(BUSY);
    }
    expect(control.releaseShared(frame, other)).toBe(OK);
    expect(control.acquireShared(frame, third, 0)).toBe(BUSY);
    expect(control.acquireExclusive(frame, me, 0)).toBe(OK);
    expect(bench.flags(frame)).toBe('X');
    expect(bench.latches(me)).toBe(1);
  });

  it('gives an abandoned claim back, and nobody else can abandon it', () => {
    const { bench, frame, me, other, third } = stage();
    const { control } = bench;
    control.acquireShared(frame, other, 0);
    expect(control.acquireExclusive(frame, me, PARK_MS)).toBe(SLICE);
    const version = bench.version(frame);
    control.abandonExclusive(frame, third);
    expect(bench.flags(frame)).toBe('P');
    control.abandonExclusive(frame, me);
    expect(bench.flags(frame)).toBe('');
    expect(control.latchOwner(frame)).toBe(0);
    // Nothing was written, so optimistic readers need not notice.
    expect(bench.version(frame)).toBe(version);
    expect(control.acquireShared(frame, third, 0)).toBe(OK);
    control.abandonExclusive(frame, me);
    expect(bench.sharedCount(frame)).toBe(2);
  });

  it('leaves no claim behind when it is only tried', () => {
    const { bench, frame, me, other, third } = stage();
    bench.control.acquireShared(frame, other, 0);
    expect(bench.control.acquireExclusive(frame, me, 0)).toBe(BUSY);
    expect(bench.flags(frame)).toBe('');
    expect(bench.control.acquireShared(frame, third, 0)).toBe(OK);
  });
});

describe('the shared latch', () => {
  it('is re-entrant, also past a pending writer, which waits for all of them', () => {
    const { bench, frame, me, other } = stage();
    const { control } = bench;
    control.acquireShared(frame, me, 0);
    expect(control.acquireExclusive(frame, other, PARK_MS)).toBe(SLICE);
    expect(control.acquireShared(frame, me, 0)).toBe(OK);
    expect(bench.latches(me)).toBe(2);
    expect(control.releaseShared(frame, me)).toBe(OK);
    expect(control.acquireExclusive(frame, other, PARK_MS)).toBe(SLICE);
    expect(control.releaseShared(frame, me)).toBe(OK);
    expect(control.releaseShared(frame, me)).toBe(NOT_HELD);
    expect(control.acquireExclusive(frame, other, 0)).toBe(OK);
  });

  it('leaves optimistic readers alone, as does a pending writer', () => {
    const { bench, frame, me, other } = stage();
    const { control } = bench;
    const version = control.optimistic(frame);
    control.acquireShared(frame, me, 0);
    expect(control.validate(frame, version)).toBe(1);
    control.acquireExclusive(frame, other, PARK_MS);
    expect(control.validate(frame, version)).toBe(1);
    control.releaseShared(frame, me);
    expect(control.acquireExclusive(frame, other, 0)).toBe(OK);
    expect(control.validate(frame, version)).toBe(0);
    control.releaseExclusive(frame, other);
    expect(control.validate(frame, version)).toBe(0);
    expect(control.optimistic(frame)).toBe(version + 1);
  });
});

describe('upgrade', () => {
  it('works from the version that was read, and from no other', () => {
    const { bench, frame, me, other } = stage();
    const { control } = bench;
    const version = control.optimistic(frame);
    expect(control.upgrade(frame, version + 1, me)).toBe(BUSY);
    expect(control.upgrade(frame, version, me)).toBe(OK);
    expect([bench.flags(frame), control.latchOwner(frame)]).toEqual(['X', me + 1]);
    expect(control.upgrade(frame, version, other)).toBe(BUSY);
    control.releaseExclusive(frame, me);
    expect(control.upgrade(frame, version, me)).toBe(BUSY);
    expect(control.upgrade(frame, version + 1, other)).toBe(OK);
  });
});

describe('waiting', () => {
  it('D1 a thread that holds any latch only tries', () => {
    const { bench, frame, me, other } = stage();
    const { control } = bench;
    const second = bench.load(2, me);
    control.acquireShared(second, me, 0);
    control.acquireExclusive(frame, other, 0);
    const parks = bench.slotField(me, S_PARKS);
    expect(control.acquireShared(frame, me, 60_000)).toBe(BUSY);
    expect(control.acquireExclusive(frame, me, 60_000)).toBe(BUSY);
    expect(bench.slotField(me, S_PARKS)).toBe(parks);
    control.releaseShared(second, me);
    expect(control.acquireShared(frame, me, PARK_MS)).toBe(SLICE);
    expect(bench.slotField(me, S_PARKS)).toBe(parks + 1);
  });

  it('registers a waiter for as long as it waits, and no longer', () => {
    const { bench, frame, me, other } = stage();
    bench.control.acquireExclusive(frame, other, 0);
    for (let call = 0; call < 3; call++) {
      expect(bench.control.acquireShared(frame, me, PARK_MS)).toBe(SLICE);
      expect(bench.control.acquireExclusive(frame, me, PARK_MS)).toBe(SLICE);
    }
    expect(bench.memory.load(DESC_B + frame * 64 + B_WAITERS)).toBe(0);
    expect(bench.slotField(me, S_PARKS)).toBe(6);
  });
});

// --- random histories ------------------------------------------------------------------------

const OWNERS = 3;

type Action = 'shared' | 'unshared' | 'exclusive' | 'slice' | 'unexclusive' | 'abandon' | 'upgrade';
const ACTIONS: readonly Action[] = [
  'shared',
  'unshared',
  'exclusive',
  'slice',
  'unexclusive',
  'abandon',
  'upgrade',
];

/** The rules of the latch, said once more without bits. */
class Model {
  readonly shared = new Array<number>(OWNERS).fill(0);
  exclusive = -1;
  claim = -1;
  version: number;

  constructor(version: number) {
    this.version = version;
  }

  #sharedByAnyone(): boolean {
    return this.shared.some((count) => count > 0);
  }

  #latches(me: number): number {
    return (this.shared[me] as number) + (this.exclusive === me ? 1 : 0);
  }

  run(action: Action, me: number): number {
    switch (action) {
      case 'shared':
        if ((this.shared[me] as number) === 0) {
          if (this.exclusive === me) return HELD;
          if (this.exclusive >= 0 || this.claim >= 0) return BUSY;
        }
        this.shared[me] = (this.shared[me] as number) + 1;
        return OK;
      case 'unshared':
        if (this.shared[me] === 0) return NOT_HELD;
        this.shared[me] = (this.shared[me] as number) - 1;
        return OK;
      case 'exclusive':
      case 'slice':
        return this.#exclusive(me, action === 'slice' && this.#latches(me) === 0);
      case 'unexclusive':
        if (this.exclusive !== me) return NOT_HELD;
        this.exclusive = -1;
        this.version++;
        return OK;
      case 'abandon':
        if (this.claim === me) this.claim = -1;
        return OK;
      case 'upgrade':
        if ((this.shared[me] as number) > 0 || this.exclusive === me) return HELD;
        if (this.exclusive >= 0 || this.claim >= 0 || this.#sharedByAnyone()) return BUSY;
        this.exclusive = me;
        return OK;
    }
  }

  #exclusive(me: number, mayPark: boolean): number {
    if ((this.shared[me] as number) > 0 || this.exclusive === me) return HELD;
    const free = this.exclusive < 0 && (this.claim < 0 || this.claim === me);
    if (free && !this.#sharedByAnyone()) {
      this.exclusive = me;
      this.claim = -1;
      return OK;
    }
    if (free) this.claim = mayPark ? me : -1;
    return mayPark ? SLICE : BUSY;
  }
}

function act({ control }: Bench, action: Action, frame: number, me: number, version: number) {
  switch (action) {
    case 'shared':
      return control.acquireShared(frame, me, 0);
    case 'unshared':
      return control.releaseShared(frame, me);
    case 'exclusive':
      return control.acquireExclusive(frame, me, 0);
    case 'slice':
      return control.acquireExclusive(frame, me, PARK_MS);
    case 'unexclusive':
      return control.releaseExclusive(frame, me);
    case 'abandon':
      control.abandonExclusive(frame, me);
      return OK;
    case 'upgrade':
      return control.upgrade(frame, version, me);
  }
}

it('three threads in any order get what the rules give them', () => {
  const step = fc.tuple(fc.constantFrom(...ACTIONS), fc.nat(OWNERS - 1));
  const property = fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    const bench = new Bench();
    const owners = Array.from({ length: OWNERS }, () => bench.attach());
    const frame = bench.load(1, owners[0] as number);
    const model = new Model(Number(bench.version(frame)));
    for (const [action, who] of steps) {
      const result = act(bench, action, frame, owners[who] as number, model.version);
      expect([action, who, result]).toEqual([action, who, model.run(action, who)]);
      const flags = model.exclusive >= 0 ? 'X' : model.claim >= 0 ? 'P' : '';
      const owner = Math.max(model.exclusive, model.claim);
      expect(bench.flags(frame)).toBe(flags);
      expect(bench.control.latchOwner(frame)).toBe(owner < 0 ? 0 : (owners[owner] as number) + 1);
      expect(Number(bench.version(frame))).toBe(model.version);
      expect(bench.sharedCount(frame)).toBe(model.shared.reduce((a, b) => a + b));
      expect(bench.control.optimistic(frame)).toBe(model.exclusive >= 0 ? -1 : model.version);
    }
  });
  fc.assert(property, { seed: testSeed() | 0, numRuns: 300 });
});

type Life = 'write' | 'upgrade' | 'evict' | 'load' | 'failedLoad' | 'drop' | 'dropPinned';
const LIVES: readonly Life[] = [
  'write',
  'upgrade',
  'evict',
  'load',
  'failedLoad',
  'drop',
  'dropPinned',
];

/** One frame's life; `content` is a number for what its bytes are, different after each change. */
class FrameLife {
  readonly bench = new Bench(1);
  readonly me = this.bench.attach();
  readonly frame = 0;
  #nextId = 1;
  #id = 0;
  #content = 0;
  #pinned = false;

  /** What a reader could see now, undefined if nothing. */
  get content(): number | undefined {
    return this.bench.control.optimistic(this.frame) < 0 ? undefined : this.#content;
  }

  run(life: Life): void {
    const { control } = this.bench;
    const { frame, me } = this;
    if (this.#id === 0) {
      if (life !== 'load' && life !== 'failedLoad') return;
      this.#settle();
      const taken = this.#obtain();
      if (taken < 0) return;
      expect(control.publishLoading(this.#nextId, frame, me, 0)).toBe(OK);
      if (life === 'failedLoad') {
        control.noteLoadFailure(frame, me, 1);
        expect(control.unmap(frame, me, 0)).toBe(OK);
        expect(control.giveFree(frame, me, 0)).toBe(OK);
        return;
      }
      expect(control.finishLoad(frame, me, 0)).toBe(OK);
      expect(control.unpin(frame, me)).toBe(OK);
      this.#id = this.#nextId++;
      this.#content++;
      return;
    }
    this.#change(life);
  }

  #obtain(): number {
    const { control } = this.bench;
    const free = control.takeFree(this.me, 0);
    if (free >= 0) return free;
    const victim = control.sweep(this.me, 0);
    if (victim >= 0) expect(control.unmap(victim, this.me, 0)).toBe(OK);
    return victim;
  }

  /** Gives back the pin that kept a deleted blob's frame. */
  #settle(): void {
    if (this.#pinned) this.bench.control.unpin(this.frame, this.me);
    this.#pinned = false;
  }

  #change(life: Life): void {
    const { control } = this.bench;
    const { frame, me } = this;
    if (life === 'write' || life === 'upgrade') {
      const taken =
        life === 'write'
          ? control.acquireExclusive(frame, me, 0)
          : control.upgrade(frame, control.optimistic(frame), me);
      expect(taken).toBe(OK);
      this.#content++;
      expect(control.releaseExclusive(frame, me)).toBe(OK);
    } else if (life === 'evict') {
      expect(control.evictFrame(frame, this.#id, me, 0)).toBe(OK);
      expect(control.unmap(frame, me, 0)).toBe(OK);
      expect(control.giveFree(frame, me, 0)).toBe(OK);
      this.#id = 0;
    } else if (life === 'drop' || life === 'dropPinned') {
      if (life === 'dropPinned') {
        this.#pinned = true;
        expect(control.pin(this.#id, me, 0)).toBe(frame);
      }
      expect(control.acquireExclusive(frame, me, 0)).toBe(OK);
      expect(control.unmap(frame, me, 0)).toBe(OK);
      const dropped = control.dropBlob(frame, me, 0);
      expect(dropped).toBe(life === 'dropPinned' ? BUSY : OK);
      if (dropped === OK) expect(control.giveFree(frame, me, 0)).toBe(OK);
      this.#id = 0;
    }
  }
}

it('I5 a version is never seen twice for different bytes, whatever becomes of the frame', () => {
  const lives = fc.array(fc.constantFrom(...LIVES), { minLength: 1, maxLength: 60 });
  const property = fc.property(lives, (steps) => {
    const life = new FrameLife();
    const seen = new Map<number, number>();
    let last = -1n;
    for (const step of steps) {
      life.run(step);
      expect(life.bench.version(0) >= last).toBe(true);
      last = life.bench.version(0);
      const { content } = life;
      if (content === undefined) continue;
      const version = life.bench.control.optimistic(0);
      expect(seen.get(version) ?? content).toBe(content);
      seen.set(version, content);
    }
  });
  fc.assert(property, { seed: testSeed() | 0, numRuns: 300 });
});
