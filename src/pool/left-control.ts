/** The kernels of a thread that has left its pool. */
import { type ControlExports, STOPPED } from '../generated/layout.ts';

function stopped(): number {
  return STOPPED;
}

/**
 * The kernels for a thread that has left a pool which stays open: the slot may be another thread's
 * by now, so the fast ways in, which look at the pool's status alone, must find it stopped.
 */
export function leftControl(control: ControlExports): ControlExports {
  const left = { locate: stopped, pin: stopped, pinShared: stopped, pinExclusive: stopped };
  return { ...control, ...left };
}
