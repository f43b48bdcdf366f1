/**
 * The commands, their arguments and options.
 *
 * Owns:        what the command line looks like; the commands themselves are loaded when they are
 *              called.
 * Threads:     the main thread.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import { keyOf } from './range.ts';
import { FORMS } from './records.ts';
import type { Session } from './session.ts';

/** Runs a command; what it returns is the exit code. */
export type Run = (command: (session: Session) => Promise<number>) => Promise<void>;

const FRAMES_MIN = 4;
const FRAMES_MAX = 65_536;
const THREADS_MAX = 64;

function integer(from: number, to: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= from && value <= to) return value;
    const range = to === Number.MAX_SAFE_INTEGER ? `from ${from} on` : `from ${from} to ${to}`;
    throw new InvalidArgumentError(`It must be a whole number ${range}.`);
  };
}

function notEmpty(text: string): string {
  if (text !== '') return text;
  throw new InvalidArgumentError('It must not be empty.');
}

const STORE = 'directory of the store';

const option = {
  tree: () =>
    new Option('--tree <name>', 'which tree; default: the only one, or the one indexed last'),
  frames: () =>
    new Option('--frames <count>', 'frames of 512 KiB that the pool has').argParser(
      integer(FRAMES_MIN, FRAMES_MAX),
    ),
  json: () => new Option('--json', 'print JSON, one object to a line'),
  escapes: () =>
    new Option('-e, --escapes', 'read \\n, \\xHH and the like in keys as scan prints them'),
  limit: () =>
    new Option('--limit <count>', 'at most so many').argParser(integer(0, Number.MAX_SAFE_INTEGER)),
  reverse: () => new Option('--reverse', 'in the opposite order'),
  format: () => new Option('--format <form>', 'how lines look').choices(FORMS),
} as const;

const bounds = (): Option[] => [
  new Option('--prefix <key>', 'keys that begin with it'),
  new Option('--gt <key>', 'keys greater than it'),
  new Option('--gte <key>', 'keys greater than it, and it'),
  new Option('--lt <key>', 'keys less than it'),
  new Option('--lte <key>', 'keys less than it, and it'),
];

function add(
  program: Command,
  usage: string,
  description: string,
  options: readonly Option[],
): Command {
  const command = program
    .command(usage)
    .description(description)
    .argument('<store>', STORE, notEmpty);
  for (const each of options) command.addOption(each);
  return command;
}

function addIndex(program: Command, run: Run): void {
  add(program, 'index', 'Index a directory: what is in it becomes entries of a tree', [
    new Option(
      '--threads <count>',
      'threads that read and write; default: one for each core',
    ).argParser(integer(1, THREADS_MAX)),
    option.frames(),
    new Option('--tree <name>', "which tree; default: the directory's own"),
    new Option('--hash [algorithm]', 'hash what is in files that are new or have changed (sha256)'),
    new Option('--stats', "print the pool's figures, too"),
    option.escapes(),
    option.json(),
  ])
    .argument('<directory>', 'what to index', notEmpty)
    .addHelpText(
      'after',
      '\nRun again, it writes what has changed and drops what has vanished. Links are recorded, never\nfollowed. What cannot be read keeps its old entries, and the exit code is 1.',
    )
    .action((store: string, directory: string, options) =>
      run(async (session) => {
        const { indexCommand } = await import('./commands/index-directory.ts');
        return indexCommand(session, store, keyOf(directory, options), options);
      }),
    );
}

function addTransfers(program: Command, run: Run): void {
  add(program, 'load', 'Put what stands in a file, as tab-separated lines or NDJSON', [
    option.tree(),
    option.frames(),
    option.format(),
    new Option('-0, --null', 'keys and values that end with a zero byte'),
    option.json(),
  ])
    .argument('[file]', 'the file; - for standard input', '-')
    .action((store: string, file: string, options) =>
      run(async (session) => {
        const { loadCommand } = await import('./commands/load.ts');
        return loadCommand(session, store, file, options);
      }),
    );
  add(program, 'dump', 'Print everything, so that load makes the same of it', [
    option.tree(),
    option.frames(),
    option.format(),
    new Option('-0, --null', 'keys and values that end with a zero byte'),
    option.json(),
  ]).action((store: string, options) =>
    run(async (session) => {
      const { dumpCommand } = await import('./commands/dump.ts');
      return dumpCommand(session, store, options);
    }),
  );
}

