/**
 * The bank (test/support/bank.ts) under the harness: a logged pool without trees, whose threads move
 * money between each other's accounts, open and close accounts, and replace the master blob.
 *
 * Opening a new one founds it, and a blob is a fact once a transaction has changed it. Its facts are
 * shared: what a blob holds depends on everybody. Ids are no part of them, since
 * nobody can know them before: accounts go by teller and number of the transaction that has opened
 * them, the founded ones, which nobody closes, by their place.
 */
import type { Changes, Facts, Opened, Part, Random, Subject } from '../../../src/harness/index.ts';
import { type BlobId, BufferPool, type PoolHandle, type PoolOptions } from '../../../src/index.ts';
import {
  audit,
  BANK_OWNER,
  type Command,
  checkWhole,
  commandOf,
  execute,
  type Founding,
  foundAtOnce,
  isMissing,
  type Kind,
  listOf,
  payloadOf,
  wanted,
} from '../../support/bank.ts';
import { BANK_POOL } from '../../support/bank-pool.ts';

const TELLERS = 4;
/** Of each teller, from the beginning. */
const FOUNDED = 4;
const FOUNDING: Founding = { tellers: TELLERS, accounts: FOUNDED, balance: 100_000 };
/** With one thread its share is enough for the founding, with four it is a ledger and five accounts. */
const SIZES: PoolOptions = { ...BANK_POOL, frames: 48 };
const MOVE_MAX = 4;
const OPENED_MAX = 8;
const PAD_MAX = 1500;
const AMOUNT_MAX = 1000;
const RETRIES_MAX = 100_000;
const KINDS: readonly Kind[] = ['move', 'move', 'move', 'open', 'close', 'renew'];

/** A teller, and a place in the list of its accounts. */
type Place = readonly [teller: number, index: number];

export interface BankOperation {
  readonly kind: Kind;
  readonly teller: number;
  readonly number: number;
  /** move: the giver first; open: the giver; close: the account, its heir. */
  readonly places: readonly Place[];
  readonly amount: number;
  readonly pad: number;
  /** Where its blobs stand in the order in which they are latched. */
  readonly order: readonly number[];
  /** An account of anybody that is read before. */
  readonly look: Place;
}

interface Bank extends Opened {
  readonly handle: PoolHandle;
}

// --- facts ---------------------------------------------------------------------------------------

const MASTER = 'master';

/** Teller and number of the last transaction, and how many there were. */
type Mark = readonly [teller: number, number: number, version: number];

const UNTOUCHED: Mark = [0, 0, 0];

function ledgerName(teller: number): string {
  return `ledger ${teller}`;
}

function markIn(facts: Facts, name: string): Mark {
  const [teller = 0, number = 0, version = 0] = textIn(facts, name).split(' ').map(Number);
  return [teller, number, version];
}

function textOf(mark: Mark, more: readonly (number | string)[] = []): string {
  return [...mark, ...more].join(' ');
}

/** What a blob holds, also one that is as it was founded. */
function textIn(facts: Facts, name: string): string {
  const text = facts.get(name);
  if (text !== undefined) return text;
  const [what = '', teller] = name.split(' ');
  if (what === 'ledger') return textOf(UNTOUCHED, [foundedNames(Number(teller)).join(',')]);
  return name.includes('founded') ? textOf(UNTOUCHED, [FOUNDING.balance]) : textOf(UNTOUCHED);
}

function foundedNames(teller: number): string[] {
  return Array.from({ length: FOUNDED }, (_, index) => accountName(teller, index, 0));
}

function balanceIn(facts: Facts, name: string): number {
  return Number(textIn(facts, name).split(' ')[3] ?? 0);
}

/** Number of a teller's last transaction. */
function numberOf(facts: Facts, teller: number): number {
  return markIn(facts, ledgerName(teller))[1];
}

/** Names of a teller's accounts, in the order of its ledger. */
function accountsOf(facts: Facts, teller: number): string[] {
  const [, , , list = ''] = textIn(facts, ledgerName(teller)).split(' ');
  return list === '' ? [] : list.split(',');
}

function accountName(teller: number, index: number, birth: number): string {
  return birth === 0 ? `${teller}/founded-${index}` : `${teller}/${birth}`;
}

