/** Exclusive use of a directory: who is refused, and who may follow whom. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { nodeFileSystem } from '../../../src/fs/file-system.ts';
import { type ProcessTable, systemProcesses } from '../../../src/fs/processes.ts';
import { patched, systemError } from '../../../src/harness/faulty-file-system.ts';
import {
  abstractSockets,
  DirectoryLock,
  type DirectoryLockOptions,
  isHeld,
  type LockSockets,
} from '../../../src/store/directory-lock.ts';
import { FileBackend, type FileBackendOptions } from '../../../src/store/file-backend.ts';
import { bundled } from './bundle.ts';
import { newContext, rejectionOf, temporaryDirectory } from './support.ts';

const NO_SOCKETS: LockSockets = {
  listen: async () => 'unsupported',
  ask: async () => 'unsupported',
};
/** As in a network namespace of its own: whoever else has the directory is not seen. */
const OWN_SOCKETS: LockSockets = {
  listen: async () => ({ close: async () => undefined }),
  ask: async () => 'free',
};
const FILES_ONLY: FileBackendOptions = { lock: { sockets: NO_SOCKETS } };
const MODES: readonly (readonly [string, FileBackendOptions])[] = [
  ['sockets', {}],
  ['files', FILES_ONLY],
];

function startHolder(directory: string, mode: string): ChildProcess {
  const program = bundled(new URL('./lock-holder.ts', import.meta.url));
  const child = spawn(process.execPath, [program, directory, mode], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  return child;
}

async function firstLine({ stdout }: ChildProcess): Promise<string> {
  const [line] = (await once(stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
  return line.toString();
}

async function holder(directory: string, mode: string): Promise<ChildProcess> {
  const child = startHolder(directory, mode);
  expect(await firstLine(child)).toBe('open\n');
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

function open(directory: string, options: FileBackendOptions = {}) {
  const backend = new FileBackend(directory, newContext(), options);
  return backend.open().then((image) => ({ backend, image }));
}

function lockFiles(directory: string): string[] {
  return readdirSync(directory).filter((name) => name.startsWith('lock-'));
}

/** Processes as a test wants them: by pid. */
function processes(
  pid: number,
  states: Record<number, 'alive' | 'dead' | 'unknown'>,
): ProcessTable {
  return {
    self: () => ({ pid, startTime: 1, host: 'here', scope: 'test' }),
    stateOf: (identity) => states[identity.pid] ?? 'dead',
  };
}

function acquire(directory: string, options: DirectoryLockOptions) {
  return DirectoryLock.acquire(nodeFileSystem, directory, options);
}

function probe(directory: string, options: DirectoryLockOptions = {}) {
  return DirectoryLock.probe(nodeFileSystem, directory, options);
}

describe.each(MODES)('a directory that is locked by %s', (mode, options) => {
  it('is refused to a second process, with the pid of the first, and free after kill -9', async () => {
    const directory = temporaryDirectory();
    const child = await holder(directory, mode);
    const refusal = await rejectionOf(open(directory, options));
    expect(refusal).toMatchObject({ code: 'STORE_LOCKED', details: { pid: child.pid } });
    expect(refusal.message).toContain(directory);
    expect(refusal.message).toContain(`process ${child.pid}`);
    await kill(child);
    const { backend, image } = await open(directory, options);
    expect(image).toMatchObject({ epoch: 2, nextBlobId: 5, commitNumber: 1 });
    expect(lockFiles(directory)).toHaveLength(1);
    await backend.close();
    expect(lockFiles(directory)).toEqual([]);
  });

  it('is refused to a second opening in the same process, and free after closing', async () => {
    const directory = temporaryDirectory();
    const { backend } = await open(directory, options);
    const refusal = await rejectionOf(open(directory, options));
    expect(refusal).toMatchObject({ code: 'STORE_LOCKED', details: { pid: process.pid } });
    expect(refusal.message).toContain('this very process');
    await backend.close();
    const again = await open(directory, options);
    await again.backend.close();
  });

  it('is the same directory behind a symbolic link', async () => {
    const directory = temporaryDirectory();
    const link = join(temporaryDirectory(), 'link');
    symlinkSync(directory, link);
    const { backend } = await open(directory, options);
    expect(await rejectionOf(open(link, options))).toMatchObject({ code: 'STORE_LOCKED' });
    await backend.close();
  });

  it('is taken over from a dead process whose pid a living one has got', async () => {
    const directory = temporaryDirectory();
    const { startTime, ...parent } = { ...systemProcesses.self(), pid: process.ppid };
    const dead = { ...parent, startTime: startTime - 1 };
    writeFileSync(join(directory, 'lock-0123456789abcdef'), JSON.stringify(dead));
    const { backend } = await open(directory, options);
    expect(lockFiles(directory)).not.toContain('lock-0123456789abcdef');
    await backend.close();
  });

  it.each(['', '{', '{"pid":"x"}', '{"pid":-1}', '{"pid":1}', 'null'])(
    'is not held by a lock file that power loss has left with the content %j',
    async (content) => {
      const directory = temporaryDirectory();
      writeFileSync(join(directory, 'lock-0123456789abcdef'), content);
      const { backend } = await open(directory, options);
      expect(lockFiles(directory)).toHaveLength(1);
      await backend.close();
    },
  );

  it('is cleared of what dead contenders have left', async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'lock-0123456789abcdef.tmp'), '');
    const { backend } = await open(directory, options);
    expect(lockFiles(directory)).toHaveLength(1);
    await backend.close();
    expect(lockFiles(directory)).toEqual([]);
  });

  it.each(['', '7', 'null', '{"pid":4}', '{"pid":4,"startTime":1,"host":"h","rcope":"s"}'])(
    'takes no notice of a lock file whose content has rotted: %s',
    async (content) => {
      const directory = temporaryDirectory();
      writeFileSync(join(directory, 'lock-0123456789abcdef'), content);
      const lock = await acquire(directory, options.lock ?? {});
      expect(lockFiles(directory)).toHaveLength(1);
      await lock.release();
    },
  );

  it('is tried for again by a contender whose unfinished file was cleared away', async () => {
    const directory = temporaryDirectory();
    let renames = 0;
    const fs = patched(nodeFileSystem, {
      rename: (from, to) => {
        if (++renames === 1) nodeFileSystem.unlink(from);
        nodeFileSystem.rename(from, to);
      },
    });
    const lock = await DirectoryLock.acquire(fs, directory, options.lock);
    expect(renames).toBe(2);
    await lock.release();
  });

  it('is given back when opening fails', async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'blobs.dat'), 'something');
    const refusal = await rejectionOf(open(directory, options));
    expect(refusal['code']).toBe('MANIFEST_CORRUPT');
    expect(lockFiles(directory)).toEqual([]);
    const lock = await acquire(directory, options.lock ?? {});
    await lock.release();
    await lock.release();
  });
});

