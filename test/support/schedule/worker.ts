/**
 * A gated worker: takes jobs, then runs its part of one schedule after the other.
 */
import { readFileSync } from 'node:fs';
import { type MessagePort, parentPort, receiveMessageOnPort } from 'node:worker_threads';
import type { ControlExports } from '../../../src/generated/layout.ts';
import { type PoolMemory, ThreadMemory } from '../../../src/memory/pool-memory.ts';
import { wasm } from '../../../src/memory/webassembly.ts';
import { Gate, Violation } from './gate.ts';
import { PROGRAMS } from './programs.ts';
import {
  GO_ABANDON,
  GO_DIE,
  GO_JOB,
  MESSAGE_BYTES,
  MESSAGE_MAX,
  type SharedWords,
  STOP_DONE,
  STOP_VIOLATION,
} from './protocol.ts';
import { type Body, Stopped, Thread } from './thread.ts';

export interface WorkerData {
  readonly worker: number;
  readonly shared: SharedWords;
}

/** What a worker has to know of a job. */
export interface WorkerJob {
  readonly program: string;
  readonly gated: string;
  readonly memory: PoolMemory;
}

class Part {
  readonly #body: Body;
  readonly #memory: ThreadMemory;
  readonly #gate: Gate;
  readonly #data: Int32Array;
  readonly #me: number;

  constructor(job: WorkerJob, gate: Gate, data: Int32Array, me: number) {
    const body = PROGRAMS.get(job.program)?.bodies[me];
    if (body === undefined) throw new Error(`no body ${me} in program ${job.program}`);
    this.#body = body;
    this.#gate = gate;
    this.#data = data;
    this.#me = me;
    this.#memory = new ThreadMemory(job.memory);
    const module = new wasm.Module(readFileSync(job.gated));
    const instance = new wasm.Instance(module, {
      env: { memory: job.memory.control },
      gate: gate.imports,
    });
    const control = instance.exports as unknown as ControlExports;
    Object.assign(this.#memory, { control });
    gate.memory = this.#memory.i32;
  }

  run(): void {
    this.#gate.start();
    const thread = new Thread(this.#me, this.#gate, this.#memory, this.#data);
    try {
      this.#body(thread);
    } catch (error) {
      throw thread.violation ?? error;
    }
    if (thread.violation !== undefined) throw thread.violation;
  }
}

function report(shared: SharedWords, error: unknown): void {
  const text =
    error instanceof Violation ? error.message : `exception: ${(error as Error).stack ?? error}`;
  const { written } = new TextEncoder().encodeInto(text.slice(0, MESSAGE_MAX / 2), shared.message);
  shared.words[MESSAGE_BYTES] = written;
}

/** Runs what the scheduler says, for ever; jobs come as messages of the main thread. */
export function serve({ worker, shared }: WorkerData): never {
  const port = parentPort as MessagePort;
  const gate = new Gate(shared, worker);
  let part: Part | undefined;
  for (;;) {
    const command = gate.idle();
    let stop = STOP_DONE;
    if (command !== GO_ABANDON && command !== GO_DIE) {
      try {
        if (command === GO_JOB) {
          const received = receiveMessageOnPort(port) as { message: WorkerJob } | undefined;
          if (received === undefined) throw new Error('there is no job');
          part = new Part(received.message, gate, shared.data, worker);
        } else {
          part?.run();
        }
      } catch (error) {
        if (!gate.ended && !(error instanceof Stopped)) {
          report(shared, error);
          stop = STOP_VIOLATION;
        }
        if (command === GO_JOB) {
          report(shared, error);
          stop = STOP_VIOLATION;
        }
      }
    }
    gate.finish(stop);
  }
}
