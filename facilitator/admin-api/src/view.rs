//! What the admin listener shows. Everything may be shown to every operator: no payload bytes, no URL of a node, no key.
//!
//! Texts may come from outside (payers, plugins, nodes): a page must show them as text. Amounts are decimal strings of atomic
//! units.

use serde::Serialize;
use serde_json::Value;

/// `GET /api/overview`, and each line of `GET /api/stream`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// When it was read, milliseconds since the epoch.
    pub at_ms: u64,
    pub version: String,
    /// Empty: built without one.
    pub commit: String,
    /// When the process started, milliseconds since the epoch.
    pub started_at_ms: u64,
    /// The role of the token that reads this.
    pub role: &'static str,
    /// What needs a person, the worst first.
    pub problems: Vec<Problem>,
    pub networks: Vec<Network>,
    pub plugins: Vec<Plugin>,
    pub tenants: Vec<Tenant>,
    pub journal: Journal,
    pub pauses: Vec<Pause>,
    /// Payments of the last 24 hours.
    pub totals: Totals,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Payments fail or wait because of it.
    Critical,
    /// It will hurt, or hurts a part.
    Warning,
    /// An operator has done it: a pause, a drained signer.
    Notice,
}

/// One sentence about something that needs a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    pub severity: Severity,
    /// CAIP-2; `None`: it is about no network alone.
    pub network: Option<String>,
    /// What it is about, for instance `signer 0x…`, `node rpc.example`, `plugin evm`, `journal`.
    pub about: String,
    pub what: String,
    /// The heading in the runbook, as an anchor; `None`: the sentence says all.
    pub runbook: Option<&'static str>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// CAIP-2.
    pub id: String,
    /// For people: `Base`; the id where the network is not known.
    pub title: String,
    /// A template with `{}` for a transaction's id; `None`: not known.
    pub explorer: Option<String>,
    /// Of the native currency; `None`: not known.
    pub currency: Option<Currency>,
    pub ready: bool,
    pub why_not: Option<String>,
    pub schemes: Vec<Scheme>,
    pub nodes: Vec<Node>,
    pub signers: Vec<Signer>,
    /// Transactions that are recorded and not final.
    pub open_slots: u64,
    /// Payments without an outcome.
    pub pending: u64,
    /// Age of the oldest payment without an outcome, seconds.
    pub oldest_pending_s: Option<u64>,
    /// Height of the newest block that a node has named; 0: none yet.
    pub block_height: u64,
    /// Payments of the last 24 hours.
    pub totals: Totals,
    /// The budget of the day (UTC), in native atomic units.
    pub budget: Option<Budget>,
}

/// A currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Currency {
    pub symbol: String,
    pub decimals: u32,
}

/// A scheme on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scheme {
    pub scheme: String,
    pub ready: bool,
    pub paused: bool,
    pub why_not: Option<String>,
}

/// A node of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name or host name, never its URL.
    pub name: String,
    /// `None`: it answers.
    pub trouble: Option<String>,
}

/// A signer of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Signer {
    pub address: String,
    /// Native atomic units; `None`: not read yet.
    pub balance: Option<String>,
    /// Whether its balance is at least `max_cost`.
    pub can_pay: bool,
    /// `active`, `drained` (by an operator) or `retained` (by the configuration).
    pub state: &'static str,
    /// The most that its transactions of the last 24 hours can have cost, native atomic units.
    pub spent_day: String,
    /// How many days the balance lasts at that rate, rounded down; `None`: it spends nothing, or its balance is not known.
    pub days_left: Option<u64>,
    /// Transactions that have not landed.
    pub in_flight: u64,
    /// Payments that wait for it.
    pub queued: u64,
}

/// A budget of a day (UTC), in native atomic units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Budget {
    pub limit: String,
    pub spent: String,
}

