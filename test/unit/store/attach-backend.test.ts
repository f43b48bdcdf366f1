/** Backends from descriptions and handles, and what is refused. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { attachBackend, createBackend, type StoreSpec } from '../../../src/store/attach-backend.ts';
import type { BackendHandle } from '../../../src/store/contract.ts';
import { FileBackend } from '../../../src/store/file-backend.ts';
import { MemoryBackend } from '../../../src/store/memory-backend.ts';
import { newContext, rejectionOf, temporaryDirectory } from './support.ts';

function moduleWith(text: string): string {
  const path = join(temporaryDirectory(), 'store.mjs');
  writeFileSync(path, text);
  return path;
}

describe('backends', () => {
  it('are made for files and memory', async () => {
    const directory = temporaryDirectory();
    const file = await createBackend({ kind: 'file', directory }, newContext());
    expect(file).toBeInstanceOf(FileBackend);
    const memory = await createBackend({ kind: 'memory' }, newContext());
    expect(memory).toBeInstanceOf(MemoryBackend);
    const { data } = memory as MemoryBackend;
    const same = await createBackend({ kind: 'memory', data }, newContext());
    expect((same as MemoryBackend).data).toBe(data);
  });

  it('of a module get its options, by path and by URL', async () => {
    const path = moduleWith('export const createBackend = async (c, o) => ({ c, o });');
    const context = newContext();
    for (const module of [path, pathToFileURL(path).href]) {
      const backend = await createBackend({ kind: 'module', module, options: 5 }, context);
      expect(backend).toMatchObject({ c: context, o: 5 });
      const attached = await attachBackend({ kind: 'module', module, options: 6 }, context);
      expect(attached).toMatchObject({ c: context, o: 6 });
    }
  });

  it('travel as handles that can be cloned', async () => {
    const backend = await createBackend(
      { kind: 'file', directory: temporaryDirectory() },
      newContext(),
    );
    await backend.open();
    expect(structuredClone(backend.handle())).toEqual(backend.handle());
    await backend.close();
    const memory = await createBackend({ kind: 'memory', capacityBytes: 4096 }, newContext());
    expect(structuredClone(memory.handle()).kind).toBe('memory');
  });

  it('of a module without createBackend are refused by name', async () => {
    const module = moduleWith('export const other = 1;');
    const error = await rejectionOf(createBackend({ kind: 'module', module }, newContext()));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain(module);
  });

  it('of an unknown kind are refused', async () => {
    const odd = { kind: 'tape' };
    const spec = odd as unknown as StoreSpec;
    const handle = odd as unknown as BackendHandle;
    expect(await rejectionOf(createBackend(spec, newContext()))).toBeInstanceOf(TypeError);
    expect(await rejectionOf(attachBackend(handle, newContext()))).toBeInstanceOf(TypeError);
  });
});
