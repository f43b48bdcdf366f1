/** What a normal and a long run of the harness do at least: the figures of docs/testing.md. */

export interface Entry {
  readonly mode: string;
  readonly args: readonly string[];
  /** Runs of a process; the mode's own number unless given. */
  readonly runs?: number;
  /** What must have been done over all processes; a crash that nothing is lost by is none. */
  readonly least: Readonly<
    Partial<Record<'images' | 'kills' | 'injections' | 'placements' | 'schedules' | 'lost', number>>
  >;
}

export interface Plan {
  readonly entries: readonly Entry[];
  /** Whether broken builds are caught as well; `npm test` does it with one seed. */
  readonly broken: boolean;
}

const none: readonly string[] = [];

/** Longest first, so that both lanes end at about the same time. */
const NORMAL: readonly Entry[] = [
  { mode: 'points', args: none, runs: 3, least: { images: 20_000 } },
  { mode: 'faults', args: ['--subject', 'tree'], runs: 45, least: { injections: 800 } },
  { mode: 'faults', args: ['--subject', 'pool'], runs: 39, least: { injections: 500 } },
  { mode: 'rot', args: none, runs: 8, least: { placements: 10_000 } },
  { mode: 'kill', args: none, runs: 17, least: { kills: 100, lost: 1 } },
  { mode: 'deaths', args: none, runs: 110, least: { kills: 100 } },
  { mode: 'power', args: none, least: { kills: 20, lost: 1 } },
  { mode: 'schedules', args: none, runs: 47, least: { schedules: 10_000 } },
  { mode: 'concurrent', args: none, runs: 8, least: { schedules: 800 } },
  { mode: 'terminate', args: none, least: { kills: 100 } },
  { mode: 'soak', args: ['--seconds', '30'], least: { kills: 1 } },
];

const LONG: readonly Entry[] = [
  { mode: 'points', args: none, runs: 200, least: { images: 1_000_000 } },
  { mode: 'faults', args: none, runs: 1000, least: { injections: 30_000 } },
  { mode: 'rot', args: none, runs: 400, least: { placements: 100_000 } },
  { mode: 'kill', args: none, runs: 500, least: { kills: 10_000, lost: 1 } },
  { mode: 'deaths', args: none, runs: 1100, least: { kills: 1000 } },
  { mode: 'power', args: none, runs: 200, least: { kills: 2000, lost: 1 } },
  { mode: 'schedules', args: none, runs: 300, least: { schedules: 1_000_000 } },
  { mode: 'concurrent', args: none, runs: 100, least: { schedules: 10_000 } },
  { mode: 'terminate', args: none, runs: 200, least: { kills: 1000 } },
  { mode: 'soak', args: ['--seconds', '600'], least: { kills: 1 } },
];

export const PLANS: ReadonlyMap<string, Plan> = new Map([
  ['normal', { entries: NORMAL, broken: false }],
  ['long', { entries: LONG, broken: true }],
]);
