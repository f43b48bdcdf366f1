/**
 * A bank in a logged pool: what the tests with real kills and real workers write and check.
 *
 * A master blob (the root) names the ledgers, one for each teller; a ledger names the accounts that
 * its teller has opened. Every transaction is one mini-transaction: it counts in the teller's
 * ledger and moves amounts between accounts, so that
 *   - the sum of all balances never changes;
 *   - a teller's transactions are there up to some number and none beyond;
 *   - each blob names the transaction that changed it last, and has a checksum over all its words.
 *
 * Records are commands, done again by the same code: a replay out of order, twice or with a gap
 * finds another number in the ledger and fails.
 */
import type {
  BlobId,
  BufferPool,
  DurabilityLevel,
  LogRecord,
  Op,
  OpBlob,
  Owners,
} from '../../src/index.ts';
import type { Random } from './seed.ts';

export const BANK_OWNER = 7;
export const BLOB_BYTES = 4096;
const WORDS = BLOB_BYTES / 4;

/** Words of every blob of the bank. */
const KIND = 0;
const ID = 1;
/** Changes so far. */
const VERSION = 2;
/** The last transaction: teller and number. */
const TELLER = 3;
const NUMBER = 4;
const SUM = WORDS - 1;
/** Account: its money, and the number of the transaction that has opened it; 0: founded. */
const BALANCE = 5;
const BIRTH = 6;
/** Master: all money. */
const TOTAL = 5;
/** Ledger and master: a list. */
const COUNT = 6;
const LIST = 7;
const LIST_MAX = 200;

const MASTER = 0x3a57e2;
const LEDGER = 0x1ed9e2;
const ACCOUNT = 0xacc0;

export class BankError extends Error {}

function fail(what: string): never {
  throw new BankError(what);
}

function word(words: Uint32Array, index: number): number {
  return words[index] as number;
}

function sumOf(words: Uint32Array): number {
  let sum = 0x811c9dc5;
  for (let index = 0; index < SUM; index++) {
    sum = Math.imul(sum ^ word(words, index), 0x01000193);
    sum ^= sum >>> 15;
  }
  return sum >>> 0;
}

/** Fails unless these are the whole bytes of that blob. */
export function checkWhole(id: BlobId, words: Uint32Array): void {
  if (word(words, ID) !== id) fail(`blob ${id} has the bytes of ${word(words, ID)}`);
  if (word(words, SUM) !== sumOf(words)) fail(`blob ${id} is torn: its checksum is wrong`);
}

// --- transactions ------------------------------------------------------------------------------

export type Kind = 'move' | 'open' | 'close' | 'renew';

/** A transaction. Its record is this, as JSON. */
export interface Command {
  readonly kind: Kind;
  readonly teller: number;
  readonly number: number;
  readonly ledger: BlobId;
  /** move: any number of accounts; open: the giver; close: the account, its heir; renew: master. */
  readonly ids: readonly BlobId[];
  readonly amount: number;
  /** Makes the record longer. */
  readonly pad: string;
}

export function payloadOf(command: Command): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(command));
}

export function commandOf(payload: Uint8Array): Command {
  return JSON.parse(new TextDecoder().decode(payload)) as Command;
}

function touch(blob: OpBlob, { teller, number }: Command): Uint32Array {
  const { u32 } = blob;
  u32[VERSION] = word(u32, VERSION) + 1;
  u32[TELLER] = teller;
  u32[NUMBER] = number;
  return u32;
}

function seal(words: Uint32Array): void {
  words[SUM] = sumOf(words);
}

function pay(words: Uint32Array, amount: number): void {
  words[BALANCE] = word(words, BALANCE) + amount;
}

function list(words: Uint32Array): number[] {
  return [...words.subarray(LIST, LIST + word(words, COUNT))];
}

function setList(words: Uint32Array, ids: readonly number[]): void {
  if (ids.length > LIST_MAX) fail('a list is too long');
  words.fill(0, LIST, SUM);
  words[COUNT] = ids.length;
  words.set(ids, LIST);
}

function begin(blob: OpBlob, kind: number): void {
  blob.u32[KIND] = kind;
  blob.u32[ID] = blob.id;
}

/** What a transaction has changed; `gone` is the blob that it has deleted. */
export interface Changed {
  readonly touched: readonly BlobId[];
  readonly gone?: BlobId;
}

/** Everything that a transaction has acquired. */
class Acquired {
  readonly #op: Op;
  readonly #blobs = new Map<BlobId, OpBlob>();

