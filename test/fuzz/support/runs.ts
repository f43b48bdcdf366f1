/** Cases of each family: in a normal run, and in a long one. */
export const FAMILY_RUNS: Readonly<Record<string, readonly [normal: number, long: number]>> = {
  log: [1500, 300_000],
  manifest: [1500, 300_000],
  store: [90, 30_000],
  sealed: [90, 30_000],
  records: [90, 30_000],
  nodes: [70, 20_000],
  wire: [1500, 300_000],
  locks: [100, 10_000],
  input: [1500, 200_000],
  load: [6, 2000],
  handles: [50, 10_000],
};
