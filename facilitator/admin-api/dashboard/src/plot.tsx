// Plots of one network: payments by outcome in each step, and the time to the outcome. The same numbers are in a table below.

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clock, duration, grouped } from "./format.ts";
import { type Steps, coarser } from "./steps.ts";
import type { NetworkSeries, Series } from "./types.ts";
import { Table } from "./ui.tsx";

const HEIGHT = 96;

interface Colours {
  text: string;
  grid: string;
  good: string;
  bad: string;
  quiet: string;
  ground: string;
}

function colours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string): string => style.getPropertyValue(name).trim();
  return { text: of("--dim"), grid: of("--line"), good: of("--plot-good"), bad: of("--plot-bad"), quiet: of("--plot-quiet"), ground: of("--card") };
}

/** Stripes, so that failed payments differ from settled ones without colour too. */
function stripes(colour: string, ground: string): CanvasPattern | string {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const context = tile.getContext("2d");
  if (!context) return colour;
  context.fillStyle = ground;
  context.fillRect(0, 0, 6, 6);
  context.strokeStyle = colour;
  context.lineWidth = 2.6;
  context.beginPath();
  for (const shift of [-6, 0, 6]) {
    context.moveTo(shift - 1, 7);
    context.lineTo(shift + 7, -1);
  }
  context.stroke();
  return context.createPattern(tile, "repeat") ?? colour;
}

function axis(colour: Colours, more: Partial<uPlot.Axis> = {}): uPlot.Axis {
  return {
    stroke: colour.text,
    font: "11px system-ui, sans-serif",
    grid: { stroke: colour.grid, width: 1 },
    ticks: { show: false },
    ...more,
  };
}

function base(width: number, shown: (at: number | null) => void): Pick<uPlot.Options, "width" | "height" | "legend" | "cursor" | "padding" | "hooks" | "tzDate"> {
  return {
    width,
    height: HEIGHT,
    padding: [6, 6, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    hooks: { setCursor: [(plot) => shown(plot.cursor.idx ?? null)] },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"),
  };
}

const hours = (_: uPlot, splits: number[]): string[] => splits.map((seconds) => clock(seconds * 1000).slice(0, 5));

function outcomes(into: HTMLElement, width: number, times: number[], of: Steps, shown: (at: number | null) => void): uPlot {
  const colour = colours();
  const settled = of.settled;
  const withFailed = settled.map((count, at) => count + (of.failed[at] ?? 0));
  const withPending = withFailed.map((count, at) => count + (of.pending[at] ?? 0));
  const paths = uPlot.paths.bars?.({ size: [0.8, 24], gap: 1 });
  const bars = (label: string, fill: CanvasPattern | string, stroke: string): uPlot.Series => ({
    label,
    fill: () => fill as string,
    stroke,
    width: 1,
    points: { show: false },
    ...(paths ? { paths } : {}),
  });
  const options: uPlot.Options = {
    ...base(width, shown),
    scales: { x: { time: true }, y: { range: (_, __, max) => [0, Math.max(4, max * 1.05)] } },
    axes: [axis(colour, { values: hours, size: 22, space: 60 }), axis(colour, { size: 44, space: 28, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 50_000, 100_000] })],
    // The sum is drawn first, and the parts over it.
    series: [
      {},
      bars("pending", colour.ground, colour.quiet),
      bars("failed", stripes(colour.bad, colour.ground), colour.bad),
      bars("settled", colour.good, colour.good),
    ],
  };
  return new uPlot(options, [times, withPending, withFailed, settled], into);
}

function latency(into: HTMLElement, width: number, times: number[], of: Steps, shown: (at: number | null) => void): uPlot {
  const colour = colours();
  const options: uPlot.Options = {
    ...base(width, shown),
    scales: { x: { time: true }, y: { range: (_, __, max) => [0, Math.max(1000, max * 1.1)] } },
    axes: [axis(colour, { values: hours, size: 22, space: 60 }), axis(colour, { size: 44, space: 28, values: (_, splits) => splits.map((ms) => (ms === 0 ? "0" : `${ms / 1000} s`)) })],
    series: [{}, { label: "p95", stroke: colour.text, width: 1.5, spanGaps: false, points: { show: true, size: 4, fill: colour.text } }],
  };
  return new uPlot(options, [times, of.p95Ms], into);
}

interface Row {
  at: number;
  settled: number;
  failed: number;
  pending: number;
  p95: number | null;
}