  constructor(op: Op, ids: readonly BlobId[]) {
    this.#op = op;
    for (const id of ids) {
      const blob = op.write(id);
      checkWhole(id, blob.u32);
      this.#blobs.set(id, blob);
    }
  }

  get(id: BlobId | undefined): OpBlob {
    return this.#blobs.get(id as BlobId) ?? fail(`blob ${id} was not acquired`);
  }

  delete(id: BlobId): void {
    if (!this.#op.delete(id)) fail(`blob ${id} was not there to be deleted`);
  }
}

/** Acquires in the order given, seals and changes; the caller commits. */
export function execute(
  op: Op,
  command: Command,
  order: readonly BlobId[],
  bytes: number,
): Changed {
  const { kind, ledger, ids, number } = command;
  const acquired = new Acquired(op, order);
  const book = acquired.get(ledger);
  const last = word(book.u32, NUMBER);
  if (last !== number - 1) fail(`ledger ${ledger} has done ${last}, and is to do ${number} now`);
  if (kind === 'move') return move(op, command, acquired, bytes);
  if (kind === 'open') return open(op, command, acquired, bytes);
  if (kind === 'close') return close(op, command, acquired, bytes);
  return renew(op, command, acquired, ids[0] as BlobId, bytes);
}

function move(op: Op, command: Command, acquired: Acquired, bytes: number): Changed {
  op.seal(bytes);
  seal(touch(acquired.get(command.ledger), command));
  command.ids.forEach((id, n) => {
    const words = touch(acquired.get(id), command);
    // All but the first get the amount, which the first one gives.
    pay(words, n === 0 ? -command.amount * (command.ids.length - 1) : command.amount);
    seal(words);
  });
  return { touched: [command.ledger, ...command.ids] };
}

function open(op: Op, command: Command, acquired: Acquired, bytes: number): Changed {
  const account = op.create();
  op.seal(bytes);
  begin(account, ACCOUNT);
  const words = touch(account, command);
  words[BIRTH] = command.number;
  pay(words, command.amount);
  seal(words);
  const [from] = command.ids;
  const given = touch(acquired.get(from), command);
  pay(given, -command.amount);
  seal(given);
  const book = touch(acquired.get(command.ledger), command);
  setList(book, [...list(book), account.id]);
  seal(book);
  return { touched: [command.ledger, from as BlobId, account.id] };
}

function close(op: Op, command: Command, acquired: Acquired, bytes: number): Changed {
  const [gone, heir] = command.ids as [BlobId, BlobId];
  const rest = word(acquired.get(gone).u32, BALANCE);
  acquired.delete(gone);
  op.seal(bytes);
  const words = touch(acquired.get(heir), command);
  pay(words, rest);
  seal(words);
  const book = touch(acquired.get(command.ledger), command);
  setList(
    book,
    list(book).filter((id) => id !== gone),
  );
  seal(book);
  return { touched: [command.ledger, heir], gone };
}

/** The master's content moves to a new blob, which becomes the root. */
function renew(op: Op, command: Command, acquired: Acquired, old: BlobId, bytes: number): Changed {
  const content = acquired.get(old).u32.slice();
  const master = op.create();
  acquired.delete(old);
  op.setRoot(BANK_OWNER, master.id);
  op.seal(bytes);
  master.u32.set(content);
  master.u32[ID] = master.id;
  seal(touch(master, command));
  seal(touch(acquired.get(command.ledger), command));
  return { touched: [command.ledger, master.id], gone: old };
}

/** Blobs that the command acquires. */
export function wanted({ ledger, ids }: Command): BlobId[] {
  return [ledger, ...ids];
}

/** Replay: each record exactly once, in order; the ledgers see to it. */
export function bankOwners(onRecord: (record: LogRecord) => void = () => undefined): Owners {
  return {
    [BANK_OWNER]: {
      replay(record, op) {
        onRecord(record);
        const command = commandOf(record.payload);
        execute(op, command, wanted(command), record.payload.length);
        op.commit(record.payload);
      },
    },
  };
}

// --- founding ----------------------------------------------------------------------------------

/** Not to be replayed: the founder closes the pool, or runs a round. */
export function found(pool: BufferPool, tellers: number, accounts: number, balance: number): void {
  const ledgers: BlobId[] = [];
  for (let teller = 0; teller < tellers; teller++) {
    const ids: BlobId[] = [];
    for (let n = 0; n < accounts; n++) {
      ids.push(
        make(pool, ACCOUNT, (words) => {
          words[BALANCE] = balance;
        }),
      );
    }
    ledgers.push(make(pool, LEDGER, (words) => setList(words, ids)));
  }
  const fill = (words: Uint32Array): void => {
    setList(words, ledgers);
    words[TOTAL] = tellers * accounts * balance;
  };
  make(pool, MASTER, fill, true);
}

function make(
  pool: BufferPool,
  kind: number,
  fill: (words: Uint32Array) => void,
  root = false,
): BlobId {
  return pool.change(
    (op) => {
      const blob = op.create();
      if (root) op.setRoot(BANK_OWNER, blob.id);
      op.seal(0);
      begin(blob, kind);
      fill(blob.u32);
      seal(blob.u32);
      op.commit(new Uint8Array(0));
      return blob.id;
    },
    { owner: BANK_OWNER },
  );
}

export interface Founding {
  readonly tellers: number;
  /** Of each teller. */
  readonly accounts: number;
  readonly balance: number;
}

/** The same bank in one mini-transaction, whose record can be done again; the caller commits. */
export function foundAtOnce(op: Op, founding: Founding, bytes: number): void {
  const { tellers, accounts, balance } = founding;
  const create = (count: number): OpBlob[] => Array.from({ length: count }, () => op.create());
  const [master] = create(1) as [OpBlob];
  const ledgers = create(tellers);
  const all = ledgers.map(() => create(accounts));
  op.setRoot(BANK_OWNER, master.id);
  op.seal(bytes);
  const fill = (blob: OpBlob, kind: number, more: (words: Uint32Array) => void): void => {
    begin(blob, kind);
    more(blob.u32);
    seal(blob.u32);
  };
  for (const account of all.flat()) fill(account, ACCOUNT, (words) => pay(words, balance));
  ledgers.forEach((ledger, teller) => {
    const ids = all[teller]?.map(({ id }) => id) ?? [];
    fill(ledger, LEDGER, (words) => setList(words, ids));
  });
  fill(master, MASTER, (words) => {
    setList(
      words,
      ledgers.map(({ id }) => id),
    );
    words[TOTAL] = tellers * accounts * balance;
  });
}

// --- looking -----------------------------------------------------------------------------------

/** Where a blob was changed last. */
export interface Mark {
  readonly kind: number;
  readonly teller: number;
  readonly number: number;
  readonly version: number;
}

/** The whole bank, as it is. */
export interface Books {
  readonly master: BlobId;
  readonly ledgers: readonly BlobId[];
  /** By teller: number of its last transaction. */
  readonly numbers: readonly number[];
  readonly accounts: readonly (readonly BlobId[])[];
  readonly marks: ReadonlyMap<BlobId, Mark>;
  /** Of accounts: money, and number of the transaction that has opened it. */
  readonly money: ReadonlyMap<BlobId, { readonly balance: number; readonly birth: number }>;
}

function copyOf(pool: BufferPool, id: BlobId): Uint32Array {
  const bytes = new Uint8Array(BLOB_BYTES);
  pool.readInto(id, bytes);
  const words = new Uint32Array(bytes.buffer);
  checkWhole(id, words);
  return words;
}

/** Reads everything, while nobody writes: fails where it contradicts itself. */
export function audit(pool: BufferPool): Books {
  const marks = new Map<BlobId, Mark>();
  const read = (id: BlobId, kind: number): Uint32Array => {
    if (marks.has(id)) fail(`blob ${id} is named twice`);
    const words = copyOf(pool, id);
    if (word(words, KIND) !== kind) fail(`blob ${id} is of kind ${word(words, KIND)}`);
    const [teller, number, version] = [TELLER, NUMBER, VERSION].map((at) => word(words, at));
    marks.set(id, { kind, teller, number, version } as Mark);
    return words;
  };
  const master = pool.root(BANK_OWNER) ?? fail('the bank has no root');
  const top = read(master, MASTER);
  const ledgers = list(top);
  const accounts = ledgers.map((id) => list(read(id, LEDGER)));
  const money = new Map<BlobId, { readonly balance: number; readonly birth: number }>();
  let total = 0;
  for (const id of accounts.flat()) {
    const words = read(id, ACCOUNT);
    const [balance, birth] = [word(words, BALANCE), word(words, BIRTH)];
    money.set(id, { balance, birth });
    total = (total + balance) >>> 0;
  }
  if (total !== word(top, TOTAL)) fail(`the balances sum up to ${total}, not ${word(top, TOTAL)}`);
  const listed = pool.list();
  if (listed.length !== marks.size) fail(`the store has ${listed.length} blobs, not ${marks.size}`);
  for (const id of listed) if (!marks.has(id)) fail(`blob ${id} belongs to nobody`);
  const numbers = ledgers.map((id) => (marks.get(id) as Mark).number);
  return { master, ledgers, numbers, accounts, marks, money };
}

// --- tellers -----------------------------------------------------------------------------------

/** What a teller draws its transactions with. */
export interface TellerOptions {
  /** Accounts of one move, at least two. */
  readonly moveMax: number;
  /** Most bytes of padding in a record. */
  readonly padMax: number;
  /** Accounts that a teller wants to have open. */
  readonly accountsMax: number;
  readonly kinds: readonly Kind[];
}

/** A transaction that went through. */
export interface Done extends Changed {
  readonly teller: number;
  readonly number: number;
  readonly seq: number;
}

const RETRIES_MAX = 100_000;

/** Somebody else has replaced or deleted it. */
export function isMissing(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code === 'BLOB_NOT_FOUND' || code === 'BLOB_GONE';
}

/** What a master or a ledger lists. */
export function listOf(pool: BufferPool, id: BlobId): BlobId[] {
  return pool.optimistic(id, ({ u32 }) => {
    checkWhole(id, u32);
    return list(u32);
  });
}

export class Teller {
  readonly #pool: BufferPool;
  readonly #teller: number;
  readonly #random: Random;
  readonly #options: TellerOptions;
  #ledgers: readonly BlobId[] = [];
  #number = 0;

