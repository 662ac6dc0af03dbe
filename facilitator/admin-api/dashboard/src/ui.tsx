// Small parts that every view uses. Every text goes through `Text` or `Id`, which show it as text and nothing else.

import { useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { age, dateTime, grouped } from "./format.ts";
import { serverMs } from "./state.ts";
import { cut, shortId, visible } from "./text.ts";

/** Texts of at most so many characters are not broken in a wide table. */
const SHORT = 24;

/** A text from outside. A long one is cut, and a button shows all of it. */
export function Text({ of, max = 160 }: { of: string | null | undefined; max?: number }): JSX.Element {
  const open = useSignal(false);
  const text = of ?? "";
  const start = cut(text, max);
  if (start === null) {
    const shown = visible(text);
    return <bdi class={shown.length <= SHORT ? "text short" : "text"}>{shown}</bdi>;
  }
  return (
    <>
      <bdi class="text">{visible(open.value ? text : `${start}…`)}</bdi>{" "}
      <button type="button" class="more" aria-expanded={open.value} onClick={() => (open.value = !open.value)}>
        {open.value ? "Show less" : `Show all ${grouped(text.length)} characters`}
      </button>
    </>
  );
}

/** The start of a text from outside, where a button can't be: inside a link. */
export function Start({ of, max }: { of: string; max: number }): JSX.Element {
  const start = cut(of, max);
  return <bdi class="text">{visible(start === null ? of : `${start}…`)}</bdi>;
}

/** An address, a transaction or another id: its start and end. A press shows all of it, to be copied. */
export function Id({ of, name }: { of: string | null | undefined; name: string }): JSX.Element {
  const open = useSignal(false);
  if (!of) return <span class="none">none</span>;
  const short = shortId(of);
  if (short === null) return <bdi class="id">{visible(of)}</bdi>;
  return (
    <button
      type="button"
      class="id"
      aria-expanded={open.value}
      title={open.value ? "Show its start and end" : "Show all of it"}
      onClick={() => (open.value = !open.value)}
    >
      <span class="sr">{name} </span>
      <bdi>{visible(open.value ? of : short)}</bdi>
    </button>
  );
}

/** A time in UTC, and how long ago it was. */
export function Ago({ ms }: { ms: number }): JSX.Element {
  return (
    <time dateTime={Number.isFinite(ms) ? new Date(ms).toISOString() : ""} title={`${dateTime(ms)} UTC`}>
      {age((serverMs.value - ms) / 1000)} ago
    </time>
  );
}

export type Tone = "good" | "bad" | "warn" | "quiet";
const SIGNS: Record<Tone, string> = { good: "●", bad: "✕", warn: "▲", quiet: "○" };

/** A state: a sign and a word, so that its colour says nothing that they do not. */
export function State({ tone, children }: { tone: Tone; children: ComponentChildren }): JSX.Element {
  return (
    <span class={`state ${tone}`}>
      <span aria-hidden="true">{SIGNS[tone]}</span> {children}
    </span>
  );
}

export interface Column<R> {
  head: string;
  cell: (row: R) => ComponentChildren;
  number?: boolean;
}

/**
 * A table whose rows become cards where it is narrow. The roles are written down, because a browser drops a table's meaning when its
 * rows are shown as blocks.
 */
export function Table<R>(props: {
  caption: string;
  columns: Column<R>[];
  rows: R[];
  id: (row: R) => string;
  empty: string;
}): JSX.Element {
  const { caption, columns, rows, id, empty } = props;
  if (rows.length === 0) return <p class="none">{empty}</p>;
  return (
    <table role="table" class="table">
      <caption class="sr">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map((column) => (
            <th key={column.head} role="columnheader" scope="col" class={column.number ? "number" : undefined}>
              {column.head}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((row) => (
          <tr role="row" key={id(row)}>
            {columns.map((column, at) =>
              at === 0 ? (
                <th key={column.head} role="rowheader" scope="row">
                  {column.cell(row)}
                </th>
              ) : (
                <td key={column.head} role="cell" class={column.number ? "number" : undefined}>
                  <span class="head" aria-hidden="true">
                    {column.head}
                  </span>
                  <span class="value">{column.cell(row)}</span>
                </td>
              ),
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** A pair of a name and a value. */
export function Fact({ name, children }: { name: string; children: ComponentChildren }): JSX.Element {
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** A link that leaves the page. */
export function Outside({ href, children }: { href: string; children: ComponentChildren }): JSX.Element {
  return (
    <a class="outside" href={href} target="_blank" rel="noopener noreferrer external">
      {children}
      <span aria-hidden="true"> ↗</span>
      <span class="sr"> (opens another site)</span>
    </a>
  );
}
