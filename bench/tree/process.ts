/** The parent's end of a store's process. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Order, Sample } from './serve.ts';
import type { StoreName } from './store.ts';

export class StoreProcess {
  readonly name: StoreName;
  readonly #child: ChildProcess;

  constructor(name: StoreName, self: string, directory: string, cacheBytes?: number) {
    this.name = name;
    const cache = cacheBytes === undefined ? [] : ['--cache', String(cacheBytes)];
    const args = ['--serve', name, '--directory', directory, ...cache];
    this.#child = fork(fileURLToPath(self), args, {
      execArgv: ['--expose-gc'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
  }

  sample(order: Order): Promise<Sample> {
    const child = this.#child;
    return new Promise((resolve, reject) => {
      const onExit = (code: number | null): void =>
        reject(new Error(`The process of ${this.name} ended with exit code ${code}`));
      child.once('exit', onExit);
      child.once('message', (sample) => {
        child.off('exit', onExit);
        resolve(sample as Sample);
      });
      child.send(order);
    });
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || !this.#child.connected) return;
    const ended = once(this.#child, 'exit');
    this.#child.disconnect();
    await ended;
  }
}
