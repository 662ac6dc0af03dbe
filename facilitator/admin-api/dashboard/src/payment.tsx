// One payment: what is known of it, and its timeline.

import { useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useEffect } from "preact/hooks";
import { allowRelease, annotate, asked, sync } from "./actions.ts";
import { said } from "./api.ts";
import { Do } from "./dialog.tsx";
import { dateTime, duration, grouped } from "./format.ts";
import { amountIn } from "./network.tsx";
import { Status, Transaction } from "./payments.tsx";
import { route } from "./route.ts";
import { client, networkOf, noticed, nowMs } from "./state.ts";
import { plain } from "./text.ts";
import type { HistoryEvent, Payment } from "./types.ts";
import { Ago, Fact, Id, State, Text, type Tone } from "./ui.tsx";

/** Seconds between two reads of a payment without an outcome. */
const PERIOD_S = 4;

export function PaymentView(): JSX.Element {
  const payments = useSignal<Payment[] | null>(null);
  const error = useSignal<string | null>(null);
  const name = route.value.name;
  const turn = Math.floor(nowMs.value / (PERIOD_S * 1000));
  const open = payments.value?.some((payment) => payment.status === "pending" || payment.status === "unknown") ?? true;
  // It is read again after a dialog, which may have changed it.
  const dialog = asked.value !== null;

  useEffect(() => {
    payments.value = null;
    error.value = null;
  }, [name]);
  useEffect(() => {
    const with_ = client.value;
    if (!with_ || dialog) return undefined;
    let stale = false;
    with_
      .explain(name)
      .then((explained) => {
        if (stale) return;
        payments.value = explained.payments;
        error.value = null;
      })
      .catch((failure: unknown) => {
        if (!stale && !noticed(failure)) error.value = said(failure);
      });
    return () => {
      stale = true;
    };
  }, [name, open ? turn : 0, dialog, client.value]);

  return (
    <>
      <p>
        <a href="#/payments">All payments</a>
      </p>
      <h1>Payment</h1>
      <div role="alert">
        {error.value !== null && (
          <p class="error">
            Not read: <Text of={error.value} max={500} />
          </p>
        )}
      </div>
      {payments.value === null && error.value === null && <p class="none">Reading…</p>}
      {(payments.value?.length ?? 0) > 1 && <p>{grouped(payments.value?.length ?? 0)} payments have this name, the oldest first.</p>}
      {payments.value?.map((payment) => (
        <Card key={payment.id} payment={payment} />
      ))}
    </>
  );
}

/** Members that have a line of their own, or are in the timeline. */
const OWN = new Set(["id", "status", "history", "network", "scheme", "transaction", "payer", "payTo", "asset", "amount", "fee", "createdAt", "updatedAt", "withheld", "setAside", "mayPayAgain", "released", "expiresAt"]);

function Card({ payment }: { payment: Payment }): JSX.Element {
  const network = networkOf(payment.network);
  const fee = payment["fee"];
  const when = (member: unknown): ComponentChildren =>
    typeof member === "string" ? (
      <>
        {dateTime(Date.parse(member))} UTC <small><Ago ms={Date.parse(member)} /></small>
      </>
    ) : (
      "–"
    );
  return (
    <article class="card payment" aria-labelledby={`payment-${payment.id}`}>
      <header>
        <h2 id={`payment-${payment.id}`}>
          <Text of={payment.id} max={200} />
        </h2>
        <Status payment={payment} />
        <span class="acts">
          <Do action={sync(payment)}>Read from the chain…</Do>
          <Do action={annotate(payment)}>Annotate…</Do>
          {payment.withheld === true && <Do action={allowRelease(payment)}>Allow the release…</Do>}
        </span>
      </header>
      <dl class="facts long">
        <Fact name="Network">
          <Text of={network?.title ?? payment.network} max={60} />
          <small>
            <Text of={payment.network} max={60} />, <Text of={payment.scheme} max={60} />
          </small>
        </Fact>
        <Fact name="Amount">
          {payment.amount === undefined ? "–" : `${plain(grouped(payment.amount))} atomic units`}
          <small>
            of <Id of={payment.asset} name="Asset" />
          </small>
        </Fact>
        <Fact name="Payer">
          <Text of={payment.payer ?? "none"} max={100} />
        </Fact>
        <Fact name="Payee">
          <Text of={payment.payTo ?? "none"} max={100} />
        </Fact>
        <Fact name="Transaction">
          <Transaction payment={payment} transaction={payment.transaction} />
        </Fact>
        {typeof fee === "string" && <Fact name="Fee">{amountIn(network?.currency ?? null, fee)}</Fact>}
        <Fact name="Recorded">{when(payment.createdAt)}</Fact>
        <Fact name="Changed">{when(payment["updatedAt"])}</Fact>
        {payment["expiresAt"] !== undefined && <Fact name="Expires">{when(payment["expiresAt"])}</Fact>}
        <Fact name="Success was answered">{payment["released"] === true ? "yes" : "no"}</Fact>
        <Fact name="Payer may pay again">{payment["mayPayAgain"] === true ? "yes" : "no"}</Fact>
        {Object.entries(payment)
          .filter(([member, value]) => !OWN.has(member) && value !== null && value !== undefined && value !== "")
          .map(([member, value]) => (
            <Fact key={member} name={spelled(member)}>
              <Text of={flat(value)} max={160} />
            </Fact>
          ))}
      </dl>
      <h3>Timeline</h3>
      <ol class="timeline">
        {(payment.history ?? []).map((event, at, all) => (
          <Happened key={at} payment={payment} event={event} before={all[at - 1]} />
        ))}
      </ol>
      {(payment.history ?? []).length === 0 && <p class="none">Nothing is recorded.</p>}
    </article>
  );
}

