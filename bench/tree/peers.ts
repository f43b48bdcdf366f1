/**
 * The native peers' modules, from the package in bench/peers, which nothing else needs.
 *
 * They are loaded by path when a peer is opened: the benchmark runs without them too, and the types
 * below are what it uses of them.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';

/** Benchmarks run with the project's folder as the current one. */
const FOLDER = resolve('bench/peers');

export const INSTALL = 'npm ci --ignore-scripts=false --prefix bench/peers';

/** Whether all of them were installed. */
export function arePeersInstalled(): boolean {
  return existsSync(resolve(FOLDER, 'node_modules'));
}

export function requirePeer<T>(name: string): T {
  return createRequire(resolve(FOLDER, 'package.json'))(name) as T;
}

export function versionOf(name: string): string {
  return requirePeer<{ readonly version: string }>(`./node_modules/${name}/package.json`).version;
}
