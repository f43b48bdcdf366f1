/**
 * What may be left of what several threads have done: the prefixes that are promised, each of them,
 * and nothing else.
 */
import { describe, expect, it } from 'vitest';
import { sumOfOperation } from '../../../src/harness/drawer.ts';
import { History } from '../../../src/harness/history.ts';
import type { Random } from '../../../src/harness/random.ts';
import type { AnySubject, Facts, Part } from '../../../src/harness/subject.ts';

interface Operation {
  readonly name: string;
  readonly value: string;
}

/** Threads put what a list says: `a=1` puts 1 under `a`. */
function listed(lists: readonly (readonly string[])[], shared = false): AnySubject {
  const at = lists.map(() => 0);
  return {
    name: 'listed',
    shared,
    open: () => Promise.reject(new Error('never opened')),
    attach: () => Promise.reject(new Error('never attached')),
    draw(_random: Random, _facts: Facts, { thread }: Part): Operation {
      const [name = '', value = ''] = (lists[thread]?.[(at[thread] as number)++] ?? 'z=').split(
        '=',
      );
      return { name, value };
    },
    expect(facts: Facts, { name, value }: Operation) {
      // `+` adds to what is there: the order matters.
      const next = value.startsWith('+') ? (facts.get(name) ?? '') + value.slice(1) : value;
      return new Map([[name, next]]);
    },
    apply: () => undefined,
    facts: () => new Map(),
  };
}

const TASK = {
  subject: 'listed',
  directory: '',
  seed: 1,
  endAfterMs: 0,
  ending: 'close',
} as const;

/** A history of two threads that have begun with nothing. */
class Told {
  readonly history: History;
  readonly #lists: readonly (readonly string[])[];
  readonly #at = [0, 0];

  constructor(lists: readonly (readonly string[])[], shared = false) {
    this.#lists = lists;
    this.history = new History(listed(lists, shared));
    this.history.begin({ ...TASK, threads: lists.length });
    this.say('opening 1', 'open []', 'running 0');
  }

  say(...lines: readonly string[]): this {
    for (const line of lines) this.history.hear(line);
    return this;
  }

