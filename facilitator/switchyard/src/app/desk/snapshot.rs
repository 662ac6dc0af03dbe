//! The sums at one moment, as readers get them.

use std::collections::BTreeMap;
use std::sync::Arc;

use admin_api::view::{Latency, NetworkSeries, Series, Totals, Volume};
use base::settlement::SettlementStatus;

use super::sums::{Labels, MINUTE_MS, Minutes, Sums, first_minute};

/// Steps of the plots: six hours.
const STEPS: u64 = 360;

/// What payments are added up to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    All,
    Network(Arc<str>),
    Tenant(Arc<str>),
}

/// The sums at one moment.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    from_ms: u64,
    to_minute: u64,
    is_complete: bool,
    minutes: Minutes,
    /// Added up once: every reader has the same sums. Those without a payment are left out.
    totals: BTreeMap<Of, Totals>,
}

impl Snapshot {
    /// `now_ms`: of the last update of the sums. `is_complete`: every payment of the window was read.
    pub(super) fn new(now_ms: u64, is_complete: bool, minutes: Minutes) -> Self {
        let mut day: BTreeMap<&Labels, Sums> = BTreeMap::new();
        for (labels, sums) in minutes.values().flatten() {
            day.entry(labels).or_default().merge(sums);
        }
        let mut groups: BTreeMap<Of, Vec<(&Labels, &Sums)>> = BTreeMap::new();
        for (labels, sums) in &day {
            let network = Of::Network(Arc::clone(&labels.network));
            let tenant = labels.tenant.clone().map(Of::Tenant);
            for of in [Of::All, network].into_iter().chain(tenant) {
                groups.entry(of).or_default().push((labels, sums));
            }
        }
        let mut snapshot = Self {
            from_ms: first_minute(now_ms).saturating_mul(MINUTE_MS),
            to_minute: now_ms / MINUTE_MS,
            is_complete,
            ..Self::default()
        };
        let totals = groups
            .iter()
            .map(|(of, parts)| (of.clone(), snapshot.total(parts)));
        snapshot.totals = totals.collect();
        snapshot.minutes = minutes;
        snapshot
    }

    fn total(&self, parts: &[(&Labels, &Sums)]) -> Totals {
        let mut all = Sums::default();
        let mut volume: BTreeMap<(&str, &str), Sums> = BTreeMap::new();
        for (labels, sums) in parts {
            all.merge(sums);
            let of_asset = (&*labels.network, &*labels.asset);
            volume.entry(of_asset).or_default().merge(sums);
        }
        let mut volume: Vec<Volume> = volume
            .into_iter()
            .map(|((network, asset), sums)| Volume {
                network: network.to_owned(),
                asset: asset.to_owned(),
                amount: sums.settled.to_string(),
                payments: sums.of(SettlementStatus::Settled),
            })
            .filter(|volume| volume.payments > 0)
            .collect();
        volume.sort_by_key(|volume| std::cmp::Reverse(volume.payments));
        let latency = all.percentile(500).zip(all.percentile(950));
        Totals {
            pending: all.of(SettlementStatus::Pending),
            settled: all.of(SettlementStatus::Settled),
            failed: all.of(SettlementStatus::Failed),
            expired: all.of(SettlementStatus::Expired),
            reversed: all.of(SettlementStatus::Reversed),
            unknown: all.of(SettlementStatus::Unknown),
            latency_ms: latency.map(|(p50, p95)| Latency { p50, p95 }),
            volume,
            ..self.nothing()
        }
    }

    fn nothing(&self) -> Totals {
        Totals {
            from_ms: self.from_ms,
            complete: self.is_complete,
            ..Totals::default()
        }
    }

    /// The payments of a network, or else of a tenant, or else all.
    pub(super) fn totals(&self, network: Option<&str>, tenant: Option<&str>) -> Totals {
        let of = match (network, tenant) {
            (Some(network), _) => Of::Network(network.into()),
            (None, Some(tenant)) => Of::Tenant(tenant.into()),
            (None, None) => Of::All,
        };
        self.totals.get(&of).cloned().unwrap_or_else(|| self.nothing())
    }

    /// The steps of these networks.
    pub(super) fn series(&self, networks: &[String]) -> Series {
        let first = self.to_minute.saturating_sub(STEPS.saturating_sub(1));
        let of = |id: &String| {
            let steps = (first..=self.to_minute).map(|minute| {
                let mut sums = Sums::default();
                let here = self.minutes.get(&minute).into_iter().flatten();
                here.filter(|(labels, _)| *labels.network == **id)
                    .for_each(|(_, more)| sums.merge(more));
                sums
            });
            let steps: Vec<Sums> = steps.collect();
            let count = |statuses: &[SettlementStatus]| {
                let of_step = |sums: &Sums| statuses.iter().map(|status| sums.of(*status)).sum();
                steps.iter().map(of_step).collect()
            };
            NetworkSeries {
                id: id.clone(),
                settled: count(&[SettlementStatus::Settled]),
                failed: count(&[
                    SettlementStatus::Failed,
                    SettlementStatus::Expired,
                    SettlementStatus::Reversed,
                ]),
                pending: count(&[SettlementStatus::Pending, SettlementStatus::Unknown]),
                p95_ms: steps.iter().map(|sums| sums.percentile(950)).collect(),
            }
        };
        Series {
            from_ms: first.saturating_mul(MINUTE_MS),
            step_ms: MINUTE_MS,
            networks: networks.iter().map(of).collect(),
        }
    }
}
