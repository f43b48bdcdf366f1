/**
 * Runs schedule jobs from a test: makes the gated modules and starts the scenario.
 */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compileTarget, writeWhole } from '../../../scripts/compile-wasm.ts';
import { gateModule } from '../gated-wasm.ts';
import { describeResult, runScenario } from '../scenario.ts';
import { applyPatch, type Patch, PROJECT, temporaryDirectory } from '../variant.ts';
import type { Job, JobResult, ModulePaths } from './jobs.ts';

const CONTROL = ['x64', 'ia32'].includes(process.arch) ? 'control' : 'control-fenced';

const CACHE = join(PROJECT, 'node_modules/.cache/weirpool');

/** What broken kernels are compiled with: a quarter of the time, the same atomic instructions. */
const QUICKLY = ['--optimizeLevel', '2'];

/** The product's module, or that of a copy of assembly/ with the patch; nothing else is made. */
async function controlOf(patch: Patch | undefined): Promise<Uint8Array> {
  if (patch === undefined) return compileTarget(PROJECT, CONTROL);
  const root = temporaryDirectory('kernels');
  for (const name of ['assembly', 'asconfig.json']) {
    cpSync(join(PROJECT, name), join(root, name), { recursive: true });
  }
  const path = join(root, patch.file);
  writeFileSync(path, applyPatch(readFileSync(path, 'utf8'), patch));
  return compileTarget(root, CONTROL, QUICKLY);
}

async function makeGated(patch: Patch | undefined, plain: boolean): Promise<ModulePaths> {
  const control = await controlOf(patch);
  const gater = readFileSync(join(PROJECT, 'test/support/gated-wasm.ts'));
  const hash = createHash('sha256').update(control).update(gater).update(String(plain));
  const base = join(CACHE, `gated-${hash.digest('hex').slice(0, 32)}`);
  const paths = {
    control: `${base}.control.wasm`,
    kernels: join(PROJECT, 'build/kernels.wasm'),
    gated: `${base}.wasm`,
    sites: `${base}.json`,
  };
  if (!existsSync(paths.sites)) {
    const { wasm, sites } = gateModule(control, { plain });
    writeWhole(paths.control, control);
    writeWhole(paths.gated, wasm);
    writeWhole(paths.sites, JSON.stringify(sites));
  }
  return paths;
}

const gated = new Map<string, Promise<ModulePaths>>();

/** The gated control module of the product, or of a variant of it; kept for the next run. */
export function gatedModules(patch: Patch | undefined, plain: boolean): Promise<ModulePaths> {
  const key = JSON.stringify([patch, plain]);
  const known = gated.get(key) ?? makeGated(patch, plain);
  gated.set(key, known);
  return known;
}

/** Each job has memories of its own, and each memory reserves gigabytes of addresses. */
const JOBS_PER_PROCESS = 12;

export interface JobsRun {
  /** In the order of the jobs. */
  readonly results: readonly JobResult[];
  readonly stdout: string;
}

async function runProcess(jobs: readonly Job[], timeoutMs: number): Promise<JobsRun> {
  const folder = temporaryDirectory('jobs');
  const [jobsPath, resultsPath] = [join(folder, 'jobs.json'), join(folder, 'results.json')];
  writeFileSync(jobsPath, JSON.stringify(jobs));
  const result = await runScenario('schedule-check', { args: [jobsPath, resultsPath], timeoutMs });
  if (result.code !== 0) throw new Error(`the schedules did not run: ${describeResult(result)}`);
  const results = JSON.parse(readFileSync(resultsPath, 'utf8')) as JobResult[];
  return { results, stdout: result.stdout };
}

/**
 * Runs the jobs, a few in each process.
 *
 * @param timeoutMs  For each process.
 */
export async function runJobs(jobs: readonly Job[], timeoutMs: number): Promise<JobsRun> {
  const results: JobResult[] = [];
  let stdout = '';
  for (let at = 0; at < jobs.length; at += JOBS_PER_PROCESS) {
    const run = await runProcess(jobs.slice(at, at + JOBS_PER_PROCESS), timeoutMs);
    results.push(...run.results);
    stdout += run.stdout;
  }
  return { results, stdout };
}
