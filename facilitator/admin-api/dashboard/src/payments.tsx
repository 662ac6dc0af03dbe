// Payments: the newest first, live while the first page is open, searched and filtered by the listener.

import { useSignal } from "@preact/signals";
import type { JSX, TargetedEvent, TargetedSubmitEvent } from "preact";
import { useEffect } from "preact/hooks";
import { said } from "./api.ts";
import { grouped } from "./format.ts";
import { paymentHref, route } from "./route.ts";
import { client, networkOf, noticed, nowMs, overview } from "./state.ts";
import { explorerLink, plain, shortId } from "./text.ts";
import type { Payment } from "./types.ts";
import { Ago, Id, Outside, Start, State, Table, Text, type Tone } from "./ui.tsx";

const STATUSES = ["pending", "settled", "failed", "expired", "reversed", "unknown"];
const FILTERS = ["q", "status", "network", "tenant", "payer", "payee"] as const;
const LIMIT = "50";
/** Seconds between two reads of the first page. */
const PERIOD_S = 4;

const TONES: Record<string, Tone> = { settled: "good", failed: "bad", reversed: "bad", expired: "warn", unknown: "warn" };

export function Status({ payment }: { payment: Payment }): JSX.Element {
  return (
    <>
      <State tone={TONES[payment.status] ?? "quiet"}>
        <Text of={payment.status} max={30} />
      </State>
      {payment.withheld === true && <span class="tag">withheld</span>}
      {payment.setAside === true && <span class="tag">set aside</span>}
    </>
  );
}

export function Transaction({ payment, transaction }: { payment: Payment; transaction: string | null | undefined }): JSX.Element {
  const link = explorerLink(networkOf(payment.network)?.explorer, transaction ?? "");
  return (
    <>
      <Id of={transaction} name="Transaction" /> {link !== null && <Outside href={link}>Explorer</Outside>}
    </>
  );
}

export function PaymentsView(): JSX.Element {
  const payments = useSignal<Payment[] | null>(null);
  const next = useSignal<string | null>(null);
  const error = useSignal<string | null>(null);
  const still = useSignal(false);
  const query = route.value.query;
  const pages = query.getAll("page");
  const key = query.toString();
  const first = pages.length === 0;
  // The first page is read again while it is open.
  const turn = first && !still.value ? Math.floor(nowMs.value / (PERIOD_S * 1000)) : 0;

  useEffect(() => {
    payments.value = null;
  }, [key]);
  useEffect(() => {
    const with_ = client.value;
    if (!with_) return undefined;
    const stop = new AbortController();
    const wanted = new URLSearchParams({ limit: LIMIT });
    for (const name of FILTERS) {
      const value = query.get(name)?.trim();
      if (value) wanted.set(name, value);
    }
    const cursor = pages.at(-1);
    if (cursor) wanted.set("cursor", cursor);
    with_
      .payments(wanted, stop.signal)
      .then((page) => {
        if (stop.signal.aborted) return;
        payments.value = page.payments;
        next.value = page.cursor;
        error.value = null;
      })
      .catch((failure: unknown) => {
        if (!stop.signal.aborted && !noticed(failure)) error.value = said(failure);
      });
    // A slow answer is not given up for the next turn, but for another page or filter.
    return () => {
      if (route.value.query.toString() !== key) stop.abort();
    };
  }, [key, turn, client.value]);

  const older = (): void => {
    if (next.value === null) return;
    const to = new URLSearchParams(query);
    to.append("page", next.value);
    window.location.hash = `#/payments?${to.toString()}`;
  };
  const newest = new URLSearchParams(query);
  newest.delete("page");
  return (
    <>
      <header class="section">
        <h1>Payments</h1>
        <label class="check">
          <input type="checkbox" checked={!still.value} onChange={(event) => (still.value = !event.currentTarget.checked)} /> Live
        </label>
      </header>
      <Filters query={query} key={`form ${key}`} />
      <div role="alert">
        {error.value !== null && (
          <p class="error">
            Not read: <Text of={error.value} max={500} />
          </p>
        )}
      </div>
      <div class="card wide">
        {payments.value === null ? (
          <p class="none">{error.value === null ? "Reading…" : "Nothing was read."}</p>
        ) : (
          <Table
            caption="Payments, the newest first"
            columns={columns()}
            rows={payments.value}
            id={(payment) => payment.id}
            empty={next.value === null ? "No payment matches." : "No payment of this page matches; older ones may."}
          />
        )}
      </div>
      <nav class="pages" aria-label="Pages of payments">
        {!first && <a href={`#/payments?${newest.toString()}`}>Newest</a>}
        {next.value !== null && (
          <button type="button" onClick={older}>
            Older payments
          </button>
        )}
      </nav>
    </>
  );
}

