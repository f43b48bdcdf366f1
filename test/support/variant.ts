/**
 * Variants: copies of the product that were broken on purpose, to prove that a test sees it.
 *
 * A patch replaces one piece of the product's own source. It must match exactly once; a change of
 * the product that makes a patch stale fails loudly, here.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve, sep } from 'node:path';
import { buildAssets } from '../../scripts/build-assets.ts';
import { TEMPORARY_ENV } from './protocol.ts';

export const PROJECT: string = resolve(import.meta.dirname, '../..');

export interface Patch {
  /** Path from the project's root, below src/ or assembly/. */
  readonly file: string;
  /** Text that stands there exactly once; white space counts. */
  readonly find: string;
  readonly replace: string;
}

export interface Variant {
  /** Root of the patched copy: src, assembly and the compiler settings. */
  readonly root: string;
}

const COPIED = ['src', 'assembly', 'asconfig.json', 'tsconfig.json', 'package.json'];

const temporary = new Set<string>();

process.once('exit', () => {
  for (const path of temporary) rmSync(path, { recursive: true, force: true });
});

/** A new empty directory that goes when the tests, or at the latest this process, have ended. */
export function temporaryDirectory(label: string): string {
  const path = mkdtempSync(join(process.env[TEMPORARY_ENV] ?? tmpdir(), `weirpool-${label}-`));
  temporary.add(path);
  return path;
}

function checkPath(file: string): void {
  const path = resolve(PROJECT, file);
  const inside = ['src', 'assembly'].some((folder) => path.startsWith(join(PROJECT, folder) + sep));
  if (!inside || path.startsWith(join(PROJECT, 'src/generated') + sep)) {
    throw new TypeError(`a patch belongs to src/ or assembly/, not to ${file}`);
  }
}

/** The text with the patch applied; throws unless it matches exactly once. */
export function applyPatch(text: string, patch: Patch): string {
  if (patch.find === '') throw new TypeError(`${patch.file}: the patch looks for nothing`);
  if (patch.find === patch.replace) throw new TypeError(`${patch.file}: the patch changes nothing`);
  const parts = text.split(patch.find);
  if (parts.length !== 2) {
    throw new Error(
      `${patch.file}: the patch matches ${parts.length - 1} times instead of once:\n${patch.find}`,
    );
  }
  return parts.join(patch.replace);
}

const variants = new Map<string, Promise<Variant>>();

async function build(patches: readonly Patch[]): Promise<Variant> {
  const root = temporaryDirectory('variant');
  for (const name of COPIED) cpSync(join(PROJECT, name), join(root, name), { recursive: true });
  symlinkSync(join(PROJECT, 'node_modules'), join(root, 'node_modules'), 'dir');
  for (const patch of patches) {
    const path = join(root, patch.file);
    writeFileSync(path, applyPatch(readFileSync(path, 'utf8'), patch));
  }
  // Also for a patch in src/ alone: the service worker's program is made of src/ too.
  const control = ['x64', 'ia32'].includes(process.arch) ? 'control' : 'control-fenced';
  await buildAssets(root, { targets: [control, 'kernels'] });
  return { root };
}

/**
 * Makes a patched copy of the product in a temporary directory; the same patches give the same
 * copy for as long as this process lives.
 *
 * @throws {Error}      A patch does not match exactly once, or the patched source does not compile.
 * @throws {TypeError}  A patch names a file outside src/ and assembly/, or does nothing.
 */
export async function buildVariant(patches: readonly Patch[]): Promise<Variant> {
  for (const patch of patches) checkPath(patch.file);
  const key = JSON.stringify(patches);
  const known = variants.get(key) ?? build(patches);
  variants.set(key, known);
  return known;
}
