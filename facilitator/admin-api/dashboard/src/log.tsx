// What operators have done.

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { asked } from "./actions.ts";
import { said } from "./api.ts";
import { dateTime } from "./format.ts";
import { client, noticed, nowMs } from "./state.ts";
import type { Act } from "./types.ts";
import { Table, Text } from "./ui.tsx";

const PERIOD_S = 10;

export function LogView(): JSX.Element {
  const acts = useSignal<Act[] | null>(null);
  const error = useSignal<string | null>(null);
  const turn = Math.floor(nowMs.value / (PERIOD_S * 1000));
  useEffect(() => {
    let stale = false;
    client.value
      ?.log()
      .then((log) => {
        if (stale) return;
        acts.value = log.acts;
        error.value = null;
      })
      .catch((failure: unknown) => {
        if (!stale && !noticed(failure)) error.value = said(failure);
      });
    return () => {
      stale = true;
    };
  }, [turn, asked.value, client.value]);
  return (
    <>
      <h1>Operators' log</h1>
      <div role="alert">
        {error.value !== null && (
          <p class="error">
            Not read: <Text of={error.value} max={500} />
          </p>
        )}
      </div>
      <div class="card">
        {acts.value === null ? (
          <p class="none">{error.value === null ? "Reading…" : "Nothing was read."}</p>
        ) : (
          <Table
            caption="What operators have done, the newest first"
            columns={[
              { head: "When (UTC)", cell: (act: Act) => dateTime(act.atMs) },
              { head: "Who", cell: (act: Act) => <Text of={act.by} max={60} /> },
              { head: "What", cell: (act: Act) => <Text of={act.act} max={60} /> },
              { head: "Details", cell: (act: Act) => <Text of={act.details} max={300} /> },
            ]}
            rows={acts.value}
            id={(act) => `${act.atMs} ${act.by} ${act.act} ${act.details}`}
            empty="No operator has done anything yet."
          />
        )}
      </div>
    </>
  );
}
