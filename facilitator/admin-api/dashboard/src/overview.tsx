// The first view: what is wrong, then everything else from the networks down to the journal.

import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { addTenant, pause, reload, resume, resumeAll, retireTenant, rotateTenant, undrain } from "./actions.ts";
import { Do } from "./dialog.tsx";
import { age, bytes, counted, duration, grouped, successRate } from "./format.ts";
import { NetworkCard, partial } from "./network.tsx";
import { Problems } from "./problems.tsx";
import { route } from "./route.ts";
import { may, networkOf, overview, serverMs } from "./state.ts";
import type { Overview, Pause, Plugin, Tenant, Totals } from "./types.ts";
import { plain } from "./text.ts";
import { Ago, Fact, Id, State, Table, Text } from "./ui.tsx";

export function OverviewView(): JSX.Element {
  const wanted = route.value;
  useEffect(() => {
    if (wanted.name === "") return;
    const heading = document.getElementById(`network-${wanted.name}`);
    heading?.scrollIntoView({ block: "start" });
    heading?.focus({ preventScroll: true });
  }, [wanted]);
  const all = overview.value;
  if (!all) return <p class="none">Reading…</p>;
  return (
    <>
      <Problems />
      <Sums totals={all.totals} />
      {all.pauses.length > 0 && <Pauses pauses={all.pauses} />}
      <section aria-labelledby="networks-title">
        <header class="section">
          <h2 id="networks-title">Networks</h2>
          <Do action={pause(null, null)}>Pause everything…</Do>
        </header>
        <div class="cards">
          {all.networks.map((network) => (
            <NetworkCard key={network.id} network={network} />
          ))}
        </div>
      </section>
      <Plugins plugins={all.plugins} />
      <Tenants tenants={all.tenants} />
      <Process all={all} />
    </>
  );
}

function Sums({ totals }: { totals: Totals }): JSX.Element {
  return (
    <section aria-labelledby="sums-title" class="sums">
      <h2 id="sums-title">Last 24 hours{partial(totals)}</h2>
      <dl class="facts">
        <Fact name="Success">{successRate(totals) ?? "–"}</Fact>
        <Fact name="Settled">{grouped(totals.settled)}</Fact>
        <Fact name="Failed">{grouped(totals.failed)}</Fact>
        <Fact name="Expired">{grouped(totals.expired)}</Fact>
        <Fact name="Reversed">{grouped(totals.reversed)}</Fact>
        <Fact name="Pending">{grouped(totals.pending)}</Fact>
        <Fact name="Unknown">{grouped(totals.unknown)}</Fact>
        <Fact name="Latency p95">{totals.latencyMs ? duration(totals.latencyMs.p95) : "–"}</Fact>
      </dl>
    </section>
  );
}

function Pauses({ pauses }: { pauses: Pause[] }): JSX.Element {
  const network = (pause: Pause): string => (pause.network === null ? "every network" : (networkOf(pause.network)?.title ?? pause.network));
  return (
    <section aria-labelledby="pauses-title">
      <header class="section">
        <h2 id="pauses-title">Paused and drained by operators</h2>
        <Do action={resumeAll()}>Resume everything…</Do>
      </header>
      <div class="card">
        <Table
          caption="Pauses"
          columns={[
            { head: "Network", cell: (pause: Pause) => <Text of={network(pause)} max={60} /> },
            {
              head: "What",
              cell: (pause: Pause) =>
                pause.signer === null ? <Text of={pause.scheme ?? "every scheme"} max={60} /> : <Id of={pause.signer} name="Signer" />,
            },
            { head: "Reason", cell: (pause: Pause) => <Text of={pause.reason} max={160} /> },
            { head: "Since", cell: (pause: Pause) => <Ago ms={pause.sinceMs} /> },
            {
              head: "Actions",
              cell: (pause: Pause) => {
                if (pause.signer !== null) {
                  return pause.network !== null && <Do action={undrain(pause.network, network(pause), pause.signer)}>Use again…</Do>;
                }
                // The listener takes a request without both for "everything": the button above is for that.
                if (pause.network === null && pause.scheme === null) return null;
                return <Do action={resume(pause.network, pause.network && network(pause), pause.scheme)}>Resume…</Do>;
              },
            },
          ].filter((column) => column.head !== "Actions" || may("operate"))}
          rows={pauses}
          id={(pause) => `${pause.network} ${pause.scheme} ${pause.signer}`}
          empty="Nothing is paused."
        />
      </div>
    </section>
  );
}

function pluginState(plugin: Plugin): JSX.Element {
  if (!plugin.running) return <State tone="bad">Does not run</State>;
  if (plugin.quarantine !== null) return <State tone="warn">Quarantine</State>;
  return plugin.trouble === null ? <State tone="good">Runs</State> : <State tone="warn">Trouble</State>;
}