describe('a directory lock', () => {
  it('is refused by a process that has the socket while a living one has a lock file', async () => {
    const directory = temporaryDirectory();
    const sockets = OWN_SOCKETS;
    const first = await acquire(directory, { sockets, processes: processes(1, { 1: 'alive' }) });
    const states = { 1: 'alive', 2: 'alive' } as const;
    const refusal = await rejectionOf(
      acquire(directory, { sockets, processes: processes(2, states) }),
    );
    expect(refusal).toMatchObject({ code: 'STORE_LOCKED', details: { pid: 1, host: 'here' } });
    expect(isHeld(nodeFileSystem, first.lockFile)).toBe(true);
  });

  it('fences the holder off when it is taken over from another network namespace', async () => {
    const directory = temporaryDirectory();
    const sockets = OWN_SOCKETS;
    const first = await acquire(directory, { sockets, processes: processes(1, { 1: 'alive' }) });
    const states = { 1: 'unknown', 2: 'alive' } as const;
    const second = await acquire(directory, { sockets, processes: processes(2, states) });
    expect(isHeld(nodeFileSystem, first.lockFile)).toBe(false);
    await first.release();
    expect(isHeld(nodeFileSystem, second.lockFile)).toBe(true);
  });

  it('without sockets takes a holder on another host for a living one', async () => {
    const directory = temporaryDirectory();
    await acquire(directory, { sockets: NO_SOCKETS, processes: processes(1, { 1: 'alive' }) });
    const states = { 1: 'unknown', 2: 'alive' } as const;
    const refusal = await rejectionOf(
      acquire(directory, { sockets: NO_SOCKETS, processes: processes(2, states) }),
    );
    expect(refusal['code']).toBe('STORE_LOCKED');
    expect(refusal.message).toContain('lock-');
  });

  it.each(['sockets', 'files'])(
    'is won by at most one of several processes that take over from a dead holder at once (%s)',
    async (mode) => {
      const directory = temporaryDirectory();
      await kill(await holder(directory, mode));
      const lines = await Promise.all(
        Array.from({ length: 5 }, () => firstLine(startHolder(directory, mode))),
      );
      const won = lines.filter((line) => line === 'open\n');
      expect(won.length).toBeLessThanOrEqual(1);
      if (mode === 'sockets') expect(won.length).toBe(1);
      const refused = lines.filter((line) => line === 'STORE_LOCKED\n');
      expect(won.length + refused.length).toBe(lines.length);
      expect(lockFiles(directory)).toHaveLength(won.length);
    },
  );

  it('is refused without a pid when the holder is another user whose file cannot be read', async () => {
    const directory = temporaryDirectory();
    const first = await acquire(directory, {});
    const fs = patched(nodeFileSystem, {
      open: () => {
        throw systemError('EACCES');
      },
    });
    const refusal = await rejectionOf(DirectoryLock.acquire(fs, directory));
    expect(refusal).toMatchObject({ code: 'STORE_LOCKED', details: { pid: 0 } });
    expect(refusal.message).toContain('another process');
    await first.release();
  });

  it('reports what keeps it from being asked for', async () => {
    const failure = () => Promise.reject(systemError('EMFILE'));
    const sockets: LockSockets = { listen: failure, ask: failure };
    const expected = { code: 'STORE_IO', details: { errno: 'EMFILE' } };
    const directory = temporaryDirectory();
    expect(await rejectionOf(acquire(directory, { sockets }))).toMatchObject(expected);
    expect(await rejectionOf(probe(directory, { sockets }))).toMatchObject(expected);
  });
});

