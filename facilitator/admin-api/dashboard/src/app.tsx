// The frame of every view: where you are, whether it is live, who you are.

import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { Dialog } from "./dialog.tsx";
import { age, clock } from "./format.ts";
import { LogView } from "./log.tsx";
import { OverviewView } from "./overview.tsx";
import { PaymentView } from "./payment.tsx";
import { PaymentsView } from "./payments.tsx";
import { Announcer } from "./problems.tsx";
import { route } from "./route.ts";
import { SignIn } from "./signin.tsx";
import { client, live, nowMs, overview, receivedMs, reconnect, signOut } from "./state.ts";
import { Text } from "./ui.tsx";

const VIEWS = [
  ["overview", "#/", "Overview"],
  ["payments", "#/payments", "Payments"],
  ["log", "#/log", "Operators' log"],
] as const;

export function App(): JSX.Element {
  const open = client.value !== null;
  const serious = overview.value?.problems.filter((problem) => problem.severity !== "notice").length ?? 0;
  const broken = live.value.is === "broken";
  useEffect(() => {
    const state = broken && open ? "not live" : serious > 0 ? String(serious) : "";
    document.title = state === "" ? "Switchyard" : `(${state}) Switchyard`;
  }, [open, serious, broken]);
  if (!open) return <SignIn />;
  const view = route.value.view;
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          // The fragment names the view, so the jump is made here.
          event.preventDefault();
          document.getElementById("main")?.focus();
        }}
      >
        Skip to the content
      </a>
      <header class="top">
        <span class="brand">Switchyard</span>
        <LiveState />
        <nav aria-label="Views">
          {VIEWS.map(([name, href, text]) => (
            <a key={name} href={href} aria-current={view === name || (name === "payments" && view === "payment") ? "page" : undefined}>
              {text}
            </a>
          ))}
        </nav>
        <span class="role">
          role <b>{overview.value?.role}</b>
        </span>
        <button type="button" class="more out" onClick={() => signOut(null)}>
          Sign out
        </button>
      </header>
      <Broken />
      <Announcer />
      <main id="main" tabIndex={-1} class={broken ? "old" : undefined}>
        {view === "overview" && <OverviewView />}
        {view === "payments" && <PaymentsView />}
        {view === "payment" && <PaymentView />}
        {view === "log" && <LogView />}
      </main>
      <Dialog />
    </>
  );
}

function LiveState(): JSX.Element {
  const at = overview.value?.atMs;
  const time = at === undefined ? "" : ` ${clock(at)} UTC`;
  switch (live.value.is) {
    case "live":
      return (
        <span class="live good">
          <span aria-hidden="true">●</span> Live{time}
        </span>
      );
    case "connecting":
      return <span class="live">Connecting…</span>;
    case "broken":
      return (
        <span class="live bad">
          <span aria-hidden="true">✕</span> Not live
        </span>
      );
  }
}

/** The banner while the stream is broken. The sentence without numbers is spoken once; the seconds are not. */
function Broken(): JSX.Element {
  const state = live.value;
  return (
    <div role="alert" class="broken-region">
      {state.is === "broken" && (
        <div class="broken">
          <p>
            <b>Not live since {clock(overview.value?.atMs ?? receivedMs.value)} UTC.</b> What you see is from then. <Text of={state.why} max={200} />.
          </p>
          <p>
            <span aria-live="off">
              {age((nowMs.value - receivedMs.value) / 1000)} ago, next attempt in {Math.max(0, Math.ceil((state.retryAtMs - nowMs.value) / 1000))} s{" "}
            </span>
            <button type="button" onClick={reconnect}>
              Try now
            </button>
          </p>
        </div>
      )}
    </div>
  );
}
