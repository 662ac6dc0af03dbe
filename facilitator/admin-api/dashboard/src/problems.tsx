// What needs a person: the first thing on the page.

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { counted } from "./format.ts";
import { networkHref } from "./route.ts";
import { networkOf, overview } from "./state.ts";
import type { Problem, Severity } from "./types.ts";
import { Start, State, Text, type Tone } from "./ui.tsx";
import { cut, visible } from "./text.ts";

const TONES: Record<Severity, Tone> = { critical: "bad", warning: "warn", notice: "quiet" };
const WORDS: Record<Severity, string> = { critical: "Critical", warning: "Warning", notice: "Notice" };
/** More than these are shown on request, so that the networks stay in reach. */
const FIRST = 8;
/** The causes come first in these texts, and what to do about them after that: so many characters have the cause, and several
 * problems fit on the first screen of a phone. */
const BRIEF = 140;

function title(problem: Problem): string {
  if (problem.network === null) return "Facilitator";
  return networkOf(problem.network)?.title ?? problem.network;
}

/** One sentence of a problem, for a screen reader. */
function spoken(problem: Problem): string {
  const what = cut(problem.what, 200) ?? problem.what;
  return visible(`${WORDS[problem.severity]}: ${title(problem)}: ${cut(problem.about, 80) ?? problem.about}: ${what}`);
}

export function Problems(): JSX.Element {
  const all = useSignal(false);
  const problems = overview.value?.problems ?? [];
  const serious = problems.filter((problem) => problem.severity !== "notice").length;
  const shown = all.value ? problems : problems.slice(0, FIRST);
  return (
    <section class="problems" aria-labelledby="problems-title">
      <h1 id="problems-title">
        {serious > 0 ? (
          <State tone={problems.some((problem) => problem.severity === "critical") ? "bad" : "warn"}>{counted(serious, "problem")}</State>
        ) : (
          <State tone="good">No problems</State>
        )}
      </h1>
      {shown.length > 0 && (
        <ol class="list">
          {shown.map((problem, at) => (
            <li key={`${at} ${problem.network} ${problem.about}`} class={`problem ${TONES[problem.severity]}`}>
              <State tone={TONES[problem.severity]}>{WORDS[problem.severity]}</State>
              <div>
                <p class="what">
                  <strong class="network">
                    {problem.network === null ? (
                      "Facilitator"
                    ) : (
                      <a href={networkHref(problem.network)}>
                        <Start of={title(problem)} max={40} />
                      </a>
                    )}
                  </strong>{" "}
                  <span class="topic">
                    <Text of={problem.about} max={80} />:
                  </span>{" "}
                  <Text of={problem.what} max={BRIEF} />
                </p>
                {(problem.network !== null || problem.runbook !== null) && (
                  <p class="meta">
                    {problem.network !== null && title(problem) !== problem.network && (
                      <>
                        <Text of={problem.network} max={60} />
                        {problem.runbook !== null && <span aria-hidden="true"> · </span>}
                      </>
                    )}
                    {problem.runbook !== null && (
                      <span class="runbook">
                        Runbook: <b>{visible(problem.runbook)}</b>
                      </span>
                    )}
                  </p>
                )}
              </div>
            </li>
          ))}
        </ol>
      )}
      {problems.length > FIRST && (
        <button type="button" class="more" aria-expanded={all.value} onClick={() => (all.value = !all.value)}>
          {all.value ? "Show fewer problems" : `Show all ${problems.length} problems`}
        </button>
      )}
    </section>
  );
}

/** Speaks new problems, and the end of the last one, to a screen reader; numbers that change every 2 s are not spoken. */
export function Announcer(): JSX.Element {
  const text = useSignal("");
  const before = useRef<Map<string, string> | null>(null);
  const problems = overview.value?.problems;
  useEffect(() => {
    if (!problems) return;
    const now = new Map(problems.map((problem) => [`${problem.severity} ${problem.network} ${problem.about}`, spoken(problem)]));
    const known = before.current;
    before.current = now;
    if (known === null) {
      text.value = problems.length === 0 ? "No problems." : [...now.values()].slice(0, 5).join(" ");
      return;
    }
    const fresh = [...now].filter(([key]) => !known.has(key)).map(([, sentence]) => sentence);
    if (fresh.length > 0) text.value = `New. ${fresh.slice(0, 5).join(" ")}`;
    else if (known.size > 0 && now.size === 0) text.value = "No problems any more.";
  }, [problems]);
  return (
    <div class="sr" role="status" aria-live="polite">
      {text.value}
    </div>
  );
}
