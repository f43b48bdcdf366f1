/**
 * Lock files: whatever stands in them and whatever they are called, taking and looking ends with the
 * directory, or with `STORE_LOCKED`. Where a socket decides, the files of dead and unknown holders
 * never keep anybody out.
 */
import fc from 'fast-check';
import { systemProcesses } from '../../../src/fs/processes.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { DirectoryLock, type LockSockets } from '../../../src/store/directory-lock.ts';
import { countedFiles } from '../support/budget.ts';
import { BOUNDARIES, type Mutation, mutated, mutations } from '../support/bytes.ts';
import { type Context, type Family, must, type Prepared } from '../support/family.ts';
import { DIRECTORY } from '../support/images.ts';

/** Each look at a process reads three files of /proc. */
const BYTES_BASE = 2 * 1024 * 1024;
const CALLS_MAX = 400;

const anything = fc.oneof(
  fc.anything({ withBigInt: false, maxDepth: 2 }),
  fc.constantFrom<unknown>(...BOUNDARIES.map(Number), 'x', null, true, -0, 1.5, '../..', '\u0000'),
);

interface Case {
  readonly files: readonly {
    readonly name: string;
    readonly holder: unknown;
    readonly list: readonly Mutation[];
  }[];
  readonly socket: boolean;
  readonly way: 'acquire' | 'probe';
}

const names = fc.oneof(
  { weight: 4, arbitrary: fc.stringMatching(/^lock-[0-9a-f]{16}$/) },
  fc.stringMatching(/^lock-[0-9a-f]{0,20}(\.tmp)?$/),
);

const self = systemProcesses.self();
const holders = fc.oneof(
  fc.constant<unknown>(self),
  fc.record(
    {
      pid: fc.oneof(fc.constantFrom<unknown>(1, self.pid, 2 ** 31, 4_194_305), anything),
      startTime: fc.oneof(fc.constant<unknown>(0), anything),
      host: fc.oneof(fc.constant<unknown>(self.host), anything),
      scope: fc.oneof(fc.constant<unknown>(self.scope), anything),
    },
    { requiredKeys: [] },
  ),
  anything,
);

const cases: fc.Arbitrary<Case> = fc.record({
  files: fc.array(
    fc.record({
      name: names,
      holder: holders,
      list: fc.oneof(
        { weight: 3, arbitrary: fc.constant([]) },
        { weight: 1, arbitrary: mutations },
      ),
    }),
    { minLength: 1, maxLength: 3 },
  ),
  // Without one a living holder is waited for, in real time.
  socket: fc.oneof(
    { weight: 9, arbitrary: fc.constant(true) },
    { weight: 1, arbitrary: fc.constant(false) },
  ),
  way: fc.constantFrom('acquire', 'probe'),
});

const free: LockSockets = {
  ask: async () => 'free',
  listen: async () => ({ close: async () => undefined }),
};
const none: LockSockets = { ask: async () => 'unsupported', listen: async () => 'unsupported' };

function contentOf({ holder, list }: Case['files'][number]): Uint8Array {
  let text: string | undefined;
  try {
    text = JSON.stringify(holder);
  } catch {
    // A circle.
  }
  return mutated(Buffer.from(text ?? ''), list);
}

/** Whether a file names a process that lives, and is not this one. */
function isHeld(content: Uint8Array): boolean {
  try {
    const holder = JSON.parse(Buffer.from(content).toString('utf8'));
    if (!Number.isSafeInteger(holder.pid) || holder.pid <= 0) return false;
    return holder.pid !== self.pid && systemProcesses.stateOf(holder) === 'alive';
  } catch {
    return false;
  }
}

export const locks: Family<Case> = {
  name: 'locks',
  prepare(context: Context): Prepared<Case> {
    const check = async (given: Case): Promise<void> => {
      const disk = new SimFileSystem(DIRECTORY);
      let bytes = 0;
      let held = false;
      for (const file of given.files) {
        const content = contentOf(file);
        const fd = disk.open(`${DIRECTORY}/${file.name}`, 0o102);
        disk.write(fd, content, 0);
        disk.close(fd);
        bytes += content.length;
        held ||= isHeld(content);
      }
      const bounds = { bytesMax: BYTES_BASE + 8 * bytes, callsMax: CALLS_MAX };
      const sockets = given.socket ? free : none;
      const files = countedFiles(context.budget, disk);
      await context.run(given.way, bounds, async () => {
        if (given.way === 'probe') await DirectoryLock.probe(files, DIRECTORY, { sockets });
        else await (await DirectoryLock.acquire(files, DIRECTORY, { sockets })).release();
      });
      const { last } = context;
      const refused = (last as { code?: string } | undefined)?.code;
      must(!given.socket || held || refused === undefined, `refused by ${refused}, by nobody`);
    };
    return { cases, check, wanted: [] };
  },
};
