// The answers of the admin listener. The truth is facilitator/admin-api/src/view.rs.

export type Role = "view" | "operate" | "money";
export type Severity = "critical" | "warning" | "notice";

export interface Overview {
  atMs: number;
  version: string;
  commit: string;
  startedAtMs: number;
  role: Role;
  problems: Problem[];
  networks: Network[];
  plugins: Plugin[];
  tenants: Tenant[];
  journal: Journal;
  pauses: Pause[];
  totals: Totals;
}

export interface Problem {
  severity: Severity;
  network: string | null;
  about: string;
  what: string;
  runbook: string | null;
}

export interface Network {
  id: string;
  title: string;
  explorer: string | null;
  currency: Currency | null;
  ready: boolean;
  whyNot: string | null;
  schemes: Scheme[];
  nodes: ChainNode[];
  signers: Signer[];
  openSlots: number;
  pending: number;
  oldestPendingS: number | null;
  blockHeight: number;
  totals: Totals;
  budget: Budget | null;
}

export interface Currency {
  symbol: string;
  decimals: number;
}

export interface Scheme {
  scheme: string;
  ready: boolean;
  paused: boolean;
  whyNot: string | null;
}

export interface ChainNode {
  name: string;
  trouble: string | null;
}

export interface Signer {
  address: string;
  balance: string | null;
  canPay: boolean;
  state: string;
  spentDay: string;
  daysLeft: number | null;
  inFlight: number;
  queued: number;
}

export interface Budget {
  limit: string;
  spent: string;
}

export interface Plugin {
  name: string;
  id: string;
  version: string;
  sha256: string;
  networks: string[];
  generation: number;
  running: boolean;
  trouble: string | null;
  isolated: boolean;
  quarantine: string | null;
}

export interface Tenant {
  name: string;
  keys: number;
  origin: string;
  totals: Totals;
}

export interface Journal {
  kind: string;
  whyNot: string | null;
  bytes: number | null;
  diskFree: number | null;
  diskTotal: number | null;
  withheld: number;
}

export interface Pause {
  network: string | null;
  scheme: string | null;
  signer: string | null;
  reason: string;
  sinceMs: number;
}

export interface Totals {
  fromMs: number;
  complete: boolean;
  pending: number;
  settled: number;
  failed: number;
  expired: number;
  reversed: number;
  unknown: number;
  latencyMs: { p50: number; p95: number } | null;
  volume: Volume[];
}

export interface Volume {
  network: string;
  asset: string;
  amount: string;
  payments: number;
}

export interface Series {
  fromMs: number;
  stepMs: number;
  networks: NetworkSeries[];
}

export interface NetworkSeries {
  id: string;
  settled: number[];
  failed: number[];
  pending: number[];
  p95Ms: (number | null)[];
}

export interface Payment {
  id: string;
  status: string;
  network: string;
  scheme: string;
  transaction?: string | null;
  payer?: string | null;
  payTo?: string | null;
  asset?: string | null;
  amount?: string;
  createdAt: string;
  tenant?: string;
  claim?: string;
  withheld?: unknown;
  setAside?: unknown;
  history?: HistoryEvent[];
  [member: string]: unknown;
}

export interface HistoryEvent {
  at: string;
  event: string;
  [member: string]: unknown;
}

export interface Payments {
  payments: Payment[];
  cursor: string | null;
}

export interface Explained {
  payments: Payment[];
}

export interface Act {
  atMs: number;
  by: string;
  act: string;
  details: string;
}

export interface Acts {
  acts: Act[];
}

export interface Done {
  done: string[];
  failed?: string[];
  apiKey?: string;
}