  begin(thread: number): this {
    const [name, value] = (this.#lists[thread]?.[(this.#at[thread] as number)++] ?? '').split('=');
    return this.say(`begin ${thread} ${sumOfOperation({ name, value })}`);
  }

  do(thread: number, seq: number): this {
    return this.begin(thread).say(`done ${thread} ${seq}`);
  }

  /** What is wrong with this after an end, which is the death of the process unless it was told. */
  found(...facts: readonly string[]): readonly string[] {
    const pairs = facts.map((fact) => fact.split('='));
    this.say(`open ${JSON.stringify(pairs)}`);
    return this.history.takeViolations();
  }
}

const LISTS = [
  ['a=1', 'a=2', 'a=3'],
  ['b=1', 'b=2', 'b=3'],
];

/** Commits in the order a=1, b=1, a=2; b=2 is under way. */
function busy(lists: readonly (readonly string[])[] = LISTS, shared = false): Told {
  return new Told(lists, shared).do(0, 10).do(1, 20).do(0, 30).begin(1);
}

describe('after a death', () => {
  it('every prefix may be there, with or without what was under way behind its own thread', () => {
    expect(busy().found('a=2', 'b=1')).toEqual([]);
    expect(busy().found('a=2', 'b=2')).toEqual([]);
    expect(busy().found('a=1', 'b=1')).toEqual([]);
    expect(busy().found('a=1', 'b=2')).toEqual([]);
    expect(busy().found('a=1')).toEqual([]);
    expect(busy().found()).toEqual([]);
  });

  it('nothing else may be', () => {
    for (const facts of [['b=1'], ['a=2'], ['a=3', 'b=1'], ['b=2'], ['a=2', 'b=1', 'c=1']]) {
      expect(busy().found(...facts), facts.join()).toEqual([
        expect.stringContaining('no state that may be there'),
      ]);
    }
  });

  it('what was acknowledged as written must be there, and what came before it', () => {
    const acknowledged = (): Told => busy().say('written 1 20');
    expect(acknowledged().found('a=2', 'b=1')).toEqual([]);
    expect(acknowledged().found('a=1', 'b=1')).toEqual([]);
    expect(acknowledged().found('a=1')).toEqual([
      expect.stringContaining('1 of 2 operations are lost: it is the state after seq 10'),
    ]);
    expect(busy().say('synced 0 30').found()).toEqual([
      expect.stringContaining('3 of 3 operations are lost'),
    ]);
  });

  it('what was found is what must be there the next time', () => {
    const told = busy();
    expect(told.found('a=1', 'b=1')).toEqual([]);
    expect(told.found('a=1')).toHaveLength(1);
    expect(told.found('a=1', 'b=1')).toHaveLength(1);
  });
});

describe('after a loss of power', () => {
  it('what was written may be gone, what was synced may not', () => {
    const told = busy().say('synced 0 10', 'written 0 30');
    told.history.losePower();
    expect(told.found('a=1')).toEqual([]);
    const lost = busy().say('synced 0 10', 'written 0 30');
    lost.history.losePower();
    expect(lost.found()).toEqual([expect.stringContaining('after power loss')]);
  });
});

describe('after a close, and when all threads have stopped', () => {
  it('everything must be there', () => {
    expect(busy().say('closed').found('a=2', 'b=1')).toEqual([]);
    expect(busy().say('closed').found('a=1', 'b=1')).toEqual([
      expect.stringContaining('after close'),
    ]);
    const quiet = busy().say('quiet [["a","1"],["b","1"]]');
    expect(quiet.history.takeViolations()).toEqual([expect.stringContaining('after quiet')]);
  });
});

describe('what threads say', () => {
  it('must have a seq of its own, above all that were there', () => {
    expect(new Told(LISTS).do(0, 10).do(1, 10).history.takeViolations()).toHaveLength(1);
    const told = new Told(LISTS).do(0, 10);
    told.found('a=1');
    told.say('running 0').do(0, 10);
    expect(told.history.takeViolations()).toContain('seq 10 was used before');
  });

  it('must be what is drawn the second time', () => {
    const told = new Told(LISTS).say('begin 0 1');
    expect(told.history.takeViolations()).toEqual([expect.stringContaining('draws differently')]);
  });

  it('must not be that there was nothing to do if there was', () => {
    const told = new Told(LISTS).begin(0).say('idle 0');
    expect(told.history.takeViolations()).toEqual([expect.stringContaining('nothing was done')]);
    const same = new Told([['a=1', 'a=1'], []]).do(0, 10).begin(0).say('idle 0');
    expect(same.history.takeViolations()).toEqual([]);
  });

  it('may come in another order than that of the log', () => {
    const told = new Told(LISTS).begin(0).do(1, 20).say('done 0 10');
    expect(told.found('a=1', 'b=1')).toEqual([]);
    expect(new Told(LISTS).begin(0).do(1, 20).say('done 0 10').found('b=1')).toHaveLength(1);
  });
});

describe('facts that threads share', () => {
  const SHARED = [
    ['a=+x', 'a=+y', 'a=+z'],
    ['a=+1', 'a=+2', 'a=+3'],
  ];

  it('are changed in the order of the log, and what was under way may be anywhere', () => {
    // x 1 y, and 2 at any place behind 1.
    for (const value of ['x1y', 'x1', 'x', 'x1y2', 'x12y', 'x12']) {
      expect(busy(SHARED, true).found(`a=${value}`), value).toEqual([]);
    }
    for (const value of ['1x', 'xy', 'x21y', '2x1y', 'x1y22', 'x2']) {
      expect(busy(SHARED, true).found(`a=${value}`), value).toHaveLength(1);
    }
  });
});
