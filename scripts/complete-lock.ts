/**
 * `npm run lock`: completes package-lock.json with the optional packages of other platforms.
 *
 * A registry mirror that does not carry them makes npm leave them out of the lock, and `npm ci`
 * then refuses the lock everywhere. What is added has the version and the platform, which is what
 * `npm ci` compares; a package for another platform is never fetched.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

interface LockedPackage {
  readonly version?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

export interface Lock {
  readonly packages: Readonly<Record<string, LockedPackage & Readonly<Record<string, unknown>>>>;
}

const PREFIX = 'node_modules/';

/** Operating system, processor and C library, as the names of such packages end. */
function platform(name: string): Record<string, string[]> {
  const [, os, cpu, abi] =
    /(?:^|[-/])([a-z]+\d*)-([a-z]+\d*[a-z]*\d*)(?:-((?:gnu|musl|msvc|eabi)[a-z]*))?$/.exec(name) ??
    [];
  if (os === undefined || cpu === undefined) throw new Error(`no platform in ${name}`);
  const libc = abi?.startsWith('musl') ? ['musl'] : abi?.startsWith('gnu') ? ['glibc'] : undefined;
  return { cpu: [cpu], ...(os === 'linux' && libc ? { libc } : {}), os: [os] };
}

/** Optional packages that something in the lock asks for and that the lock does not have. */
export function missingOptionals(lock: Lock): Map<string, string> {
  const missing = new Map<string, string>();
  for (const { optionalDependencies = {} } of Object.values(lock.packages)) {
    for (const [name, version] of Object.entries(optionalDependencies)) {
      if (lock.packages[PREFIX + name] === undefined) missing.set(name, version);
    }
  }
  return missing;
}

/** The lock with what is missing, in npm's order. */
export function completed(lock: Lock): Lock {
  const packages = { ...lock.packages };
  for (const [name, version] of missingOptionals(lock)) {
    packages[PREFIX + name] = { version, ...platform(name), dev: true, optional: true };
  }
  const names = Object.keys(packages).sort((a, b) => a.localeCompare(b, 'en'));
  return {
    ...lock,
    packages: Object.fromEntries(names.map((name) => [name, packages[name] ?? {}])),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const path = join(import.meta.dirname, '../package-lock.json');
  const lock = JSON.parse(readFileSync(path, 'utf8')) as Lock;
  writeFileSync(path, `${JSON.stringify(completed(lock), null, 2)}\n`);
  console.log(`${missingOptionals(lock).size} package(s) added`);
}
