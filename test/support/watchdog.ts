/**
 * Watchdog of a scenario program: when its time is over, prints where every thread stands, then
 * kills the process.
 *
 * Runs on a worker of the scenario's process and looks at the others through the inspector, which
 * also interrupts loops and parked threads. Bundled by `scenario.ts`, started by `checks.ts`.
 */
import { readFileSync, writeSync } from 'node:fs';
import { type Debugger, type NodeWorker, Session } from 'node:inspector';
import { SourceMap } from 'node:module';
import { fileURLToPath } from 'node:url';
import { WATCHDOG, WATCHDOG_MS_ENV } from './protocol.ts';

const ANSWER_MS = 700;
const FRAMES_MAX = 12;

let map: SourceMap | undefined;

function loadMap(url: string): SourceMap | undefined {
  if (map !== undefined || !url.startsWith('file:')) return map;
  const source = readFileSync(fileURLToPath(url), 'utf8');
  const inline = /\/\/# sourceMappingURL=data:application\/json;base64,([\w+/=]+)\s*$/.exec(source);
  if (inline?.[1] !== undefined) {
    map = new SourceMap(JSON.parse(Buffer.from(inline[1], 'base64').toString('utf8')));
  }
  return map;
}

/** Stacks of one thread; its scripts are known by number first, by address only if asked for. */
class Thread {
  readonly #who: string;
  readonly #urls = new Map<string, string>();

  constructor(who: string) {
    this.#who = who;
  }

  addScript({ scriptId, url }: Debugger.ScriptParsedEventDataType): void {
    this.#urls.set(scriptId, url);
  }

  print(paused: Debugger.PausedEventDataType): void {
    const places = paused.callFrames
      .map((frame) => this.#place(frame))
      .filter((place) => !place.includes(' node:'));
    writeSync(2, `${[`  ${this.#who}`, ...places.slice(0, FRAMES_MAX)].join('\n')}\n`);
  }

  #place(frame: Debugger.CallFrame): string {
    const { scriptId, lineNumber, columnNumber = 0 } = frame.location;
    const url = this.#urls.get(scriptId) ?? '';
    const entry = loadMap(url)?.findEntry(lineNumber, columnNumber);
    const origin =
      entry !== undefined && 'originalSource' in entry
        ? `${entry.originalSource.replace(/^.*?(?=(test|src)\/)/, '')}:${entry.originalLine + 1}`
        : `${url}:${lineNumber + 1}`;
    return `    at ${frame.functionName || '(anonymous)'} ${origin}`;
  }
}

/** Pauses the workers and prints their stacks; the main thread's session carries the messages. */
function lookAtWorkers(session: Session): void {
  const threads = new Map<string, Thread>();
  session.on('NodeWorker.attachedToWorker', ({ params }) => {
    if (params.workerInfo.title.includes('watchdog')) return;
    threads.set(params.sessionId, new Thread(params.workerInfo.title));
    for (const method of ['Debugger.enable', 'Debugger.pause']) {
      session.post('NodeWorker.sendMessageToWorker', {
        sessionId: params.sessionId,
        message: JSON.stringify({ id: 1, method }),
      });
    }
  });
  session.on('NodeWorker.receivedMessageFromWorker', ({ params }) => {
    const message: { method?: string; params?: unknown } = JSON.parse(params.message);
    const thread = threads.get(params.sessionId);
    if (message.method === 'Debugger.scriptParsed') {
      thread?.addScript(message.params as Debugger.ScriptParsedEventDataType);
    } else if (message.method === 'Debugger.paused') {
      thread?.print(message.params as Debugger.PausedEventDataType);
    }
  });
  const all: NodeWorker.EnableParameterType = { waitForDebuggerOnStart: false };
  session.post('NodeWorker.enable', all);
}

function act(ms: number): void {
  writeSync(2, `${WATCHDOG}not done after ${ms} ms; the threads stand at\n`);
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), ANSWER_MS);
  const session = new Session();
  session.connectToMainThread();
  const main = new Thread('[main thread]');
  session.on('Debugger.scriptParsed', ({ params }) => main.addScript(params));
  session.on('Debugger.paused', ({ params }) => main.print(params));
  session.post('Debugger.enable');
  lookAtWorkers(session);
  session.post('Debugger.pause');
}

const limitMs = Number(process.env[WATCHDOG_MS_ENV]);
setTimeout(() => act(limitMs), limitMs);
