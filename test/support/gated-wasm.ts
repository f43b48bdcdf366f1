/**
 * Gates in the shipped control module: a call to the host before every atomic instruction.
 *
 * Works on the text form of the compiled module, after all optimisation, so that what is checked
 * is the code that ships. Three things are changed, nothing else:
 *   - before an atomic load, store, read-modify-write or compare-and-swap, when its operands are
 *     known, `gate.step(site, address)` is called; with `plain` before plain stores too;
 *   - `memory.atomic.wait32` becomes `gate.wait`, `memory.atomic.notify` becomes `gate.notify`: the
 *     scheduler decides who sleeps and wakes;
 *   - loops that spin SPIN_MAX times before they park spin `GATED_SPINS` times: 200 looks at one
 *     unchanged word would only make schedules longer.
 */
import binaryen from 'binaryen';

export const GATED_SPINS = 1;
const SPIN_MAX = '200';

/** What an instruction does to shared memory. */
export type SiteKind = 'load' | 'store' | 'update' | 'wait' | 'notify';

/** An instruction with a gate; its number is its index in the list. */
export interface Site {
  readonly kind: SiteKind;
  /** Exported function (or number) and instruction, for people. */
  readonly label: string;
}

export interface GatedModule {
  readonly wasm: Uint8Array;
  readonly sites: readonly Site[];
}

export interface GateOptions {
  /** Gates before plain stores too, so that a thread can be stopped between two of them. */
  readonly plain?: boolean;
}

type Expression = string | Expression[];

function parse(text: string): Expression[] {
  const stack: Expression[][] = [[]];
  for (const [token] of text.matchAll(/\(|\)|"(?:[^"\\]|\\.)*"|;;[^\n]*|[^\s()]+/g)) {
    const top = stack[stack.length - 1] as Expression[];
    if (token === '(') {
      const list: Expression[] = [];
      top.push(list);
      stack.push(list);
    } else if (token === ')') {
      stack.pop();
    } else if (!token.startsWith(';;')) {
      top.push(token);
    }
  }
  if (stack.length !== 1) throw new Error('the module text has unbalanced parentheses');
  return stack[0] as Expression[];
}

function print(expression: Expression): string {
  return typeof expression === 'string' ? expression : `(${expression.map(print).join(' ')})`;
}

const ATOMIC = /^(i32|i64)\.atomic\.(load|store|rmw)(?:\d+)?(?:\.(\w+))?/;
const PLAIN_STORE = /^(i32|i64|f32|f64)\.store/;

const IMPORTS = [
  '(import "gate" "step" (func $gate_step (param i32 i32)))',
  '(import "gate" "wait" (func $gate_wait (param i32 i32 i32 f64) (result i32)))',
  '(import "gate" "notify" (func $gate_notify (param i32 i32 i32) (result i32)))',
];

/** Rewrites one function; operands are evaluated into locals, then comes the gate. */
class FunctionGater {
  readonly #name: string;
  readonly #sites: Site[];
  readonly #plain: boolean;
  readonly #locals: Expression[] = [];
  spins = 0;

  constructor(name: string, sites: Site[], plain: boolean) {
    this.#name = name;
    this.#sites = sites;
    this.#plain = plain;
  }

