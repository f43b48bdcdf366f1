/** What a normal and a long run of the harness do at least: the figures of docs/testing.md. */

export interface Entry {
  readonly mode: string;
  readonly args: readonly string[];
  /** Runs of a process; the mode's own number unless given. */
  readonly runs?: number;
  /** What must have been done over all processes. */
  readonly least: Readonly<
    Partial<Record<'images' | 'kills' | 'injections' | 'placements' | 'schedules', number>>
  >;
}

export interface Plan {
  readonly entries: readonly Entry[];
  /** Whether broken builds are caught as well. */
  readonly broken: boolean;
}

/** Longest first, so that both lanes end at about the same time. */
const NORMAL: readonly Entry[] = [
  { mode: 'points', args: [], runs: 4, least: { images: 20_000 } },
  { mode: 'faults', args: [], least: { injections: 1000 } },
  { mode: 'rot', args: [], runs: 8, least: { placements: 10_000 } },
  { mode: 'kill', args: [], least: { kills: 100 } },
  { mode: 'terminate', args: [], least: { kills: 100 } },
  { mode: 'soak', args: ['--seconds', '30'], least: { kills: 1 } },
];

const LONG: readonly Entry[] = [
  { mode: 'points', args: [], runs: 200, least: { images: 1_000_000 } },
  { mode: 'faults', args: [], runs: 820, least: { injections: 20_000 } },
  { mode: 'rot', args: [], runs: 400, least: { placements: 100_000 } },
  { mode: 'kill', args: [], runs: 500, least: { kills: 10_000 } },
  { mode: 'terminate', args: [], runs: 200, least: { kills: 1000 } },
  { mode: 'soak', args: ['--seconds', '600'], least: { kills: 1 } },
];

export const PLANS: ReadonlyMap<string, Plan> = new Map([
  ['normal', { entries: NORMAL, broken: true }],
  ['long', { entries: LONG, broken: true }],
]);