  constructor(pool: BufferPool, teller: number, random: Random, options: TellerOptions) {
    this.#pool = pool;
    this.#teller = teller;
    this.#random = random;
    this.#options = options;
    this.#ledgers = this.#findLedgers();
    this.#number = pool.optimistic(this.#ledger, ({ u32 }) => word(u32, NUMBER));
  }

  /** The master may be renewed between two looks. */
  #findLedgers(): BlobId[] {
    for (let attempt = 0; attempt < RETRIES_MAX; attempt++) {
      try {
        return this.#readList(this.#pool.root(BANK_OWNER) ?? fail('the bank has no root'));
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    }
    return fail('the master is never there');
  }

  get #ledger(): BlobId {
    return this.#ledgers[this.#teller] as BlobId;
  }

  /** Accounts that this teller has open: nobody else closes them. */
  get accounts(): BlobId[] {
    return this.#readList(this.#ledger);
  }

  #readList(id: BlobId): BlobId[] {
    return listOf(this.#pool, id);
  }

  /** Reads an account and checks it whole; false if it is gone. */
  look(): boolean {
    const ids = this.#readList(this.#random.pick(this.#ledgers));
    const id = this.#random.pick(ids);
    try {
      if (this.#random.chance(0.5)) this.#pool.optimistic(id, ({ u32 }) => checkWhole(id, u32));
      else {
        const guard = this.#pool.read(id);
        try {
          checkWhole(id, guard.u32);
        } finally {
          guard.release();
        }
      }
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  #draw(): Command | undefined {
    const random = this.#random;
    const { kinds, moveMax, padMax, accountsMax } = this.#options;
    const own = this.accounts;
    const kind = random.pick(kinds);
    const any = this.#readList(random.pick(this.#ledgers));
    const common = {
      teller: this.#teller,
      number: this.#number + 1,
      ledger: this.#ledger,
      amount: random.int(1000),
      pad: 'x'.repeat(random.int(padMax + 1)),
    };
    switch (kind) {
      case 'open':
        if (own.length >= accountsMax) return undefined;
        return { ...common, kind, ids: [random.pick(any)] };
      case 'close': {
        const gone = random.pick(own);
        const heir = random.pick(any);
        if (own.length < 3 || gone === heir) return undefined;
        return { ...common, kind, ids: [gone, heir] };
      }
      case 'renew':
        return { ...common, kind, ids: [this.#pool.root(BANK_OWNER) as BlobId] };
      case 'move': {
        const count = 2 + random.int(moveMax - 1);
        const ids = new Set([...own, ...any]);
        return { ...common, kind, ids: random.shuffled([...ids]).slice(0, count) };
      }
    }
  }

  /** One transaction, drawn at random; again if what it needs has gone meanwhile. */
  work(durability: DurabilityLevel = 'none'): Done {
    for (let attempt = 0; attempt < RETRIES_MAX; attempt++) {
      const command = this.#draw();
      if (command === undefined) continue;
      const payload = payloadOf(command);
      const order = this.#random.shuffled(wanted(command));
      try {
        return this.#pool.change(
          (op) => {
            const changed = execute(op, command, order, payload.length);
            const seq = op.commit(payload);
            this.#number = command.number;
            return { teller: this.#teller, number: command.number, seq, ...changed };
          },
          { owner: BANK_OWNER, durability },
        );
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    }
    return fail('no transaction could be made');
  }
}
