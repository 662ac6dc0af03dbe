//! Everything at a glance.

use admin_api::view::{
    Budget, Currency, Journal, Network, Node, Overview, Pause, Plugin, Scheme, Signer, Tenant,
};
use base::clock::{Clock as _, SystemClock};
use base::nodes::NodePools as _;
use base::service::{NetworkReadiness, Service as _};
use engine::EngineService;
use engine::measure::{NetworkFigures, SignerFigures};
use http_api::redaction::redact;
use sdk_plugin::Amount;
use std::sync::Arc;

use super::{OperatorDesk, problems};

impl OperatorDesk {
    pub(super) fn make_overview(&self) -> Overview {
        let readiness = self.app.engine.readiness();
        let figures = self.app.engine.figures().into_iter();
        let networks = figures.map(|figures| {
            let ready = readiness.iter().find(|ready| ready.network == figures.network);
            self.network(figures, ready)
        });
        let networks: Vec<Network> = networks.collect();
        let plugins = self.app.plugin_states();
        let mut overview = Overview {
            at_ms: SystemClock.now_ms(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("SWITCHYARD_COMMIT").unwrap_or_default().to_owned(),
            started_at_ms: self.started_at_ms,
            role: "",
            problems: Vec::new(),
            networks,
            plugins,
            tenants: self.tenants(),
            journal: self.journal(),
            pauses: self.pauses(),
            totals: self.snapshot.read().totals(None, None),
        };
        overview.problems = problems::of(&overview, &readiness, &self.app.engine.paused());
        overview
    }

    fn network(&self, figures: NetworkFigures, ready: Option<&NetworkReadiness>) -> Network {
        let known = self.known.network(&figures.network);
        let scheme = |name: &str| ready.and_then(|ready| ready.schemes.iter().find(|one| one.scheme == name));
        let schemes = figures.schemes.iter().map(|one| {
            let check = scheme(&one.scheme);
            Scheme {
                scheme: one.scheme.clone(),
                ready: check.is_some_and(|check| check.ready),
                paused: one.is_paused,
                why_not: check.and_then(|check| check.why_not.as_deref()).map(redact),
            }
        });
        let nodes = self.app.rpc.nodes(&figures.network).into_iter().map(|node| Node {
            name: node.host,
            trouble: node.trouble.as_deref().map(redact),
        });
        let signers = figures.signers.iter();
        let totals = self.snapshot.read().totals(Some(&figures.network), None);
        Network {
            title: known.map_or_else(|| figures.network.clone(), |known| known.title.clone()),
            explorer: known
                .map(|known| known.explorer.clone())
                .filter(|explorer| !explorer.is_empty()),
            currency: known.map(|known| Currency {
                symbol: known.currency.symbol.clone(),
                decimals: known.currency.decimals,
            }),
            ready: ready.is_some_and(|ready| ready.ready),
            why_not: ready.and_then(|ready| ready.why_not.as_deref()).map(redact),
            schemes: schemes.collect(),
            nodes: nodes.collect(),
            signers: signers.map(|signer| self.signer(&figures, signer)).collect(),
            open_slots: count(figures.open_slots),
            pending: count(figures.open_payments),
            oldest_pending_s: figures.oldest_pending_s,
            block_height: figures.block_height.unwrap_or(0),
            totals,
            budget: budget(&figures),
            id: figures.network,
        }
    }

    fn signer(&self, network: &NetworkFigures, signer: &SignerFigures) -> Signer {
        let spent = self.spent.read();
        let of_signer = spent
            .iter()
            .find(|(on, address, _)| *on == network.network && *address == signer.address);
        let spent_day = of_signer.map_or(Amount::ZERO, |(_, _, amount)| *amount);
        let days = |balance: Amount| balance.0.checked_div(spent_day.0);
        let state = match (signer.is_active, signer.is_drained) {
            (false, _) => "retained",
            (true, true) => "drained",
            (true, false) => "active",
        };
        Signer {
            address: signer.address.clone(),
            balance: signer.balance.map(|balance| balance.to_string()),
            can_pay: signer.balance.is_none_or(|balance| balance >= network.max_cost),
            state,
            spent_day: spent_day.to_string(),
            days_left: signer
                .balance
                .and_then(days)
                .map(|days| u64::try_from(days).unwrap_or(u64::MAX)),
            in_flight: count(signer.in_flight),
            queued: count(signer.queued),
        }
    }

    fn tenants(&self) -> Vec<Tenant> {
        let snapshot = self.snapshot.read();
        let added = self.added.read();
        let tenants = self.app.tenants();
        let tenants = tenants.borrow();
        tenants
            .iter()
            .map(|tenant| Tenant {
                name: tenant.name.clone(),
                keys: count(tenant.key_sha256.len()),
                origin: if added.contains(&tenant.name) {
                    "added"
                } else {
                    "file"
                },
                totals: snapshot.totals(None, Some(&tenant.name)),
            })
            .collect()
    }

    fn journal(&self) -> Journal {
        let readiness = EngineService::new(Arc::clone(&self.app.engine)).journal();
        let space = *self.space.read();
        Journal {
            kind: if self.config.postgres.is_some() {
                "postgres"
            } else {
                "sqlite"
            },
            why_not: readiness.why_not.as_deref().map(redact),
            bytes: space.journal.filter(|_| self.config.postgres.is_none()),
            disk_free: space.free,
            disk_total: space.total,
            withheld: self.app.engine.withheld(),
        }
    }

    fn pauses(&self) -> Vec<Pause> {
        // A list that can't be read is a problem of its own.
        let pauses = self.app.engine.paused().into_list().unwrap_or_default();
        pauses
            .into_iter()
            .map(|pause| Pause {
                network: pause.network,
                scheme: pause.scheme,
                signer: pause.signer,
                reason: pause.reason,
                since_ms: pause.since_s.saturating_mul(1_000),
            })
            .collect()
    }
}

impl crate::app::App {
    fn plugin_states(&self) -> Vec<Plugin> {
        let states = self.reloader.plugins_shown();
        let quarantine = self.quarantine.lock();
        states
            .into_iter()
            .map(|mut plugin| {
                let quarantine = quarantine.as_ref();
                plugin.quarantine =
                    quarantine.and_then(|quarantine| quarantine.why(&plugin.name, &plugin.sha256));
                plugin
            })
            .collect()
    }
}

/// The budget of the whole network.
fn budget(figures: &NetworkFigures) -> Option<Budget> {
    let of_network = figures.budgets.iter().find(|budget| budget.budget == "network");
    of_network.map(|budget| Budget {
        limit: budget.limit.to_string(),
        spent: budget.spent.to_string(),
    })
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
