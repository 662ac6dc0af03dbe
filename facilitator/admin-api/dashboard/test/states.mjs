// Answers of a facilitator in several states, as the contract in facilitator/admin-api/src/view.rs has them.

export const BASE = "eip155:8453";
export const POLYGON = "eip155:137";
export const SOLANA = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp";
const USDC = "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913";
export const SIGNER = "0x9965507d1a55bcc2695c58ba16fb37d819b0a4dc";
export const OTHER = "0x15d34aaf54267db7d7c367839aaf71a00a2c6a65";
const NOW = Date.UTC(2026, 11, 1, 3, 12, 7);

export const totals = (settled, failed, more = {}) => ({
  fromMs: NOW - 86_400_000,
  complete: true,
  pending: 1,
  settled,
  failed,
  expired: 0,
  reversed: 0,
  unknown: 0,
  latencyMs: settled === 0 ? null : { p50: 2_140, p95: 4_870 },
  volume: settled === 0 ? [] : [{ network: BASE, asset: USDC, amount: "918273645546372819", payments: settled }],
  ...more,
});

const signer = (address, more = {}) => ({
  address,
  balance: "412345678901234567",
  canPay: true,
  state: "active",
  spentDay: "21000000000000000",
  daysLeft: 19,
  inFlight: 2,
  queued: 0,
  ...more,
});

const network = (id, title, more = {}) => ({
  id,
  title,
  explorer: "https://basescan.example/tx/{}",
  currency: { symbol: "ETH", decimals: 18 },
  ready: true,
  whyNot: null,
  schemes: [{ scheme: "exact", ready: true, paused: false, whyNot: null }],
  nodes: [
    { name: "rpc.one.example", trouble: null },
    { name: "rpc.two.example", trouble: null },
  ],
  signers: [signer(SIGNER), signer(OTHER, { balance: "9000000000000000000", daysLeft: null, spentDay: "0", inFlight: 0 })],
  openSlots: 2,
  pending: 1,
  oldestPendingS: 4,
  blockHeight: 38_420_117,
  totals: totals(18_204, 3),
  budget: { limit: "500000000000000000", spent: "21000000000000000" },
  ...more,
});

const plugin = (name, more = {}) => ({
  name,
  id: `switchyard-${name}`,
  version: "0.13.0",
  sha256: "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
  generation: 1,
  running: true,
  trouble: null,
  isolated: false,
  quarantine: null,
  ...more,
});

/** All well. */
export const well = () => ({
  atMs: NOW,
  version: "0.14.0",
  commit: "89acddc2c5f04aa1",
  startedAtMs: NOW - 93_784_000,
  role: "money",
  problems: [],
  networks: [
    network(BASE, "Base"),
    network(POLYGON, "Polygon", { currency: { symbol: "POL", decimals: 18 }, totals: totals(921, 0), blockHeight: 79_120_004, budget: null }),
    network(SOLANA, "Solana", {
      currency: { symbol: "SOL", decimals: 9 },
      explorer: "https://explorer.example/tx/{}",
      blockHeight: 384_020_551,
      budget: null,
      totals: totals(0, 0, { pending: 0 }),
      pending: 0,
      oldestPendingS: null,
      signers: [signer("9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin", { balance: "4120000000", spentDay: "1200000", daysLeft: 3433 })],
    }),
  ],
  plugins: [plugin("evm"), plugin("svm", { isolated: true })],
  tenants: [
    { name: "shop-one", keys: 1, origin: "file", totals: totals(12_000, 1) },
    { name: "shop-two", keys: 2, origin: "added", totals: totals(6_204, 2) },
  ],
  journal: { kind: "sqlite", whyNot: null, bytes: 812_000_000, diskFree: 71_000_000_000, diskTotal: 107_000_000_000, withheld: 0 },
  pauses: [],
  totals: totals(19_125, 3),
});

/** A drained signer, a dead node and a quarantined plugin: the state of "Done when". */
export const trouble = () => {
  const all = well();
  const [base, polygon] = all.networks;
  base.signers[0] = signer(SIGNER, { balance: "41000000000000", canPay: false, daysLeft: 0, queued: 3 });
  base.totals = totals(17_012, 96);
  polygon.ready = false;
  polygon.whyNot = "no node answers";
  polygon.nodes = [{ name: "rpc.polygon.example", trouble: "connection refused" }];
  polygon.schemes[0] = { scheme: "exact", ready: false, paused: false, whyNot: "the network is not ready" };
  all.plugins[1] = plugin("svm", {
    isolated: true,
    quarantine: "its process ended with SIGSEGV during verify of payment 7a1f; it runs in a process of its own",
  });
  all.totals = totals(17_933, 96);
  all.journal.diskFree = 31_000_000_000;
  all.problems = [
    {
      severity: "critical",
      network: POLYGON,
      about: "node rpc.polygon.example",
      what: "connection refused for 4 min; no other node answers, so the network takes no payments",
      runbook: "SwitchyardNetworkNotReady",
    },
    {
      severity: "critical",
      network: BASE,
      about: `signer ${SIGNER}`,
      what: "can't pay for a transaction: its balance is 0.000041 ETH, below max_cost; send it native currency",
      runbook: "SwitchyardSignerCannotPay",
    },
    {
      severity: "warning",
      network: SOLANA,
      about: "plugin svm",
      what: "in quarantine: its process ended with SIGSEGV during verify of payment 7a1f",
      runbook: "A plugin is in quarantine",
    },
  ];
  return all;
};

