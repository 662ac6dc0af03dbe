//! Reads the journal in pages and the chains in batches, and compares both.

use std::collections::{BTreeMap, BTreeSet};

use engine::registry::Network;
use journal::{JournalError, Rows, lookups, queries};
use sdk_plugin::Value;
use sdk_plugin::chain::{Lane, TxState, Watch};
use sdk_plugin::scheme::EvidenceWanted;

use super::Compared;
use super::claims::{self, Claims};
use super::compare::{self, Findings, Seen, Unread};
use crate::app::{Chains, JournalReader};
use crate::cli::CliError;
use crate::cli::payments::read_in;
use crate::cli::progress::Progress;

/// Settlements that are compared at once.
const PAGE: usize = 200;
/// Transactions in one request to a driver.
const BATCH: usize = 50;

pub(super) struct Comparison<'a> {
    /// Only this network.
    only: Option<&'a str>,
    journal: &'a JournalReader,
    chains: &'a Chains,
    compared: Compared,
    seen: Seen,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(only: Option<&'a str>, journal: &'a JournalReader, chains: &'a Chains) -> Self {
        Self {
            only,
            journal,
            chains,
            compared: Compared {
                found: Findings::default(),
                payments: 0,
                open: 0,
            },
            seen: Seen::default(),
        }
    }

    /// Compares the payments opened in this period, in milliseconds since the epoch.
    pub(super) async fn run(mut self, from_ms: u64, to_ms: u64) -> Result<Compared, CliError> {
        self.compare_lanes().await?;
        let mut progress = Progress::new();
        let mut after: Option<String> = None;
        loop {
            let (page, next) = read_in(self.journal, |rows| page(rows, from_ms, to_ms, after.as_deref()))?;
            let page: Vec<Claims> = page
                .into_iter()
                .filter(|claims| self.is_wanted(&claims.network))
                .collect();
            self.observe(&page).await;
            for claims in &page {
                self.compared.payments = self.compared.payments.saturating_add(1);
                if claims.is_open {
                    self.compared.open = self.compared.open.saturating_add(1);
                }
                compare::settlement(claims, &self.seen, &mut self.compared.found);
            }
            self.seen.clear();
            progress.show(|| {
                format!(
                    "{} payments compared, {} differences",
                    self.compared.payments,
                    self.compared.found.differences.len()
                )
            });
            after = next;
            if after.is_none() {
                return Ok(self.compared);
            }
        }
    }

    fn is_wanted(&self, network: &str) -> bool {
        self.only.is_none_or(|wanted| wanted == network)
    }

    /// Whether a signer has sent more than the journal knows. The chain is read first: what a running process sends
    /// meanwhile is in the journal then.
    async fn compare_lanes(&mut self) -> Result<(), CliError> {
        for network in self.chains.networks() {
            if !self.is_wanted(network.id()) {
                continue;
            }
            if let Err(why) = network.readiness() {
                self.unread(network.id(), format!("the network is not ready: {why}"));
                continue;
            }
            for lane in network.all_lanes().into_iter().filter(|lane| lane.ordered) {
                let state = match self.chains.lane(network, &lane).await {
                    Ok(state) => state,
                    Err(fault) => {
                        let why = format!(
                            "the nonce of {} could not be read: {}",
                            lane.signer, fault.message
                        );
                        self.unread(network.id(), why);
                        continue;
                    }
                };
                // A signer that the journal has never used may have been used elsewhere.
                let known = read_in(self.journal, |rows| {
                    queries::lane_next(rows, network.id(), &lane.signer)
                })?;
                let difference = known
                    .and_then(|known| compare::lane(network.id(), &lane.signer, known, state.next_sequence));
                self.compared.found.differences.extend(difference);
            }
        }
        Ok(())
    }

    fn unread(&mut self, network: &str, why: String) {
        self.compared.found.unread.push(Unread {
            network: network.to_owned(),
            payment: String::new(),
            transaction: String::new(),
            why,
        });
    }

    /// Reads where the transactions of these settlements are. What no node answers stays out.
    async fn observe(&mut self, page: &[Claims]) {
        let mut by_network: BTreeMap<&str, BTreeMap<String, Watch>> = BTreeMap::new();
        for claims in page {
            let watches = by_network.entry(&claims.network).or_default();
            for (key, claim) in &claims.claims {
                let watch = watch(&claims.network, &claim.tx_id, claim.slot.as_ref());
                watches.entry(key.clone()).or_insert(watch);
            }
            for slot in &claims.slots {
                for tx_id in &slot.transactions {
                    let place = (slot.lane.clone(), slot.sequence);
                    watches
                        .entry(tx_id.to_lowercase())
                        .or_insert_with(|| watch(&claims.network, tx_id, Some(&place)));
                }
            }
        }
        for (id, watches) in by_network {
            let Some(network) = self.chains.network(id).cloned() else {
                continue;
            };
            let watches: Vec<Watch> = watches.into_values().collect();
            for batch in watches.chunks(BATCH) {
                self.observe_batch(&network, batch).await;
                // A receipt that one node failed to give can't be distinguished from one that does not exist.
                let in_no_block = |watch: &&Watch| {
                    let seen = self.seen.get(id, &watch.tx_id);
                    seen.is_none_or(|seen| !is_in_block(&seen.state))
                };
                let again: Vec<Watch> = batch.iter().filter(in_no_block).cloned().collect();
                if !again.is_empty() {
                    self.observe_batch(&network, &again).await;
                }
            }
        }
    }

    async fn observe_batch(&mut self, network: &Network, batch: &[Watch]) {
        let Ok(observations) = self.chains.observe(network, batch).await else {
            return;
        };
        let known: BTreeSet<&str> = batch.iter().map(|watch| watch.attempt_id.as_str()).collect();
        for observation in observations {
            if known.contains(observation.attempt_id.as_str()) {
                let tx_id = observation.attempt_id.clone();
                self.seen.add(network.id(), &tx_id, observation);
            }
        }
    }
}

fn is_in_block(state: &TxState) -> bool {
    matches!(state, TxState::Landed { .. } | TxState::Reverted { .. })
}

/// Settlements of a period with what the journal says of them, and where the next page begins.
fn page(
    rows: &mut dyn Rows,
    from_ms: u64,
    to_ms: u64,
    after: Option<&str>,
) -> Result<(Vec<Claims>, Option<String>), JournalError> {
    let page = lookups::oldest_first(rows, from_ms, to_ms, after, PAGE)?;
    let mut all = Vec::new();
    for row in &page.rows {
        all.push(claims::of(rows, row)?);
    }
    Ok((all, page.cursor))
}

/// A complete poll of one transaction, which is named by its own id. Of one that is not in a slot of ours, no nonce can tell
/// anything.
fn watch(network: &str, tx_id: &str, slot: Option<&(Lane, u64)>) -> Watch {
    let (lane, sequence) = slot.cloned().unwrap_or_else(|| {
        let lane = Lane {
            network: network.to_owned(),
            signer: "0x0000000000000000000000000000000000000000".to_owned(),
            key: String::new(),
            ordered: false,
        };
        (lane, u64::MAX)
    });
    Watch {
        attempt_id: tx_id.to_owned(),
        tx_id: tx_id.to_owned(),
        read_guards: lane.ordered,
        lane,
        sequence,
        since_height: 0,
        evidence: vec![EvidenceWanted::default()],
        search_foreign: false,
        pool: true,
        block: None,
        by_block: false,
        final_at: None,
        whole_block: false,
        brief: false,
        terms: Value::Null,
    }
}