describe('a probe', () => {
  it('of a directory that nobody has creates nothing and may be made at the same time', async () => {
    const directory = temporaryDirectory();
    await Promise.all(Array.from({ length: 20 }, () => probe(directory)));
    expect(readdirSync(directory)).toEqual([]);
  });

  it('does not keep a writer out that comes at the same time', async () => {
    const directory = temporaryDirectory();
    for (let round = 0; round < 10; round++) {
      const probes = Array.from({ length: 5 }, () => probe(directory).catch(() => undefined));
      const lock = await acquire(directory, {});
      await Promise.all(probes);
      expect(await rejectionOf(probe(directory))).toMatchObject({ code: 'STORE_LOCKED' });
      await lock.release();
      await probe(directory);
    }
  });

  it('finds a holder whose thread is blocked and takes no connections', async () => {
    const directory = temporaryDirectory();
    const child = await holder(directory, 'sockets');
    child.kill('SIGSTOP');
    const { device, inode } = nodeFileSystem.stat(directory);
    const name = `weirpool-${device.toString(16)}-${inode.toString(16)}`;
    // More than its queue takes.
    for (let n = 0; n < 600; n++) expect(await abstractSockets.ask(name)).toBe('taken');
    const refusal = await rejectionOf(probe(directory));
    expect(refusal).toMatchObject({ code: 'STORE_LOCKED', details: { pid: child.pid } });
    await kill(child);
    await probe(directory);
  });

  it('is refused without a pid while the holder has not made its file yet', async () => {
    const sockets: LockSockets = { ...abstractSockets, ask: async () => 'taken' };
    const refusal = await rejectionOf(probe(temporaryDirectory(), { sockets }));
    expect(refusal).toMatchObject({ code: 'STORE_LOCKED', details: { pid: 0 } });
  });

  it('leaves what dead holders and contenders have left', async () => {
    const directory = temporaryDirectory();
    await kill(await holder(directory, 'sockets'));
    writeFileSync(join(directory, 'lock-0123456789abcdef'), '{');
    writeFileSync(join(directory, 'lock-0123456789abcdef.tmp'), '');
    const before = readdirSync(directory);
    await probe(directory);
    await probe(directory, { sockets: NO_SOCKETS });
    expect(readdirSync(directory)).toEqual(before);
    expect(before.length).toBeGreaterThan(3);
  });

  it.each([
    ['alive', OWN_SOCKETS, true],
    ['alive', NO_SOCKETS, true],
    ['unknown', OWN_SOCKETS, false],
    ['unknown', NO_SOCKETS, true],
    ['dead', OWN_SOCKETS, false],
    ['dead', NO_SOCKETS, false],
  ] as const)('of a directory whose lock file is of a process that is %s', async (...row) => {
    const [state, sockets, refused] = row;
    const directory = temporaryDirectory();
    await acquire(directory, { sockets, processes: processes(1, { 1: 'alive' }) });
    const before = readdirSync(directory);
    const states = { 1: state, 2: 'alive' } as const;
    const asked = probe(directory, { sockets, processes: processes(2, states) });
    if (refused) {
      const refusal = await rejectionOf(asked);
      expect(refusal).toMatchObject({ code: 'STORE_LOCKED', details: { pid: 1, host: 'here' } });
    } else await asked;
    expect(readdirSync(directory)).toEqual(before);
  });
});

