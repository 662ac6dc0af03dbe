//! A payment names a signer until a date: without its key the process does not start before that date.

use crate::decide::plan_check_tests::{instance, settings};
use crate::registry::{Network, Registry};
use crate::{Budgets, Engine, Ops, Parts, ResumeError};
use std::sync::Arc;

use sdk_plugin::chain::{
    Attempt, Bid, Built, KeyInfo, Lane, LaneState, Network as ChainNetwork, Observation, Readiness, Sent,
    Slot, Watch,
};
use sdk_plugin::host::Suite;
use sdk_plugin::scheme::{Hold, Step};
use sdk_plugin::{Amount, ChainDriver, Cx, Fault, HexBytes, async_trait};

use base::calls::CallTable;
use base::clock::TokioClock;
use journal::Journal;
use journal::memory::MemoryJournal;
use journal::testkit::opened_with;
use telemetry::metrics::Metrics;

const UNTIL_S: u64 = 1_900_000_000;

/// Knows the addresses of its keys, and does nothing.
struct Knowing;

fn nothing<T>() -> Result<T, Fault> {
    Err(Fault::unavailable("does nothing"))
}

#[async_trait]
impl ChainDriver for Knowing {
    async fn check(&self, _: &Cx, network: &ChainNetwork) -> Result<Readiness, Fault> {
        let addresses = network.keys.iter();
        let addresses = addresses.map(|key| (key.name.clone(), format!("0x{}", key.name)));
        Ok(Readiness {
            ready: true,
            why_not: None,
            addresses: addresses.collect(),
            ordered: true,
            head_height: 1,
            warnings: Vec::new(),
            node_fault: None,
        })
    }
    async fn lane(&self, _: &Cx, _: &Lane) -> Result<LaneState, Fault> {
        Ok(LaneState {
            next_sequence: 0,
            balance: Amount::MAX,
            head_height: 1,
        })
    }
    async fn quote(&self, _: &Cx, _: &Lane, _: Option<&Bid>) -> Result<Bid, Fault> {
        nothing()
    }
    async fn build(&self, _: &Cx, _: &Slot, _: &Bid, _: &[Step]) -> Result<Built, Fault> {
        nothing()
    }
    async fn fill(&self, _: &Cx, _: &Slot, _: &Bid) -> Result<Built, Fault> {
        nothing()
    }
    async fn broadcast(&self, _: &Cx, _: &Attempt) -> Result<Sent, Fault> {
        nothing()
    }
    async fn observe(&self, _: &Cx, _: &[Watch]) -> Result<Vec<Observation>, Fault> {
        Ok(Vec::new())
    }
}

/// Starts on a journal in which a payment names the signer `0xescrow`, with these keys, at this time.
async fn start(keys: &[&str], retained: &[&str], now_s: u64) -> Result<(), ResumeError> {
    let journal = Arc::new(MemoryJournal::default());
    let held = opened_with(1, "claim", |row, _, holds| {
        row.network = "eip155:1".into();
        holds.push(Hold {
            signer: "0xescrow".into(),
            until_s: UNTIL_S,
        });
    });
    journal.commit(vec![held]).await.unwrap();
    let of = |names: &[&str]| {
        let key = |name: &&str| KeyInfo {
            name: (*name).to_owned(),
            suite: Suite::Secp256k1,
            public_key: HexBytes::default(),
        };
        names.iter().map(key).collect()
    };
    let mut settings = settings();
    (settings.keys, settings.retained_keys) = (of(keys), of(retained));
    let mut registry = Registry::default();
    let network = Network::new(settings, Arc::new(Knowing), instance());
    registry.add_network(Arc::new(network)).unwrap();
    let metrics = Arc::new(Metrics::default());
    let engine = Engine::new(Parts {
        registry,
        journal,
        ops: Ops::new(
            Arc::new(CallTable::default()),
            Arc::clone(&metrics),
            Budgets::default(),
        ),
        clock: Arc::new(TokioClock::starting_at(now_s)),
        metrics,
        retention: crate::Retention::default(),
    });
    let resumed = engine.resume().await;
    engine.stop();
    resumed
}

#[test]
fn plugins_distinguish_a_retained_signer_from_an_unfunded_one() {
    let key = |name: &str| KeyInfo {
        name: name.to_owned(),
        suite: Suite::Secp256k1,
        public_key: HexBytes::default(),
    };
    let mut settings = settings();
    (settings.keys, settings.retained_keys) = (vec![key("hot"), key("empty")], vec![key("old")]);
    let network = Network::new(settings, Arc::new(Knowing), instance());
    let names = ["hot", "empty", "old"];
    network.set_lanes(&Readiness {
        ready: true,
        why_not: None,
        addresses: names.map(|name| (name.to_owned(), format!("0x{name}"))).into(),
        ordered: true,
        head_height: 1,
        warnings: Vec::new(),
        node_fault: None,
    });
    network.set_unfunded(["0xempty".to_owned()].into());
    let view = network.view();
    let signers = |lanes: &[Lane]| -> Vec<String> { lanes.iter().map(|lane| lane.signer.clone()).collect() };
    assert_eq!(signers(&view.lanes), ["0xhot"]);
    assert_eq!(signers(&view.retained), ["0xempty", "0xold"]);
    assert_eq!(view.retired, ["0xold"]);
}

#[tokio::test(start_paused = true)]
async fn t23_a_signer_that_a_payment_names_keeps_the_process_from_starting_without_its_key() {
    let Err(ResumeError::Signer(message)) = start(&["hot"], &[], UNTIL_S - 1).await else {
        panic!("it started")
    };
    for part in ["0xescrow", "retained_signers", "eip155:1", "1900000000"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert_eq!(start(&["hot"], &["escrow"], UNTIL_S - 1).await, Ok(()));
    assert_eq!(start(&["hot", "escrow"], &[], UNTIL_S - 1).await, Ok(()));
    assert_eq!(start(&["hot"], &[], UNTIL_S).await, Ok(()), "the date is over");
}