function Plugins({ plugins }: { plugins: Plugin[] }): JSX.Element {
  return (
    <section aria-labelledby="plugins-title">
      <header class="section">
        <h2 id="plugins-title">Plugins</h2>
        <Do action={reload()}>Reload…</Do>
      </header>
      <div class="card">
        <Table
          caption="Plugins"
          columns={[
            {
              head: "Plugin",
              cell: (plugin: Plugin) => (
                <>
                  <Text of={plugin.name} max={60} />{" "}
                  <small>
                    <Text of={plugin.id === plugin.name ? "" : plugin.id} max={60} />
                  </small>
                </>
              ),
            },
            { head: "State", cell: pluginState },
            { head: "Version", cell: (plugin: Plugin) => <Text of={plugin.version} max={30} /> },
            { head: "Generation", number: true, cell: (plugin: Plugin) => grouped(plugin.generation) },
            { head: "Process", cell: (plugin: Plugin) => (plugin.isolated ? "its own" : "the facilitator's") },
            { head: "SHA-256", cell: (plugin: Plugin) => <Id of={plugin.sha256} name="SHA-256" /> },
            {
              head: "What is wrong",
              cell: (plugin: Plugin) => {
                const wrong = [plugin.trouble, plugin.quarantine].filter((text) => text !== null).join("; ");
                return wrong === "" ? "nothing known" : <Text of={wrong} max={200} />;
              },
            },
          ]}
          rows={plugins}
          id={(plugin) => plugin.name}
          empty="No plugin is configured."
        />
      </div>
    </section>
  );
}

function Volumes({ totals }: { totals: Totals }): JSX.Element {
  if (totals.volume.length === 0) return <>none</>;
  const first = totals.volume.slice(0, 3);
  return (
    <ul class="volumes">
      {first.map((volume) => (
        <li key={`${volume.network} ${volume.asset}`}>
          {plain(grouped(volume.amount))} <span class="unit">atomic units of</span> <Id of={volume.asset} name="Asset" /> on{" "}
          <Text of={networkOf(volume.network)?.title ?? volume.network} max={40} />
        </li>
      ))}
      {totals.volume.length > first.length && <li>and {counted(totals.volume.length - first.length, "more asset")}</li>}
    </ul>
  );
}

function Tenants({ tenants }: { tenants: Tenant[] }): JSX.Element {
  return (
    <section aria-labelledby="tenants-title">
      <header class="section">
        <h2 id="tenants-title">Tenants</h2>
        <Do action={addTenant()}>Add a tenant…</Do>
      </header>
      <div class="card">
        <Table
          caption="Tenants and what they settled in the last 24 hours"
          columns={[
            { head: "Tenant", cell: (tenant: Tenant) => <Text of={tenant.name} max={60} /> },
            { head: "Settled, 24 h", number: true, cell: (tenant: Tenant) => `${grouped(tenant.totals.settled)}${partial(tenant.totals)}` },
            { head: "Success", number: true, cell: (tenant: Tenant) => successRate(tenant.totals) ?? "–" },
            { head: "Volume, 24 h", cell: (tenant: Tenant) => <Volumes totals={tenant.totals} /> },
            { head: "API keys", number: true, cell: (tenant: Tenant) => grouped(tenant.keys) },
            { head: "Comes from", cell: (tenant: Tenant) => (tenant.origin === "file" ? "configuration file" : "this page") },
            {
              head: "Actions",
              cell: (tenant: Tenant) =>
                tenant.origin === "added" && (
                  <span class="acts">
                    <Do action={rotateTenant(tenant)} label={`New key for ${plain(tenant.name)}`}>
                      New key…
                    </Do>
                    {tenant.keys > 1 && (
                      <Do action={retireTenant(tenant)} label={`Retire older keys of ${plain(tenant.name)}`}>
                        Retire older keys…
                      </Do>
                    )}
                  </span>
                ),
            },
          ].filter((column) => column.head !== "Actions" || may("money"))}
          rows={tenants}
          id={(tenant) => tenant.name}
          empty="No tenants: every caller is served without a key."
        />
      </div>
    </section>
  );
}

function Process({ all }: { all: Overview }): JSX.Element {
  const { journal } = all;
  const full =
    journal.diskFree !== null && journal.diskTotal ? Math.floor(((journal.diskTotal - journal.diskFree) * 100) / journal.diskTotal) : null;
  return (
    <section aria-labelledby="journal-title">
      <h2 id="journal-title">Journal and process</h2>
      <div class="card">
        {journal.whyNot !== null && (
          <p class="why">
            Nothing can be recorded: <Text of={journal.whyNot} max={220} />
          </p>
        )}
        <dl class="facts">
          <Fact name="Journal">
            <Text of={journal.kind} max={20} />
            {journal.bytes !== null && <small>{bytes(journal.bytes)}</small>}
          </Fact>
          <Fact name="Disk">
            {full === null || journal.diskFree === null ? "–" : `${full} % used`}
            {full !== null && journal.diskFree !== null && <small>{bytes(journal.diskFree)} free</small>}
            {full !== null && (
              <meter class="meter" min={0} max={100} high={90} optimum={0} value={full} aria-label="Disk of the data directory used">
                {full} %
              </meter>
            )}
          </Fact>
          <Fact name="Withheld releases">{grouped(journal.withheld)}</Fact>
          <Fact name="Version">
            <Text of={all.version} max={30} />
            {all.commit !== "" && (
              <small>
                <Text of={all.commit.slice(0, 12)} />
              </small>
            )}
          </Fact>
          <Fact name="Runs for">{age((serverMs.value - all.startedAtMs) / 1000)}</Fact>
        </dl>
      </div>
    </section>
  );
}
