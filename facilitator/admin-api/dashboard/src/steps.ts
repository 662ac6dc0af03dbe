// The steps of a plot: the listener sends a step a minute, and a bar must be wide enough to be seen.

import type { NetworkSeries } from "./types.ts";

export interface Steps {
  fromMs: number;
  stepMs: number;
  settled: number[];
  failed: number[];
  pending: number[];
  /** The highest 95th percentile of the steps that were put together: a percentile of percentiles would hide the worst. */
  p95Ms: (number | null)[];
}

/** At most `most` steps, each of an equal number of the steps that were sent. */
export function coarser(fromMs: number, stepMs: number, of: NetworkSeries, most: number): Steps {
  const size = Math.max(1, Math.ceil(of.settled.length / most));
  const count = Math.ceil(of.settled.length / size);
  const groups = <T>(list: T[]): T[][] => Array.from({ length: count }, (_, at) => list.slice(at * size, (at + 1) * size));
  const sums = (list: number[]): number[] => groups(list).map((group) => group.reduce((sum, one) => sum + one, 0));
  return {
    fromMs,
    stepMs: stepMs * size,
    settled: sums(of.settled),
    failed: sums(of.failed),
    pending: sums(of.pending),
    p95Ms: groups(of.p95Ms).map((group) => group.reduce<number | null>((highest, one) => (one === null ? highest : Math.max(highest ?? 0, one)), null)),
  };
}
