//! What operators see of the engine, and what they have it do beyond a reload.

use std::sync::Arc;

use base::allowed_releases::{self as allowed, AllowedRelease};
use base::pause::Paused;
use journal::SettlementRow;
use journal::settings::RELEASES_ALLOWED;
use sdk_plugin::Amount;

use crate::engine::Engine;

/// A signer of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerState {
    pub address: String,
    /// Native atomic units at the last check; `None`: not known yet.
    pub balance: Option<Amount>,
    /// It is among the configured `signers`, not among `retained_signers`.
    pub is_active: bool,
    /// An operator has drained it.
    pub is_drained: bool,
    /// Transactions that have not landed.
    pub in_flight: usize,
    /// Payments that wait for it.
    pub waiting: usize,
}

/// A scheme of a network that serves or would serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemeState {
    pub scheme: String,
    pub is_paused: bool,
}

/// What is known of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDesk {
    /// CAIP-2.
    pub id: String,
    /// The most that one transaction may cost, native atomic units.
    pub max_cost: Amount,
    /// Transactions that are recorded and not final.
    pub open_slots: usize,
    pub signers: Vec<SignerState>,
    pub schemes: Vec<SchemeState>,
}

impl Engine {
    /// Every network, in the order of their ids. Reads memory only.
    #[must_use]
    pub fn desk(&self) -> Vec<NetworkDesk> {
        let paused = self.runtime.paused();
        let networks = self.runtime.networks.values();
        networks
            .map(|run| {
                let network = &run.network;
                let active = network.active_signers();
                let drained = network.drained();
                let signers = network.all_lanes().into_iter().map(|lane| {
                    let handle = run.lane(&lane.signer);
                    SignerState {
                        balance: run.balance_of(&lane.signer),
                        is_active: active.contains(&lane.signer),
                        is_drained: drained.contains(&lane.signer),
                        in_flight: run.in_flight(&lane.signer),
                        waiting: handle.map_or(0, |handle| handle.waiting()),
                        address: lane.signer,
                    }
                });
                let mut schemes: Vec<SchemeState> = Vec::new();
                for kind in self.runtime.registry.kinds() {
                    let is_known = schemes.iter().any(|known| known.scheme == kind.scheme);
                    if kind.network.id() == network.id() && !is_known {
                        schemes.push(SchemeState {
                            scheme: kind.scheme.clone(),
                            is_paused: paused.stops(network.id(), &kind.scheme),
                        });
                    }
                }
                NetworkDesk {
                    id: network.id().to_owned(),
                    max_cost: network.settings.max_cost,
                    open_slots: run.slots().len(),
                    signers: signers.collect(),
                    schemes,
                }
            })
            .collect()
    }

    /// Releases that are withheld, as of the last change.
    #[must_use]
    pub fn withheld(&self) -> u64 {
        self.outcomes
            .withheld_now
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// What is paused and drained.
    #[must_use]
    pub fn paused(&self) -> Paused {
        self.runtime.paused()
    }

    /// Applies what an operator has written, without waiting for the next read.
    pub fn set_paused(&self, paused: Paused) {
        self.runtime.set_paused(paused);
    }

    /// Has the chain read at once for a settlement. `false`: this process does not watch it, because it is finished or another
    /// node continues it.
    #[must_use]
    pub fn sync(&self, settlement: &SettlementRow) -> bool {
        let holders = self.runtime.claims.holders();
        let Some(holder) = holders.into_iter().find(|holder| holder.id == settlement.id) else {
            return false;
        };
        let run = self.runtime.run_of(&settlement.network);
        run.map(|run| run.poll_now(&holder)).is_some()
    }

    /// Lets the next equal request of a settlement get `success` although its release is withheld. The error is a text for the
    /// operator.
    pub async fn allow_release(self: &Arc<Self>, settlement: &SettlementRow) -> Result<(), String> {
        let release = AllowedRelease {
            settlement: settlement.id,
            claim: settlement.claim.clone(),
        };
        let Some(shared) = self.runtime.journal.shared() else {
            let allowed = self.outcomes.allow_releases(&[release]).await;
            return allowed.map_err(|error| error.to_string());
        };
        // Other nodes have it in memory too: all of them follow the list in the database.
        let settings = shared.settings().await.map_err(|error| error.to_string())?;
        let seen = settings.get(RELEASES_ALLOWED);
        let mut list = seen.and_then(|text| allowed::from_text(text)).unwrap_or_default();
        list.push(release);
        let text = allowed::to_text(&list).map_err(|error| error.to_string())?;
        let put = shared.put_setting(RELEASES_ALLOWED, seen.map(String::as_str), &text);
        if !put.await.map_err(|error| error.to_string())? {
            return Err("another operator has changed the list at this moment; do it again".to_owned());
        }
        self.outcomes.take_allowed_of_all(shared).await
    }
}