function rows(of: Steps): Row[] {
  return of.settled.map((settled, at) => ({
    at: of.fromMs + at * of.stepMs,
    settled,
    failed: of.failed[at] ?? 0,
    pending: of.pending[at] ?? 0,
    p95: of.p95Ms[at] ?? null,
  }));
}

const sum = (counts: number[]): number => counts.reduce((all, count) => all + count, 0);

/** Bars of a plot. */
const MOST = 72;

export function Plots({ series, of: sent, title }: { series: Series; of: NetworkSeries; title: string }): JSX.Element {
  const of = useMemo(() => coarser(series.fromMs, series.stepMs, sent, MOST), [series, sent]);
  const top = useRef<HTMLDivElement>(null);
  const bottom = useRef<HTMLDivElement>(null);
  const at = useSignal<number | null>(null);
  const open = useSignal(false);
  const nothing = sum(of.settled) + sum(of.failed) + sum(of.pending) === 0;

  useEffect(() => {
    const [upper, lower] = [top.current, bottom.current];
    if (!upper || !lower || nothing) return undefined;
    const times = of.settled.map((_, step) => (of.fromMs + step * of.stepMs) / 1000);
    const shown = (step: number | null): void => {
      at.value = step;
    };
    let plots: uPlot[] = [];
    const draw = (): void => {
      plots.forEach((plot) => plot.destroy());
      const width = Math.max(200, upper.clientWidth);
      plots = [outcomes(upper, width, times, of, shown), latency(lower, width, times, of, shown)];
    };
    draw();
    const scheme = window.matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", draw);
    const sized = new ResizeObserver(() => {
      const width = Math.max(200, upper.clientWidth);
      for (const plot of plots) if (plot.width !== width) plot.setSize({ width, height: HEIGHT });
    });
    sized.observe(upper);
    return () => {
      scheme.removeEventListener("change", draw);
      sized.disconnect();
      plots.forEach((plot) => plot.destroy());
    };
  }, [of, nothing]);

  const span = Math.round((of.settled.length * of.stepMs) / 3_600_000);
  if (nothing) return <p class="none">No payments in the last {span} h.</p>;
  const all = rows(of);
  const row = at.value === null ? null : (all[at.value] ?? null);
  const summary = `${title}, last ${span} h: ${grouped(sum(of.settled))} settled, ${grouped(sum(of.failed))} failed, ${grouped(sum(of.pending))} pending.`;
  return (
    <div class="plots">
      <p class="legend">
        <span class="swatch settled" aria-hidden="true" /> settled <span class="swatch failed" aria-hidden="true" /> failed{" "}
        <span class="swatch pending" aria-hidden="true" /> pending
        <span class="at">{row === null ? `last ${span} h, UTC` : sentence(row)}</span>
      </p>
      <div ref={top} role="img" aria-label={`Payments by outcome. ${summary}`} />
      <p class="legend">time to the outcome, p95 (the highest of each {duration(of.stepMs)})</p>
      <div ref={bottom} role="img" aria-label={`95th percentile of the time to the outcome. ${title}, last ${span} h.`} />
      <button type="button" class="more" aria-expanded={open.value} onClick={() => (open.value = !open.value)}>
        {open.value ? "Hide the numbers" : "Show the numbers"}
        <span class="sr"> of {title}</span>
      </button>
      {open.value && (
        <div class="numbers" tabIndex={0} role="region" aria-label={`Numbers of ${title}`}>
          <Table
            caption={`Payments of ${title} by step`}
            columns={[
              { head: "From (UTC)", cell: (row: Row) => clock(row.at).slice(0, 5) },
              { head: "Settled", number: true, cell: (row: Row) => grouped(row.settled) },
              { head: "Failed", number: true, cell: (row: Row) => grouped(row.failed) },
              { head: "Pending", number: true, cell: (row: Row) => grouped(row.pending) },
              { head: "p95", number: true, cell: (row: Row) => (row.p95 === null ? "–" : duration(row.p95)) },
            ]}
            rows={all.filter((row) => row.settled + row.failed + row.pending > 0).reverse()}
            id={(row) => String(row.at)}
            empty="No payments."
          />
        </div>
      )}
    </div>
  );
}

function sentence(row: Row): string {
  const p95 = row.p95 === null ? "" : `, p95 ${duration(row.p95)}`;
  return `${clock(row.at).slice(0, 5)}: ${row.settled} settled, ${row.failed} failed, ${row.pending} pending${p95}`;
}