/** What an operator has done. */
export const paused = () => {
  const all = well();
  all.pauses = [
    { network: BASE, scheme: "exact", signer: null, reason: "the token was hacked", sinceMs: NOW - 720_000 },
    { network: BASE, scheme: null, signer: OTHER, reason: "key rotation", sinceMs: NOW - 7_200_000 },
    { network: null, scheme: null, signer: null, reason: "maintenance", sinceMs: NOW - 60_000 },
  ];
  all.networks[0].schemes[0].paused = true;
  all.networks[0].signers[1].state = "drained";
  return all;
};

export const MARKUP = '<img src=x onerror="document.title=`owned`"><script>document.title="owned"</script>';
export const RTL = "0xabc\u202e\u2066cba\u2069fdp.exe\u200b";
export const LONG = "A".repeat(10_000);
export const NUL = "before\u0000after\u001b[31m\ud800";
export const EMOJI = "👩‍👩‍👧‍👦🏳️‍🌈 e\u0301 " + "z\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307".repeat(40);
export const HOSTILE = [MARKUP, RTL, LONG, NUL, EMOJI];

/** Texts from outside that try to be more than texts. */
export const hostile = () => {
  const all = trouble();
  all.problems = HOSTILE.flatMap((text, at) => [
    { severity: at === 0 ? "critical" : "warning", network: BASE, about: text, what: text, runbook: null },
  ]);
  all.networks[0].title = MARKUP;
  all.networks[0].explorer = "javascript:alert(document.title='owned')//{}";
  all.networks[1].title = LONG;
  all.networks[0].nodes = HOSTILE.map((text) => ({ name: text, trouble: text }));
  all.networks[0].whyNot = LONG;
  all.networks[0].currency = { symbol: MARKUP, decimals: 18 };
  all.networks[1].whyNot = RTL;
  all.plugins = HOSTILE.map((text, at) => plugin(`p${at}`, { id: text, version: text, trouble: text }));
  all.tenants = HOSTILE.map((text) => ({ name: text, keys: 1, origin: "added", totals: totals(1, 0) }));
  all.pauses = HOSTILE.map((text) => ({ network: BASE, scheme: text, signer: null, reason: text, sinceMs: NOW }));
  all.journal.whyNot = MARKUP;
  return all;
};

/** Six hours in minutes. */
export const series = () => {
  const steps = 360;
  const list = (make) => Array.from({ length: steps }, (_, at) => make(at));
  return {
    fromMs: NOW - steps * 60_000,
    stepMs: 60_000,
    networks: [
      {
        id: BASE,
        settled: list((at) => 12 + Math.round(5 * Math.sin(at / 35)) - (at > 322 ? 8 : 0)),
        failed: list((at) => (at > 322 ? 3 + (at % 2) : at % 115 === 0 ? 1 : 0)),
        pending: list((at) => (at > 350 ? 1 : 0)),
        p95Ms: list((at) => 3_900 + 700 * Math.sin(at / 25) + (at > 322 ? 5_000 : 0)),
      },
      {
        id: POLYGON,
        settled: list((at) => (at > 340 ? 0 : 2 + ((at * 7) % 3))),
        failed: list((at) => (at > 340 ? at % 2 : 0)),
        pending: list(() => 0),
        p95Ms: list((at) => (at > 340 ? null : 2_400 + 30 * (at % 9))),
      },
      { id: SOLANA, settled: list(() => 0), failed: list(() => 0), pending: list(() => 0), p95Ms: list(() => null) },
    ],
  };
};

const HASH = "0x4c1d9a2be83f5706c4b8f2a1e5d0937c6b8a4f21d3e7590c8b6a2f4e1d3c5b79";

export const payment = (at, more = {}) => ({
  id: `pay_7a1f${String(at).padStart(4, "0")}c2d94be8`,
  status: ["settled", "settled", "pending", "failed", "expired"][at % 5],
  mayPayAgain: at % 5 > 2,
  transaction: at % 5 > 2 ? "" : HASH,
  network: BASE,
  scheme: "exact",
  payer: "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
  payTo: "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc",
  asset: USDC,
  amount: String(10_000n + BigInt(at) * 1_234_567n),
  released: at % 5 < 2,
  createdAt: new Date(NOW - at * 41_000).toISOString(),
  updatedAt: new Date(NOW - at * 40_000).toISOString(),
  claim: `claim-${at}`,
  generation: 0,
  tenant: at % 2 === 0 ? "shop-one" : "shop-two",
  ...more,
});

export const history = () => {
  const at = (s) => new Date(NOW - 60_000 + s * 1000).toISOString();
  return [
    { at: at(0), event: "opened", generation: 0 },
    { at: at(0.2), event: "prepared", step: 0, attempt: 7, transaction: HASH, kind: "Steps", signer: SIGNER, sequence: 412, maxCost: "180000000000000", bid: { maxFeePerGas: "0x3b9aca00" } },
    { at: at(0.31), event: "sent", transaction: HASH },
    { at: at(2.4), event: "paid", transaction: HASH, height: 38_420_101 },
    { at: at(2.4), event: "feePaid", transaction: HASH, fee: "61000000000000", node: "rpc.one.example" },
    { at: at(2.5), event: "released" },
    { at: at(20), event: "acted", by: "anna", act: "annotate", details: MARKUP },
    { at: at(21), event: "aNewEvent", what: "something that this page does not know" },
    { at: at(31), event: "finished" },
  ];
};

export const acts = () => ({
  acts: [
    { atMs: NOW - 720_000, by: "anna", act: "pause", details: "exact on eip155:8453: the token was hacked" },
    { atMs: NOW - 7_200_000, by: "ben", act: "annotate", details: MARKUP },
  ],
});