function columns(): Parameters<typeof Table<Payment>>[0]["columns"] {
  return [
    {
      head: "Payment",
      cell: (payment) => (
        <a href={paymentHref(payment.id)}>
          <Start of={shortId(payment.id) ?? payment.id} max={20} />
        </a>
      ),
    },
    { head: "Status", cell: (payment) => <Status payment={payment} /> },
    { head: "Recorded", cell: (payment) => <Ago ms={Date.parse(payment.createdAt)} /> },
    {
      head: "Network",
      cell: (payment) => (
        <>
          <Text of={networkOf(payment.network)?.title ?? payment.network} max={40} /> <small class="below"><Text of={payment.scheme} max={30} /></small>
        </>
      ),
    },
    {
      head: "Atomic units",
      number: true,
      cell: (payment) => (
        <>
          {payment.amount === undefined ? "–" : plain(grouped(payment.amount))} <small class="below"><Id of={payment.asset} name="Asset" /></small>
        </>
      ),
    },
    { head: "Payer", cell: (payment) => <Id of={payment.payer} name="Payer" /> },
    { head: "Payee", cell: (payment) => <Id of={payment.payTo} name="Payee" /> },
    { head: "Transaction", cell: (payment) => <Transaction payment={payment} transaction={payment.transaction} /> },
    ...((overview.value?.tenants.length ?? 0) > 0
      ? [{ head: "Tenant", cell: (payment: Payment) => (payment.tenant === undefined ? "–" : <Text of={payment.tenant} max={40} />) }]
      : []),
  ];
}

function Filters({ query }: { query: URLSearchParams }): JSX.Element {
  const apply = (form: HTMLFormElement): void => {
    const to = new URLSearchParams();
    const values = new FormData(form);
    for (const name of FILTERS) {
      const value = String(values.get(name) ?? "").trim();
      if (value !== "") to.set(name, value);
    }
    const text = to.toString();
    window.location.hash = text === "" ? "#/payments" : `#/payments?${text}`;
  };
  const submit = (event: TargetedSubmitEvent<HTMLFormElement>): void => {
    event.preventDefault();
    apply(event.currentTarget);
  };
  const choose = (event: TargetedEvent<HTMLSelectElement>): void => {
    if (event.currentTarget.form) apply(event.currentTarget.form);
  };
  const line = (name: string, label: string): JSX.Element => (
    <div class="field">
      <label for={`filter-${name}`}>{label}</label>
      <input id={`filter-${name}`} name={name} maxLength={512} defaultValue={query.get(name) ?? ""} autoComplete="off" spellcheck={false} />
    </div>
  );
  const options = (name: string, label: string, all: string, values: [string, string][]): JSX.Element => (
    <div class="field">
      <label for={`filter-${name}`}>{label}</label>
      <select id={`filter-${name}`} name={name} onChange={choose}>
        <option value="" selected={!query.get(name)}>
          {all}
        </option>
        {values.map(([value, text]) => (
          <option key={value} value={value} selected={query.get(name) === value}>
            {plain(text)}
          </option>
        ))}
      </select>
    </div>
  );
  const networks = overview.value?.networks ?? [];
  const tenants = overview.value?.tenants ?? [];
  return (
    <form class="filters" role="search" aria-label="Payments" onSubmit={submit}>
      {line("q", "Id, transaction or claim")}
      {options(
        "status",
        "Status",
        "every status",
        STATUSES.map((status) => [status, status]),
      )}
      {options(
        "network",
        "Network",
        "every network",
        networks.map((network) => [network.id, network.title]),
      )}
      {tenants.length > 0 &&
        options(
          "tenant",
          "Tenant",
          "every tenant",
          tenants.map((tenant) => [tenant.name, tenant.name]),
        )}
      {line("payer", "Payer")}
      {line("payee", "Payee")}
      <div class="buttons">
        <button type="submit" class="primary">
          Search
        </button>
        <a href="#/payments">Clear</a>
      </div>
    </form>
  );
}
