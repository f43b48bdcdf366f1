/**
 * `npm run check:wasm`: refuses compiled modules that are unsafe in a memory shared by instances.
 *
 * A data segment overwrites shared bytes each time a thread instantiates the module; a mutable
 * global is private to an instance, so every thread would have its own truth; a start function
 * runs once for each thread; any import but the memory is something that the pool does not
 * provide. The fenced control module must order its plain accesses (assembly/latch.ts), the plain
 * one must not pay for that.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import binaryen from 'binaryen';

export interface WasmRules {
  /** Exports that must contain or reach a fence; with none, no fence is allowed anywhere. */
  readonly fencedExports: readonly string[];
}

const FENCED: WasmRules = { fencedExports: ['validate', 'upgrade', 'acquireExclusive'] };
const PLAIN: WasmRules = { fencedExports: [] };

const SECTION_IMPORT = 2;
const SECTION_START = 8;
const SECTION_DATA = 11;

class Reader {
  readonly #bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.at >= this.#bytes.length;
  }

  byte(): number {
    const byte = this.#bytes[this.at++];
    if (byte === undefined) throw new RangeError('the module ends in the middle');
    return byte;
  }

  /** Unsigned LEB128. */
  u32(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new RangeError('a number is longer than five bytes');
  }

  name(): string {
    const bytes = this.u32();
    this.at += bytes;
    return Buffer.from(this.#bytes.subarray(this.at - bytes, this.at)).toString('utf8');
  }
}

/** Where the sections of the module begin, by their id. */
function sections(wasm: Uint8Array): Map<number, number> {
  const found = new Map<number, number>();
  const reader = new Reader(wasm);
  reader.at = 8;
  while (!reader.done) {
    const id = reader.byte();
    const bytes = reader.u32();
    found.set(id, reader.at);
    reader.at += bytes;
  }
  return found;
}

/** The binary format's own view: what Binaryen might tidy away while it reads is still there. */
function sectionProblems(wasm: Uint8Array): string[] {
  const problems: string[] = [];
  const found = sections(wasm);
  const data = found.get(SECTION_DATA);
  if (data !== undefined) {
    const reader = new Reader(wasm);
    reader.at = data;
    const count = reader.u32();
    if (count > 0) problems.push(`a data section with ${count} segment(s)`);
  }
  if (found.has(SECTION_START)) problems.push('a start function');
  const imports = found.get(SECTION_IMPORT);
  if (imports === undefined) problems.push('no import of env.memory');
  else problems.push(...importProblems(wasm, imports));
  return problems;
}

const IMPORT_MEMORY = 2;

function importProblems(wasm: Uint8Array, at: number): string[] {
  const reader = new Reader(wasm);
  reader.at = at;
  const count = reader.u32();
  const name = `${reader.name()}.${reader.name()}`;
  const kind = reader.byte();
  if (name !== 'env.memory' || kind !== IMPORT_MEMORY) return [`an import of ${name}`];
  if (count > 1) return [`${count} imports: only env.memory is allowed`];
  return [];
}

function globalProblems(module: binaryen.Module): string[] {
  const problems: string[] = [];
  for (let i = 0; i < module.getNumGlobals(); i++) {
    const info = binaryen.getGlobalInfo(module.getGlobalByIndex(i));
    if (info.mutable) problems.push(`a mutable global: ${info.name}`);
  }
  return problems;
}

/** Text of each function, by its internal name. */
export function functionTexts(module: binaryen.Module): Map<string, string> {
  const texts = new Map<string, string>();
  for (let i = 0; i < module.getNumFunctions(); i++) {
    const fn = module.getFunctionByIndex(i);
    const info = binaryen.getFunctionInfo(fn);
    texts.set(info.name, info.body === 0 ? '' : binaryen.emitText(info.body));
  }
  return texts;
}

const FENCE = /\batomic\.fence\b/g;

function reachesFence(texts: ReadonlyMap<string, string>, start: string): boolean {
  const todo = [start];
  const seen = new Set(todo);
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    const text = texts.get(name) ?? '';
    if (text.search(FENCE) >= 0) return true;
    for (const [, callee] of text.matchAll(/\(call \$([^\s()]+)/g)) {
      if (callee !== undefined && !seen.has(callee)) {
        seen.add(callee);
        todo.push(callee);
      }
    }
  }
  return false;
}

/** Fences in the whole module. */
export function countFences(wasm: Uint8Array): number {
  const module = binaryen.readBinary(wasm);
  let fences = 0;
  for (const text of functionTexts(module).values()) fences += text.match(FENCE)?.length ?? 0;
  module.dispose();
  return fences;
}

function fenceProblems(module: binaryen.Module, rules: WasmRules): string[] {
  const texts = functionTexts(module);
  if (rules.fencedExports.length === 0) {
    const fenced = [...texts].filter(([, text]) => text.search(FENCE) >= 0);
    return fenced.map(([name]) => `a fence in the plain build: function ${name}`);
  }
  const exported = new Map<string, string>();
  for (let i = 0; i < module.getNumExports(); i++) {
    const info = binaryen.getExportInfo(module.getExportByIndex(i));
    exported.set(info.name, info.value);
  }
  return rules.fencedExports.flatMap((name) => {
    const internal = exported.get(name);
    if (internal === undefined) return [`no export ${name}`];
    return reachesFence(texts, internal) ? [] : [`no fence in ${name}`];
  });
}

/** Waiting anywhere but in `park`, or doing anything after it: see assembly/park.ts. */
function waitProblems(module: binaryen.Module): string[] {
  const waiting = [...functionTexts(module)].filter(([, text]) => /atomic\.wait/.test(text));
  const park = exportedFunction(module, 'park');
  return waiting
    .filter(([name]) => name !== park)
    .map(([name]) => `a wait outside of park: function ${name}`);
}

/** Internal name of an exported function. */
function exportedFunction(module: binaryen.Module, name: string): string | undefined {
  for (let i = 0; i < module.getNumExports(); i++) {
    const info = binaryen.getExportInfo(module.getExportByIndex(i));
    if (info.name === name && info.kind === binaryen.ExternalFunction) return info.value;
  }
  return undefined;
}

/** What is wrong with the module; empty if nothing is. */
export function checkWasm(wasm: Uint8Array, rules: WasmRules): string[] {
  const problems = sectionProblems(wasm);
  const module = binaryen.readBinary(wasm);
  problems.push(
    ...globalProblems(module),
    ...fenceProblems(module, rules),
    ...waitProblems(module),
  );
  module.dispose();
  return problems;
}

/** The rules of a module, by its file name. */
export function rulesFor(file: string): WasmRules {
  return basename(file).includes('fenced') ? FENCED : PLAIN;
}

function main(directory: string): void {
  const files = readdirSync(directory).filter((name) => name.endsWith('.wasm'));
  let failed = files.some((name) => rulesFor(name) === FENCED) ? 0 : 1;
  if (failed > 0) console.error(`${directory} has no fenced module: run the build first`);
  for (const name of files) {
    const wasm = readFileSync(join(directory, name));
    const problems = checkWasm(wasm, rulesFor(name));
    for (const problem of problems) console.error(`${name}: ${problem}`);
    if (problems.length > 0) failed++;
    else console.log(`${name}: ${wasm.length} bytes, ${countFences(wasm)} fences`);
  }
  process.exitCode = failed === 0 ? 0 : 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  main(process.argv[2] ?? join(import.meta.dirname, '../build'));
}
