import { expect, it } from 'vitest';
import { expectCaught, expectPasses, runScenario, symptomOf } from '../../support/scenario.ts';
import { testSeed } from '../../support/seed.ts';
import { applyPatch, buildVariant } from '../../support/variant.ts';

const LOCK_OF_EVERYBODY = {
  file: 'assembly/locks.ts',
  find: 'atomic.load<u32>(lock) == 0 && atomic.cmpxchg<u32>(lock, 0, me + 1) == 0',
  replace: 'true',
};

const LOCK_NEVER_GIVEN_BACK = {
  file: 'assembly/locks.ts',
  find: 'atomic.xchg<u32>(lock, 0)',
  replace: 'atomic.load<u32>(lock)',
};

const CODE_LOST = {
  file: 'src/errors.ts',
  find: 'this.code = code;',
  replace: "this.code = 'POISONED';",
};

it('a scenario runs main and worker code of one file and passes on the product', async () => {
  const result = await expectPasses('selftest');
  expect(result).toMatchObject({ code: 0, signal: null, timedOut: false });
});

it('a scenario gets arguments, environment and the seed of the test', async () => {
  const result = await runScenario('selftest', { args: ['say', 'hello'], env: { SAID: 'there' } });
  expect(result.stdout).toBe(`hello there ${testSeed()}\n`);
});

it('a variant of a kernel is caught by the check that it violates', async () => {
  const result = await expectCaught('selftest', [LOCK_OF_EVERYBODY], { match: /D1/ });
  expect(result.code).not.toBe(0);
  // The stack leads to the source, not into the bundle.
  expect(result.stderr).toContain('test/scenarios/selftest.ts');
});

it('a variant of the TypeScript sources is caught by the check that it violates', async () => {
  const result = await expectCaught('selftest', [CODE_LOST], { match: /POISONED/ });
  expect(result).toMatchObject({ code: 1, timedOut: false });
});

it('a variant that hangs is caught only where a hang is the symptom', async () => {
  const options = { variantTimeoutMs: 1500 };
  await expectCaught('selftest', [LOCK_NEVER_GIVEN_BACK], { ...options, symptom: 'hang' });
  const wrong = expectCaught('selftest', [LOCK_NEVER_GIVEN_BACK], options);
  await expect(wrong).rejects.toThrow('by hang, not by violation');
});

it('a harmless variant is reported as unnoticed', async () => {
  const patch = { ...CODE_LOST, replace: 'this.code = code; // the same' };
  await expect(expectCaught('selftest', [patch])).rejects.toThrow('does not notice the variant');
});

it('a crash is not taken for a violation', async () => {
  const trap = { ...LOCK_NEVER_GIVEN_BACK, replace: 'unreachable()' };
  await expectCaught('selftest', [trap], { symptom: 'crash', match: /unreachable/ });
  const wrong = expectCaught('selftest', [trap]);
  await expect(wrong).rejects.toThrow('not by violation');
  const result = await runScenario('selftest', { args: ['leave'] });
  expect(symptomOf(result)).toBe('crash');
  expect(result.stderr).toMatch(/worker \d leaves/);
});

it('a scenario that hangs is killed, after it said where its threads stand', async () => {
  const result = await runScenario('selftest', { args: ['hang'], timeoutMs: 1000 });
  expect(result).toMatchObject({ signal: 'SIGKILL', timedOut: true });
  expect(result.stderr).toMatch(/watchdog: not done after 1000 ms/);
  expect(result.stderr).toMatch(/at spinForEver test\/scenarios\/selftest\.ts:\d+/);
  expect(result.stderr).toMatch(/at sleepSync test\/support\/checks\.ts:\d+/);
});

it('a patch that does not match exactly once is refused', async () => {
  const missing = { ...CODE_LOST, find: 'this.code = kode;' };
  await expect(expectCaught('selftest', [missing])).rejects.toThrow('matches 0 times');
  const text = 'one two two';
  const patch = { file: 'src/x.ts', find: 'two', replace: '2' };
  expect(() => applyPatch(text, patch)).toThrow('matches 2 times');
  expect(() => applyPatch(text, { ...patch, find: '' })).toThrow('looks for nothing');
  expect(() => applyPatch(text, { ...patch, replace: 'two' })).toThrow('changes nothing');
  expect(applyPatch(text, { ...patch, find: 'one' })).toBe('2 two two');
});

it('a patch reaches src and assembly and nothing else', async () => {
  for (const file of ['test/scenarios/selftest.ts', 'src/../package.json', 'src/generated/x.ts']) {
    await expect(buildVariant([{ ...CODE_LOST, file }])).rejects.toThrow(TypeError);
  }
});