function factsOf(pool: BufferPool): Facts {
  const { master, ledgers, accounts, marks, money } = audit(pool);
  const facts = new Map<string, string>();
  const note = (name: string, id: BlobId, more: readonly (number | string)[]): void => {
    const { teller = 0, number = 0, version = 0 } = marks.get(id) ?? {};
    if (version > 0) facts.set(name, textOf([teller, number, version], more));
  };
  note(MASTER, master, []);
  ledgers.forEach((ledger, teller) => {
    const names = (accounts[teller] ?? []).map((id, index) => {
      const { balance = 0, birth = 0 } = money.get(id) ?? {};
      const name = accountName(teller, index, birth);
      note(name, id, [balance]);
      return name;
    });
    note(ledgerName(teller), ledger, [names.join(',')]);
  });
  return facts;
}

/** What a transaction does to the facts, in the order of the log. */
class Expectation {
  readonly changes: Map<string, string | undefined> = new Map();
  readonly #facts: Facts;
  readonly #operation: BankOperation;

  constructor(facts: Facts, operation: BankOperation) {
    this.#facts = facts;
    this.#operation = operation;
  }

  /** The name of the account at a place, as the log has it. */
  name([teller, index]: Place): string {
    return accountsOf(this.#facts, teller)[index] ?? '';
  }

  #touch(name: string): Mark {
    const { teller, number } = this.#operation;
    return [teller, number, markIn(this.#facts, name)[2] + 1];
  }

  pay(name: string, amount: number): void {
    const balance = balanceIn(this.#facts, name);
    this.changes.set(name, textOf(this.#touch(name), [(balance + amount) >>> 0]));
  }

  list(names: readonly string[]): void {
    const ledger = ledgerName(this.#operation.teller);
    this.changes.set(ledger, textOf(this.#touch(ledger), [names.join(',')]));
  }

  renew(): void {
    this.changes.set(MASTER, textOf(this.#touch(MASTER)));
  }
}

function expectChanges(facts: Facts, operation: BankOperation): Changes {
  const { kind, teller, number, places, amount } = operation;
  const expectation = new Expectation(facts, operation);
  const own = accountsOf(facts, teller);
  const [first = '', second = ''] = places.map((place) => expectation.name(place));
  if (kind === 'move') {
    expectation.list(own);
    places.forEach((place, n) => {
      const given = n === 0 ? -amount * (places.length - 1) : amount;
      expectation.pay(expectation.name(place), given);
    });
  } else if (kind === 'open') {
    const name = accountName(teller, own.length, number);
    expectation.list([...own, name]);
    expectation.pay(name, amount);
    expectation.pay(first, -amount);
  } else if (kind === 'close') {
    expectation.list(own.filter((name) => name !== first));
    expectation.pay(second, balanceIn(facts, first));
    expectation.changes.set(first, undefined);
  } else {
    expectation.list(own);
    expectation.renew();
  }
  return expectation.changes;
}

// --- doing ---------------------------------------------------------------------------------------

function anyFounded(random: Random): Place {
  return [random.int(TELLERS), random.int(FOUNDED)];
}

/** Different accounts: founded ones of anybody, and own ones. */
function movePlaces(random: Random, teller: number, own: number): Place[] {
  const places = new Map<string, Place>();
  const count = 2 + random.int(MOVE_MAX - 1);
  while (places.size < count) {
    const place: Place = random.chance(0.5) ? [teller, random.int(own)] : anyFounded(random);
    places.set(place.join(), place);
  }
  return [...places.values()];
}

function placesFor(kind: Kind, random: Random, teller: number, own: number): Place[] | undefined {
  switch (kind) {
    case 'move':
      return movePlaces(random, teller, own);
    case 'open':
      return own >= FOUNDED + OPENED_MAX ? undefined : [anyFounded(random)];
    case 'close':
      if (own === FOUNDED) return undefined;
      return [[teller, FOUNDED + random.int(own - FOUNDED)], anyFounded(random)];
    case 'renew':
      return [];
  }
}

/** Ids of this moment; the master, and nothing else of what an operation names, may go meanwhile. */
function commandFor(pool: BufferPool, operation: BankOperation): Command {
  const { kind, teller, number, places, amount, pad } = operation;
  const master = pool.root(BANK_OWNER) as BlobId;
  const ledgers = listOf(pool, master);
  const idAt = ([whose, index]: Place): BlobId =>
    listOf(pool, ledgers[whose] as BlobId)[index] as BlobId;
  const ids = kind === 'renew' ? [master] : places.map(idAt);
  const ledger = ledgers[teller] as BlobId;
  return { kind, teller, number, ledger, ids, amount, pad: 'x'.repeat(pad) };
}

function ordered(ids: readonly BlobId[], order: readonly number[]): BlobId[] {
  return ids
    .map((id, n) => ({ id, place: order[n] ?? 0 }))
    .sort((a, b) => a.place - b.place)
    .map(({ id }) => id);
}

function change(pool: BufferPool, operation: BankOperation): number {
  for (let n = 0; n < RETRIES_MAX; n++) {
    try {
      const command = commandFor(pool, operation);
      const payload = payloadOf(command);
      const order = ordered(wanted(command), operation.order);
      return pool.change(
        (op) => {
          execute(op, command, order, payload.length);
          return op.commit(payload);
        },
        { owner: BANK_OWNER },
      );
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
  throw new Error('the master is never there for long');
}

/** An account that nobody closes, read beside those who change it. */
function look(pool: BufferPool, [teller, index]: Place): void {
  try {
    const ledgers = listOf(pool, pool.root(BANK_OWNER) as BlobId);
    const id = listOf(pool, ledgers[teller] as BlobId)[index] as BlobId;
    pool.optimistic(id, ({ u32 }) => checkWhole(id, u32));
    const guard = pool.read(id);
    try {
      checkWhole(id, guard.u32);
    } finally {
      guard.release();
    }
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/** The record of the founding is empty. */
function found(pool: BufferPool): void {
  pool.change(
    (op) => {
      foundAtOnce(op, FOUNDING, 0);
      op.commit(new Uint8Array(0));
    },
    { owner: BANK_OWNER },
  );
}

const OWNERS: NonNullable<PoolOptions['owners']> = {
  [BANK_OWNER]: {
    replay(record, op) {
      const { payload } = record;
      if (payload.length === 0) foundAtOnce(op, FOUNDING, 0);
      else {
        const command = commandOf(payload);
        execute(op, command, wanted(command), payload.length);
      }
      op.commit(payload);
    },
  },
};

const OPTIONS: PoolOptions = { ...SIZES, owners: OWNERS };
/** On a simulated disk nothing may depend on the time. */
export const OPTIONS_ON_DISKS: PoolOptions = {
  ...OPTIONS,
  log: { ...BANK_POOL.log, intervalMs: 0 },
  checkpoint: { intervalMs: 0, ageMs: 0, dirtyFrames: 8 },
};

function bankOf(pool: BufferPool): Bank {
  return { pool, handle: pool.handle, close: () => pool.close() };
}

export const bankSubject: Subject<Bank, BankOperation> = {
  name: 'bank',
  shared: true,

  async open(directory, options) {
    const given = { ...(options.threads === 'inline' ? OPTIONS_ON_DISKS : OPTIONS), ...options };
    const pool = await BufferPool.open(directory, given);
    try {
      if (pool.root(BANK_OWNER) === undefined) found(pool);
      return bankOf(pool);
    } catch (error) {
      await pool.close();
      throw error;
    }
  },

  attach: async (handle: PoolHandle) => bankOf(await BufferPool.attach(handle)),

  draw(random, facts, { thread: teller }: Part): BankOperation | undefined {
    const kind = random.pick(KINDS);
    const places = placesFor(kind, random, teller, accountsOf(facts, teller).length);
    if (places === undefined) return undefined;
    const order = Array.from({ length: places.length + 2 }, () => random.int(1000));
    const [amount, pad] = [random.int(AMOUNT_MAX), random.int(PAD_MAX)];
    const number = numberOf(facts, teller) + 1;
    return { kind, teller, number, places, amount, pad, order, look: anyFounded(random) };
  },

  expect: expectChanges,

  apply({ pool }, operation) {
    look(pool, operation.look);
    return change(pool, operation);
  },

  facts: ({ pool }) => factsOf(pool),
};
