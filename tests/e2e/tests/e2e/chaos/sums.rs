//! After a chaos run: every node's dashboard has the sums of the journal, and the journal those of the chain.

use std::collections::BTreeMap;

use e2e::facilitator::Facilitator;
use e2e::http::Client;
use e2e::wait;
use serde_json::Value;

use super::Chaos;
use crate::admin::VIEW;

/// Payments by status, and what the settled ones moved, in atomic units.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    by_status: BTreeMap<String, u64>,
    volume: u128,
}

const STATUSES: [&str; 6] = ["pending", "settled", "failed", "expired", "reversed", "unknown"];

fn amount(of: &Value) -> u128 {
    of["amount"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no amount: {of}"))
}

/// What `switchyard payments` reads from the journal.
fn of_the_journal(node: &Facilitator) -> Sums {
    let (good, text) = node.command(&["payments", "--limit", "0", "--json"]);
    assert!(good, "{text}");
    let mut sums = Sums::default();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let payment: Value = serde_json::from_str(line).expect("an object");
        let status = payment["status"].as_str().expect("a status").to_owned();
        if status == "settled" {
            sums.volume += amount(&payment);
        }
        *sums.by_status.entry(status).or_default() += 1;
    }
    sums
}

/// What a node's dashboard shows of the last day. `None`: it still reads.
fn of_the_dashboard(node: &Facilitator) -> Option<Sums> {
    let log = node.log();
    let line = log.lines().rfind(|line| line.contains("admin listens on"))?;
    let url = line.split("admin listens on ").nth(1)?.trim();
    let bearer = format!("Bearer {VIEW}");
    let headers = [("authorization", bearer.as_str())];
    let reply = Client::new(url)
        .send("GET", "/api/overview", b"", &headers)
        .ok()?;
    let totals = &reply.json["totals"];
    if totals["complete"] != true {
        return None;
    }
    let volumes = totals["volume"].as_array()?;
    let by_status = STATUSES.into_iter().filter_map(|status| {
        let count = totals[status].as_u64().filter(|count| *count > 0)?;
        Some((status.to_owned(), count))
    });
    Some(Sums {
        by_status: by_status.collect(),
        volume: volumes.iter().map(amount).sum(),
    })
}

impl Chaos<'_> {
    /// # Panics
    /// When two of them differ, and stay so.
    pub(super) fn sums_agree(&self) {
        let used = self.used();
        let settled: usize = used.values().sum();
        let earned = self.world.earned();
        let journal = wait::until("the journal has the sums of the chain", wait::LONG, || {
            let sums = of_the_journal(&self.world.facilitator);
            let has_all = sums.by_status.get("settled").copied() == u64::try_from(settled).ok();
            (has_all && sums.volume == earned && !sums.by_status.contains_key("pending")).then_some(sums)
        });
        for at in 0..self.count() {
            let node = self.node(at);
            let mut shown = None;
            let agrees = || {
                shown = of_the_dashboard(node);
                (shown.as_ref() == Some(&journal)).then_some(())
            };
            let agreed = wait::try_until(wait::LONG, agrees);
            assert!(
                agreed.is_some(),
                "node {at}: {shown:?}, and the journal: {journal:?}"
            );
        }
        println!(
            "the chain, the journal and {} dashboards agree: {journal:?}",
            self.count()
        );
    }
}