describe('processes', () => {
  const self = systemProcesses.self();

  it('are alive while their pid and start time are those of a running one', () => {
    expect(systemProcesses.stateOf(self)).toBe('alive');
    expect(systemProcesses.stateOf({ ...self, startTime: self.startTime + 1 })).toBe('dead');
    expect(systemProcesses.stateOf({ ...self, pid: 2 ** 30 })).toBe('dead');
  });

  it('of an earlier boot are dead, and of elsewhere unknown', () => {
    const [boot = '', namespace = ''] = self.scope.split(' ');
    expect(systemProcesses.stateOf({ ...self, scope: `earlier ${namespace}` })).toBe('dead');
    expect(systemProcesses.stateOf({ ...self, scope: `${boot} pid:[1]` })).toBe('unknown');
    expect(systemProcesses.stateOf({ ...self, scope: 'other x', host: 'other' })).toBe('unknown');
  });

  it('that were killed are dead, also before their parent has taken note', async () => {
    const child = spawn('/bin/sh', ['-c', 'sleep 0 & echo $!; exec sleep 1000'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => {
      child.kill('SIGKILL');
    });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    // `sleep 1000` never waits for the child that the shell has left to it: a zombie.
    await expect
      .poll(() => systemProcesses.stateOf({ ...self, pid, startTime: 0 }) !== 'dead')
      .toBe(true);
    const zombie = { ...self, pid, startTime: startTimeOfPid(pid) };
    await expect.poll(() => systemProcesses.stateOf(zombie)).toBe('dead');
  });
});

function startTimeOfPid(pid: number): number {
  const fd = nodeFileSystem.open(`/proc/${pid}/stat`, 0, 0);
  const bytes = new Uint8Array(4096);
  const count = nodeFileSystem.read(fd, bytes, bytes.length, 0);
  nodeFileSystem.close(fd);
  const stat = Buffer.from(bytes.subarray(0, count)).toString('latin1');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
}