/// A plugin instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plugin {
    /// As configured: `[plugin.NAME]`.
    pub name: String,
    /// Id and version of its manifest.
    pub id: String,
    pub version: String,
    /// Hex.
    pub sha256: String,
    /// CAIP-2: those that it serves.
    pub networks: Vec<String>,
    /// 1, and one more for each reload that replaced it.
    pub generation: u32,
    /// Whether it runs.
    pub running: bool,
    /// Why it does not run, or what is wrong with it.
    pub trouble: Option<String>,
    /// It runs in a process of its own.
    pub isolated: bool,
    /// Why it was put into quarantine: it ended a process.
    pub quarantine: Option<String>,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    pub name: String,
    /// How many API keys are valid.
    pub keys: u64,
    /// `file`: it is in the configuration file; `added`: it was added on this listener.
    pub origin: &'static str,
    /// Payments of the last 24 hours.
    pub totals: Totals,
}

/// The journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Journal {
    /// `sqlite` or `postgres`.
    pub kind: &'static str,
    /// Why nothing can be recorded now.
    pub why_not: Option<String>,
    /// Bytes of the journal's files; `None`: they are a database's.
    pub bytes: Option<u64>,
    /// Of the data directory's disk, bytes.
    pub disk_free: Option<u64>,
    pub disk_total: Option<u64>,
    /// Releases that are withheld because the journal may be an old copy.
    pub withheld: u64,
}

/// What an operator has paused. With a signer: the signer is drained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    pub network: Option<String>,
    pub scheme: Option<String>,
    pub signer: Option<String>,
    pub reason: String,
    /// Milliseconds since the epoch.
    pub since_ms: u64,
}

/// Sums of payments that were opened within a window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Milliseconds since the epoch: payments opened at or after this count.
    pub from_ms: u64,
    /// Whether every payment of the window was read; while the start is read, and beyond a limit, the newest are.
    pub complete: bool,
    pub pending: u64,
    pub settled: u64,
    pub failed: u64,
    pub expired: u64,
    pub reversed: u64,
    pub unknown: u64,
    /// From the record of a payment to its outcome: milliseconds, of the payments that settled.
    pub latency_ms: Option<Latency>,
    /// What was settled, by asset: the largest count first.
    pub volume: Vec<Volume>,
}

/// A distribution of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Latency {
    pub p50: u64,
    pub p95: u64,
}

/// The settled payments of one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// CAIP-2.
    pub network: String,
    pub asset: String,
    /// Atomic units of the asset.
    pub amount: String,
    pub payments: u64,
}

/// `GET /api/series`: the last hours in steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// Start of the first step, milliseconds since the epoch.
    pub from_ms: u64,
    pub step_ms: u64,
    /// By network, in the order of the overview.
    pub networks: Vec<NetworkSeries>,
}

/// One network's steps. All lists are of one length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkSeries {
    pub id: String,
    /// Payments opened in the step, by what became of them.
    pub settled: Vec<u64>,
    /// Failed, expired and reversed.
    pub failed: Vec<u64>,
    /// Pending and unknown.
    pub pending: Vec<u64>,
    /// 95th percentile of the time to the outcome, milliseconds; `None`: none settled.
    pub p95_ms: Vec<Option<u64>>,
}

/// `GET /api/payments`: one page, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Payments {
    /// Each as the look-up over HTTP shows it, and what only operators see: `claim`, `generation`, `tenant`, `setAside`, `withheld`.
    pub payments: Vec<Value>,
    /// For the member `cursor` of the next request; `None`: this is the end.
    pub cursor: Option<String>,
}

/// `GET /api/payments/{name}`: the payments of a name (an id, a transaction or a claim), the oldest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    /// As in [`Payments::payments`], with the member `history`: events in the order in which they were recorded, each with `at`,
    /// `event` and what the event has.
    pub payments: Vec<Value>,
}

/// `GET /api/log`: what operators have done, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Acts {
    pub acts: Vec<Act>,
}

/// One thing that an operator has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Act {
    pub at_ms: u64,
    /// Name of the token.
    pub by: String,
    /// For instance `pause`.
    pub act: String,
    pub details: String,
}

/// The answer to a change: what was done, in sentences.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    pub done: Vec<String>,
    /// What was not done although the rest was, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
    /// A new API key. It is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
}
