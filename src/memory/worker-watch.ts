/**
 * Tells the reapers of this thread when a worker that it started has ended.
 *
 * Owns:        one listener for `worker` events of this thread, however many pools are open.
 * Threads:     each thread hears of the workers that it started itself. Where tasks can be looked
 *              up (Linux) this is only the faster way; elsewhere it is the only one.
 */
import type { Worker } from 'node:worker_threads';

/** Called with the `threadId` of a worker that is gone. */
export type WorkerEnded = (nodeThread: number) => void;

const listeners = new Set<WorkerEnded>();

/** Watches one worker that may have been started before the pool was opened. Idempotent. */
const watched = new WeakSet<Worker>();

export function watchWorker(worker: Worker): void {
  if (watched.has(worker)) return;
  watched.add(worker);
  const nodeThread = worker.threadId; // -1 once it has ended
  worker.once('exit', () => {
    for (const listener of listeners) listener(nodeThread);
  });
}

export function onWorkerEnded(listener: WorkerEnded): void {
  if (listeners.size === 0) process.on('worker', watchWorker);
  listeners.add(listener);
}

export function offWorkerEnded(listener: WorkerEnded): void {
  listeners.delete(listener);
  if (listeners.size === 0) process.off('worker', watchWorker);
}