/** `idempotencyKey` as `Idempotency key`. */
function spelled(member: string): string {
  const words = member.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return plain(words.charAt(0).toUpperCase() + words.slice(1));
}

function flat(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

const EVENTS: Record<string, [Tone, string]> = {
  opened: ["quiet", "Recorded"],
  prepared: ["quiet", "Transaction signed"],
  sent: ["quiet", "A node accepted the transaction"],
  feePaid: ["quiet", "A block shows the cost"],
  stepDone: ["good", "A step had its effect"],
  stepFailed: ["bad", "A step failed"],
  stepSkipped: ["quiet", "A step is not needed"],
  stepRevived: ["warn", "A skipped step may be needed"],
  stepGrounded: ["quiet", "The decision rests on a block or a proof"],
  stepFreed: ["warn", "Another transaction used the slot"],
  stepUnexplained: ["warn", "An unknown transaction changed the guarded state"],
  stepFinal: ["good", "What decided the step is final"],
  paid: ["good", "The chain shows the payment"],
  failed: ["bad", "Proven: it did not pay and can't"],
  reorged: ["warn", "The deciding block is gone"],
  released: ["good", "One caller got success"],
  releaseReturned: ["warn", "The caller was gone; nothing was written to it"],
  releaseAllowed: ["quiet", "An operator allowed the release"],
  finished: ["good", "Every step is final"],
  annotated: ["quiet", "An operator wrote"],
  acted: ["quiet", "An operator acted"],
};

function Happened({ payment, event, before }: { payment: Payment; event: HistoryEvent; before: HistoryEvent | undefined }): JSX.Element {
  const at = Date.parse(event.at);
  const since = before ? at - Date.parse(before.at) : null;
  const [tone, words] = EVENTS[event.event] ?? ["quiet", event.event];
  const members = Object.entries(event).filter(([name]) => name !== "at" && name !== "event");
  return (
    <li>
      <p class="when">
        <time dateTime={Number.isFinite(at) ? new Date(at).toISOString() : ""}>{dateTime(at)}</time>
        {since !== null && since >= 0 && <small> +{duration(since)}</small>}
      </p>
      <div>
        <p>
          <State tone={tone}>
            <Text of={words} max={80} />
          </State>
        </p>
        {members.length > 0 && (
          <dl class="members">
            {members.map(([name, value]) => (
              <div key={name}>
                <dt>{spelled(name)}</dt>
                <dd>{shown(payment, name, value)}</dd>
              </div>
            ))}
          </dl>
        )}
      </div>
    </li>
  );
}

function shown(payment: Payment, name: string, value: unknown): JSX.Element {
  if (name === "transaction") return <Transaction payment={payment} transaction={flat(value)} />;
  if (name === "signer") return <Id of={flat(value)} name="Signer" />;
  if ((name === "maxCost" || name === "fee") && typeof value === "string") {
    return <>{amountIn(networkOf(payment.network)?.currency ?? null, value)}</>;
  }
  return <Text of={flat(value)} max={200} />;
}
