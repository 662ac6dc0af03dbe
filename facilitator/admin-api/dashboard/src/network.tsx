// One network: everything about it in one card.

import type { JSX } from "preact";
import { drain, pause, resume, undrain } from "./actions.ts";
import { Do } from "./dialog.tsx";
import { age, counted, days, duration, grouped, percentUsed, successRate, units } from "./format.ts";
import { Plots } from "./plot.tsx";
import { overview, series } from "./state.ts";
import type { Currency, Network, Scheme, Signer, Totals } from "./types.ts";
import { Fact, Id, State, Table, Text } from "./ui.tsx";
import { plain, visible } from "./text.ts";

export function amountIn(currency: Currency | null, atomic: string): string {
  if (!currency) return `${plain(grouped(atomic))} atomic units`;
  return `${plain(units(atomic, currency.decimals))} ${plain(currency.symbol)}`;
}

/** Sums that do not hold every payment of the window say so. */
export function partial(totals: Totals): string {
  return totals.complete ? "" : " (not all read)";
}

function isPaused(network: Network, scheme: string | null): boolean {
  const pauses = overview.value?.pauses ?? [];
  return pauses.some((one) => one.signer === null && one.network === network.id && one.scheme === scheme);
}

export function NetworkCard({ network }: { network: Network }): JSX.Element {
  const answering = network.nodes.filter((node) => node.trouble === null);
  const troubled = network.nodes.length - answering.length;
  const plotted = series.value?.networks.find((one) => one.id === network.id);
  const { totals, budget } = network;
  const bad = totals.failed + totals.expired + totals.reversed;
  const used = budget ? percentUsed(budget.spent, budget.limit) : null;
  const heading = `network-${network.id}`;
  const name = plain(network.title);
  return (
    <article class="card network-card" aria-labelledby={heading} data-network={network.id}>
      <header>
        <h3 id={heading} tabIndex={-1}>
          <Text of={network.title} max={60} />
          {network.title !== network.id && (
            <small>
              <Text of={network.id} max={60} />
            </small>
          )}
        </h3>
        {network.ready ? <State tone="good">Ready</State> : <State tone="bad">Not ready</State>}
        <span class="acts">
          {isPaused(network, null) ? (
            <Do action={resume(network.id, network.title, null)} label={`Resume ${name}`}>
              Resume…
            </Do>
          ) : (
            <Do action={pause(network, null)} label={`Pause ${name}`}>
              Pause…
            </Do>
          )}
        </span>
      </header>
      {network.whyNot !== null && (
        <p class="why">
          <Text of={network.whyNot} max={220} />
        </p>
      )}
      <dl class="facts">
        <Fact name="Success, 24 h">
          {successRate(totals) ?? "–"}
          <small>
            {grouped(totals.settled)} settled, {grouped(bad)} failed{partial(totals)}
          </small>
        </Fact>
        <Fact name="Latency p95">
          {totals.latencyMs ? duration(totals.latencyMs.p95) : "–"}
          {totals.latencyMs && <small>p50 {duration(totals.latencyMs.p50)}</small>}
        </Fact>
        <Fact name="Without outcome">
          {grouped(network.pending)}
          {network.oldestPendingS !== null && <small>oldest {age(network.oldestPendingS)}</small>}
        </Fact>
        <Fact name="Open transactions">{grouped(network.openSlots)}</Fact>
        <Fact name="Block height">{network.blockHeight === 0 ? "–" : grouped(network.blockHeight)}</Fact>
        {budget && (
          <Fact name="Budget today">
            {used === null ? "–" : `${used} % used`}
            <small>
              {amountIn(network.currency, budget.spent)} of {amountIn(network.currency, budget.limit)}
            </small>
            {used !== null && (
              <meter class="meter" min={0} max={100} high={80} optimum={0} value={Math.min(100, used)} aria-label={`Budget of ${name} used today`}>
                {used} %
              </meter>
            )}
          </Fact>
        )}
      </dl>
      <h4>Schemes</h4>
      <ul class="rows">
        {network.schemes.map((scheme) => (
          <SchemeRow key={scheme.scheme} network={network} scheme={scheme} />
        ))}
        {network.schemes.length === 0 && <li class="none">No scheme is served.</li>}
      </ul>
      <h4>
        Nodes{" "}
        <small>
          {troubled === 0 ? `${counted(network.nodes.length, "node")}, no trouble known` : `${troubled} of ${network.nodes.length} with trouble`}
        </small>
      </h4>
      <ul class="rows">
        {network.nodes
          .filter((node) => node.trouble !== null)
          .map((node, at) => (
            <li key={`${at} ${node.name}`}>
              <State tone="bad">Trouble</State>{" "}
              <b>
                <Text of={node.name} max={60} />
              </b>{" "}
              <Text of={node.trouble} max={160} />
            </li>
          ))}
        {answering.length > 0 && (
          <li>
            <State tone="good">Answers</State>
            {answering.map((node, at) => (
              <b key={`${at} ${node.name}`}>
                <Text of={node.name} max={60} />
              </b>
            ))}
          </li>
        )}
      </ul>
      <h4>Signers</h4>
      <Signers network={network} />
      {series.value && plotted && (
        <>
          <h4>Last hours</h4>
          <Plots series={series.value} of={plotted} title={name} />
        </>
      )}
    </article>
  );
}