function addKeys(program: Command, run: Run): void {
  const common = (): Option[] => [option.tree(), option.frames(), option.escapes(), option.json()];
  add(program, 'get', 'Print the value of a key', [
    ...common(),
    new Option('-0, --null', 'end it with a zero byte'),
  ])
    .argument('<key>')
    .action((store: string, key: string, options) =>
      run(async (session) => {
        const { getCommand } = await import('./commands/keys.ts');
        return getCommand(session, store, key, options);
      }),
    );
  add(program, 'put', 'Put a value', common())
    .argument('<key>')
    .argument('[value]', 'the value; - or none for standard input')
    .action((store: string, key: string, value: string | undefined, options) =>
      run(async (session) => {
        const { putCommand } = await import('./commands/keys.ts');
        return putCommand(session, store, key, value, options);
      }),
    );
  add(program, 'del', 'Delete keys, or all keys of a range', [
    ...common(),
    ...bounds(),
    new Option('-0, --null', 'read keys that end with a zero byte from standard input'),
  ])
    .argument('[keys...]')
    .action((store: string, keys: string[], options) =>
      run(async (session) => {
        const { delCommand } = await import('./commands/keys.ts');
        return delCommand(session, store, keys, options);
      }),
    );
}

function addReaders(program: Command, run: Run): void {
  add(program, 'scan', 'Print the entries of a range, key and value to a line', [
    ...bounds(),
    option.limit(),
    option.reverse(),
    new Option('--keys', 'keys alone'),
    option.tree(),
    option.frames(),
    option.escapes(),
    option.json(),
    new Option('-0, --null', 'raw keys and values that end with a zero byte'),
  ]).action((store: string, options) =>
    run(async (session) => {
      const { scanCommand } = await import('./commands/scan.ts');
      return scanCommand(session, store, options);
    }),
  );
  add(program, 'ls', 'Print what lies directly below a prefix, with counts and sizes', [
    new Option('--delimiter <text>', 'what ends a common prefix').default('/').argParser(notEmpty),
    option.limit(),
    option.reverse(),
    option.tree(),
    option.frames(),
    option.escapes(),
    option.json(),
  ])
    .argument('[prefix]', 'such as a directory', '')
    .action((store: string, prefix: string, options) =>
      run(async (session) => {
        const { lsCommand } = await import('./commands/ls.ts');
        return lsCommand(session, store, prefix, options);
      }),
    );
  add(program, 'stat', 'Print what a store holds and takes', [
    option.frames(),
    option.json(),
  ]).action((store: string, options) =>
    run(async (session) => {
      const { statCommand } = await import('./commands/stat.ts');
      return statCommand(session, store, options);
    }),
  );
}

function addCare(program: Command, run: Run): void {
  add(program, 'verify', 'Check every byte of a store, and write nothing', [option.json()]).action(
    (store: string, options) =>
      run(async (session) => {
        const { verifyCommand } = await import('./commands/checks.ts');
        return verifyCommand(session, store, options);
      }),
  );
  add(
    program,
    'checkpoint',
    'Write what the log has to where it belongs, so that opening is short',
    [option.frames(), option.json()],
  ).action((store: string, options) =>
    run(async (session) => {
      const { checkpointCommand } = await import('./commands/checks.ts');
      return checkpointCommand(session, store, options);
    }),
  );
}

function addCopies(program: Command, run: Run): void {
  add(program, 'backup', 'Copy a store as it is now, checked and synced, into a new directory', [
    option.frames(),
    option.json(),
  ])
    .argument('<directory>', 'a new or an empty one', notEmpty)
    .action((store: string, directory: string, options) =>
      run(async (session) => {
        const { backupCommand } = await import('./commands/copies.ts');
        return backupCommand(session, store, directory, options);
      }),
    );
  program
    .command('restore')
    .description('Check a backup, and make a store of it')
    .argument('<backup>', 'directory of the backup', notEmpty)
    .argument('<store>', 'a new or an empty directory', notEmpty)
    .addOption(option.json())
    .action((backup: string, store: string, options) =>
      run(async (session) => {
        const { restoreCommand } = await import('./commands/copies.ts');
        return restoreCommand(session, backup, store, options);
      }),
    );
  add(program, 'salvage', 'Save what can still be read of a damaged store into a new one', [
    option.frames(),
    option.json(),
  ])
    .argument('<new-store>', 'a new or an empty directory', notEmpty)
    .action((store: string, target: string, options) =>
      run(async (session) => {
        const { salvageCommand } = await import('./commands/copies.ts');
        return salvageCommand(session, store, target, options);
      }),
    );
}

/** @param version  Of the package. */
export function makeProgram(version: string, run: Run): Command {
  const program = new Command('weirpool')
    .description('Durable ordered trees in a directory: index, load, look up, check, copy.')
    .version(version)
    .helpCommand('help [command]', 'Print what a command takes')
    .showHelpAfterError('(see weirpool help, or weirpool help <command>)')
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 1 failed or found something, 2 the command line makes no sense.',
    );
  addIndex(program, run);
  addReaders(program, run);
  addKeys(program, run);
  addTransfers(program, run);
  addCare(program, run);
  addCopies(program, run);
  for (const command of [program, ...program.commands]) command.exitOverride();
  return program;
}