  rewrite(fn: Expression[]): Expression[] {
    const body = fn.map((part) => this.#expression(part));
    // Locals stand after the name, the type, the parameters and the result.
    const declared = ['export', 'type', 'param', 'result', 'local'];
    let at = 2;
    while (Array.isArray(body[at]) && declared.includes(String((body[at] as Expression[])[0])))
      at++;
    body.splice(at, 0, ...this.#locals);
    return body;
  }

  #expression(expression: Expression): Expression {
    if (typeof expression === 'string') return expression;
    const list = expression.map((part) => this.#expression(part));
    const op = String(list[0]);
    if (op === 'i32.lt_u' && print(list[2] ?? '') === `(i32.const ${SPIN_MAX})`) {
      this.spins++;
      return [op, list[1] as Expression, ['i32.const', String(GATED_SPINS)]];
    }
    const kind = this.#kind(op);
    return kind === undefined ? list : this.#gate(op, kind, list);
  }

  #kind(op: string): SiteKind | undefined {
    if (op === 'memory.atomic.wait32') return 'wait';
    if (op === 'memory.atomic.notify') return 'notify';
    const atomic = ATOMIC.exec(op);
    if (atomic !== null) {
      return atomic[2] === 'rmw' ? 'update' : (atomic[2] as 'load' | 'store');
    }
    if (op.includes('atomic') && op !== 'atomic.fence') throw new Error(`no gate for ${op}`);
    return this.#plain && PLAIN_STORE.test(op) ? 'store' : undefined;
  }

  #gate(op: string, kind: SiteKind, list: Expression[]): Expression {
    const site = ['i32.const', String(this.#sites.length)];
    const immediates = list.slice(1).filter((part) => typeof part === 'string') as string[];
    const operands = list.slice(1).filter((part) => typeof part !== 'string');
    const offset = immediates.find((text) => text.startsWith('offset='))?.slice(7) ?? '0';
    this.#sites.push({ kind, label: `${this.#name} ${op}+${offset}` });
    const value = op.slice(0, 3);
    const types: string[] =
      kind === 'wait'
        ? ['i32', 'i32', 'i64']
        : kind === 'notify'
          ? ['i32', 'i32']
          : ['i32', value, value];
    const names = operands.map((_, n) => this.#local(types[n] as string));
    const gets = names.map((name): Expression => ['local.get', name]);
    const sets = names.map((name, n): Expression => ['local.set', name, operands[n] as Expression]);
    const address: Expression = ['i32.add', gets[0] as Expression, ['i32.const', offset]];
    if (kind === 'wait') {
      const ns: Expression = ['f64.convert_i64_s', gets[2] as Expression];
      const call = ['call', '$gate_wait', site, address, gets[1] as Expression, ns];
      return ['block', ['result', 'i32'], ...sets, call];
    }
    if (kind === 'notify') {
      const call = ['call', '$gate_notify', site, address, gets[1] as Expression];
      return ['block', ['result', 'i32'], ...sets, call];
    }
    const result: Expression[] = kind === 'store' ? [] : [['result', value]];
    const step: Expression = ['call', '$gate_step', site, address];
    return ['block', ...result, ...sets, step, [op, ...immediates, ...gets]];
  }

  #local(type: string): string {
    const name = `$gate_local_${this.#locals.length}`;
    this.#locals.push(['local', name, type]);
    return name;
  }
}

/** Names of the exported functions by their internal ones. */
function exportNames(module: Expression[]): Map<string, string> {
  const names = new Map<string, string>();
  for (const part of module) {
    if (!Array.isArray(part) || part[0] !== 'export') continue;
    const [, name, target] = part;
    if (Array.isArray(target) && target[0] === 'func') {
      names.set(String(target[1]), String(name).replaceAll('"', ''));
    }
  }
  return names;
}

/** Puts gates into a control module; throws on an atomic instruction that it does not know. */
export function gateModule(wasm: Uint8Array, options: GateOptions = {}): GatedModule {
  const original = binaryen.readBinary(wasm);
  const module = parse(original.emitText())[0] as Expression[];
  original.dispose();
  const names = exportNames(module);
  const sites: Site[] = [];
  let spins = 0;
  const gated = module.map((part): Expression => {
    if (!Array.isArray(part) || part[0] !== 'func') return part;
    const name = names.get(String(part[1])) ?? String(part[1]);
    const gater = new FunctionGater(name, sites, options.plain === true);
    const rewritten = gater.rewrite(part);
    spins += gater.spins;
    return rewritten;
  });
  if (spins === 0) throw new Error('no spinning loop was found: did SPIN_MAX change?');
  const firstImport = gated.findIndex((part) => Array.isArray(part) && part[0] === 'import');
  gated.splice(firstImport, 0, ...IMPORTS);
  const result = binaryen.parseText(print(gated));
  result.setFeatures(binaryen.Features.All);
  if (result.validate() === 0) throw new Error('the gated module is not valid');
  const binary = result.emitBinary();
  result.dispose();
  return { wasm: binary, sites };
}
