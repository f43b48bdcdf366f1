/** The mode `faults`: runs on simulated disks, then runs on real ones where the machine has them. */
import { diskMode } from './disk.ts';
import { faultsMode } from './faults.ts';
import type { Mode } from './mode.ts';
import type { PartContext } from './parts.ts';
import { workloadsOf } from './points.ts';

export function allFaultsMode(context: PartContext): Mode {
  const simulated = faultsMode(workloadsOf(context));
  const real = diskMode(context);
  let hasReal = false;
  return {
    ...simulated,
    summary: 'every file call fails in turn, in each way, on simulated disks; then on real ones',
    runs: simulated.runs + real.runs,
    async prepare() {
      const missing = await real.prepare?.();
      hasReal = missing === undefined;
      if (!hasReal) process.stderr.write(`faults: on simulated disks alone: ${missing}\n`);
      return undefined;
    },
    run(run) {
      const at = run.number % (simulated.runs + real.runs);
      if (at < simulated.runs) return simulated.run(run);
      if (hasReal) return real.run({ ...run, number: at - simulated.runs });
      return Promise.resolve([]);
    },
    async finish() {
      await real.finish?.();
    },
  };
}
