/**
 * An index of one's own under the crash harness: accounts in buckets, and moves between them that
 * must never be done half, twice, or out of order.
 *
 *   node examples/crash-own-index.mjs                      one run of `kill`
 *   node examples/crash-own-index.mjs points --runs 10     all modes: --help
 *   FORGETFUL=1 node examples/crash-own-index.mjs          a mistake in `replay`, which is found
 */
import { BufferPool } from 'weirpool';
import { main } from 'weirpool/harness';

const OWNER = 1;
const BUCKETS = 8;
const ACCOUNTS = 64;
const RECORD_BYTES = 4 * 8;

// --- the index: a table blob with the ids of its buckets, one number for each account -------------

/** Acquires the two accounts' buckets and looks; what it gives back writes, after the seal. */
function planMove(op, [table, from, to, amount]) {
  const buckets = op.read(table).f64;
  const [a, b] = [from, to].map((account) => op.write(buckets[account % BUCKETS]));
  return () => {
    a.f64[Math.floor(from / BUCKETS)] -= amount;
    b.f64[Math.floor(to / BUCKETS)] += amount;
  };
}

function planTable(op) {
  const table = op.create();
  const buckets = Array.from({ length: BUCKETS }, () => op.create().id);
  op.setRoot(OWNER, table.id);
  return () => table.f64.set(buckets);
}

/** What a record says is done again the same way: its blobs are as they were before it. */
const owners = {
  [OWNER]: {
    replay({ payload }, op) {
      const words = [...new Float64Array(payload.slice().buffer)];
      if (process.env.FORGETFUL === '1' && words[3] > 90) return;
      const write = words.length === 0 ? planTable(op) : planMove(op, words);
      op.seal();
      write();
      op.commit();
    },
  },
};

/** Few frames and a short log: everything that can be full gets full. */
const OPTIONS = {
  frames: 48,
  blobBytes: 4096,
  log: { ringBytes: 16384, segmentBytes: 16384, bytesMax: 65536 },
  checkpoint: { intervalMs: 0, ageMs: 0, dirtyFrames: 6 },
  owners,
};

/** One mini-transaction: its seq. */
function move(pool, { from, to, amount }) {
  return pool.change(
    (op) => {
      const words = [pool.root(OWNER), from, to, amount];
      const write = planMove(op, words);
      op.seal(RECORD_BYTES);
      write();
      return op.commit(new Uint8Array(Float64Array.from(words).buffer));
    },
    { owner: OWNER },
  );
}

function makeTable(pool) {
  pool.change(
    (op) => {
      const write = planTable(op);
      op.seal();
      write();
      op.commit(new Uint8Array(0));
    },
    { owner: OWNER },
  );
}

// --- what the harness has to know ------------------------------------------------------------------

const nameOf = (account) => `account ${account}`;

const subject = {
  name: 'accounts',

  async open(directory, options) {
    const pool = await BufferPool.open(directory, { ...OPTIONS, ...options });
    if (pool.root(OWNER) === undefined) makeTable(pool);
    return { pool, handle: pool.handle, close: () => pool.close() };
  },

  async attach(handle) {
    const pool = await BufferPool.attach(handle);
    return { pool, handle, close: () => pool.close() };
  },

  /** Accounts of this thread alone; buckets are shared by all. */
  draw(random, _facts, { thread, threads }) {
    const account = () => thread + threads * random.int(Math.floor(ACCOUNTS / threads));
    return { from: account(), to: account(), amount: 1 + random.int(100) };
  },

  expect(facts, { from, to, amount }) {
    const changes = new Map();
    const add = (account, delta) => {
      const name = nameOf(account);
      const before = changes.has(name) ? changes.get(name) : facts.get(name);
      const after = Number(before ?? 0) + delta;
      changes.set(name, after === 0 ? undefined : String(after));
    };
    add(from, -amount);
    add(to, amount);
    return changes;
  },

  apply: ({ pool }, operation) => move(pool, operation),

  facts({ pool }) {
    const facts = new Map();
    const buckets = pool.optimistic(pool.root(OWNER), ({ f64 }) => [...f64.subarray(0, BUCKETS)]);
    for (let account = 0; account < ACCOUNTS; account++) {
      const slot = Math.floor(account / BUCKETS);
      const amount = pool.optimistic(buckets[account % BUCKETS], ({ f64 }) => f64[slot]);
      if (amount !== 0) facts.set(nameOf(account), String(amount));
    }
    return facts;
  },
};

const given = process.argv.slice(2);
await main(
  { subjects: [subject], self: import.meta.url, command: 'node examples/crash-own-index.mjs' },
  given.length > 0 ? given : ['kill', '--runs', '1'],
);