function SchemeRow({ network, scheme }: { network: Network; scheme: Scheme }): JSX.Element {
  const about = `${plain(scheme.scheme)} on ${plain(network.title)}`;
  return (
    <li>
      {scheme.paused ? <State tone="quiet">Paused</State> : scheme.ready ? <State tone="good">Ready</State> : <State tone="bad">Not ready</State>}{" "}
      <b>
        <Text of={scheme.scheme} max={60} />
      </b>{" "}
      {scheme.whyNot !== null && <Text of={scheme.whyNot} max={160} />}
      <span class="acts">
        {isPaused(network, scheme.scheme) ? (
          <Do action={resume(network.id, network.title, scheme.scheme)} label={`Resume ${about}`}>
            Resume…
          </Do>
        ) : (
          !scheme.paused && (
            <Do action={pause(network, scheme.scheme)} label={`Pause ${about}`}>
              Pause…
            </Do>
          )
        )}
      </span>
    </li>
  );
}

function signerState(signer: Signer): JSX.Element {
  if (signer.state === "drained") return <State tone="quiet">Drained</State>;
  if (signer.state === "retained") return <State tone="quiet">Retained</State>;
  return signer.canPay ? <State tone="good">Can pay</State> : <State tone="bad">Can't pay</State>;
}

function Signers({ network }: { network: Network }): JSX.Element {
  const { currency } = network;
  return (
    <Table
      caption={`Signers of ${plain(network.title)}`}
      columns={[
        { head: "Signer", cell: (signer: Signer) => <Id of={signer.address} name="Signer" /> },
        { head: "State", cell: signerState },
        { head: "Balance", number: true, cell: (signer: Signer) => (signer.balance === null ? "not read" : amountIn(currency, signer.balance)) },
        { head: "Spent, 24 h", number: true, cell: (signer: Signer) => amountIn(currency, signer.spentDay) },
        { head: "Lasts", number: true, cell: (signer: Signer) => (signer.daysLeft === null ? "–" : days(signer.daysLeft)) },
        { head: "In flight", number: true, cell: (signer: Signer) => grouped(signer.inFlight) },
        { head: "Queue", number: true, cell: (signer: Signer) => grouped(signer.queued) },
        {
          head: "Actions",
          cell: (signer: Signer) =>
            signer.state === "drained" ? (
              <Do action={undrain(network.id, network.title, signer.address)} label={`Use again: signer ${visible(signer.address)}`}>
                Use again…
              </Do>
            ) : (
              signer.state === "active" && (
                <Do action={drain(network, signer.address)} label={`Drain signer ${visible(signer.address)}`}>
                  Drain…
                </Do>
              )
            ),
        },
      ].filter((column) => column.head !== "Actions" || overview.value?.role !== "view")}
      rows={network.signers}
      id={(signer) => signer.address}
      empty="No signers."
    />
  );
}
