//! What operators set in the journal that several nodes share.

use super::releases::{NETWORK, engine, paid_and_unreleased, request, row_of, summary};
use crate::Engine;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::allowed_releases::{self as allowed, AllowedRelease};
use base::pause::{self, Pause};
use journal::lease::Shared as _;
use journal::memory::{CommitFault, Faults, MemoryJournal};
use journal::settings::{PAUSED, RELEASES_ALLOWED};
use journal::{Event, Journal as _};

/// Nowhere: nodes that share a journal read no file.
const FOLDER: &str = "/nonexistent";

/// Whether the node can't reach the journal.
#[derive(Clone, Default)]
struct Cut(Arc<AtomicBool>);

impl Faults for Cut {
    fn on_commit(&self, _: &[Event]) -> CommitFault {
        CommitFault::None
    }
    fn is_cut_off(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

async fn started(journal: &Arc<MemoryJournal>) -> Arc<Engine> {
    let engine = engine(Arc::clone(journal) as _);
    engine.read_pauses(Path::new(FOLDER)).await;
    let network = &engine.runtime.networks[NETWORK];
    engine.checks.check_schemes(network).await;
    engine.watch_operators(Path::new(FOLDER));
    engine
}

fn is_paused(engine: &Arc<Engine>) -> bool {
    let kind = engine.runtime.registry.kinds().next().unwrap();
    engine.runtime.is_paused(kind)
}

async fn put(node: &MemoryJournal, name: &str, text: &str) {
    let seen = node.settings().await.unwrap().remove(name);
    assert_eq!(node.put_setting(name, seen.as_deref(), text).await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn t107_a_pause_reaches_every_node_within_a_second() {
    let shared = MemoryJournal::default();
    let cuts = [Cut::default(), Cut::default()];
    let nodes = [("a", &cuts[0]), ("b", &cuts[1])]
        .map(|(name, cut)| Arc::new(shared.node(name, Box::new(cut.clone()))));
    let engines = [started(&nodes[0]).await, started(&nodes[1]).await];
    let all = |paused: bool| engines.iter().all(|engine| is_paused(engine) == paused);
    let second = || tokio::time::sleep(Duration::from_secs(1));
    second().await;
    assert!(all(false));
    let pauses = [Pause {
        network: Some(NETWORK.into()),
        scheme: None,
        signer: None,
        reason: "the token was hacked".into(),
        since_s: 1,
    }];
    put(&nodes[0], PAUSED, &pause::to_text(&pauses).unwrap()).await;
    second().await;
    assert!(all(true));
    // A node that starts reads it before it serves.
    let third = Arc::new(shared.node("c", Box::new(Cut::default())));
    assert!(is_paused(&started(&third).await));
    put(&nodes[1], PAUSED, &pause::to_text(&[]).unwrap()).await;
    second().await;
    assert!(all(false));
    put(&nodes[1], PAUSED, "damaged").await;
    second().await;
    assert!(all(true), "damage never resumes payments");
    put(&nodes[1], PAUSED, &pause::to_text(&[]).unwrap()).await;
    second().await;
    assert!(all(false));

    // A node that can't read what is paused continues for a moment, and then takes nothing new.
    cuts[0].0.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(all(false));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(is_paused(&engines[0]) && !is_paused(&engines[1]));
    cuts[0].0.store(false, Ordering::Relaxed);
    second().await;
    assert!(all(false));
    let cut = Arc::new(shared.node("d", Box::new(cuts[0].clone())));
    cuts[0].0.store(true, Ordering::Relaxed);
    assert!(is_paused(&started(&cut).await), "a start without an answer");
}

#[tokio::test(start_paused = true)]
async fn law5_a_release_that_an_operator_allows_is_a_success_once_on_any_node() {
    let shared = MemoryJournal::default();
    let node = |name: &str| Arc::new(shared.node(name, Box::new(Cut::default())));
    let before = node("a");
    let id = paid_and_unreleased(&engine(Arc::clone(&before) as _), &*before).await;
    let nodes = [node("b"), node("c")];
    let engines = [started(&nodes[0]).await, started(&nodes[1]).await];
    assert_eq!(engines[0].withhold_releases("the chain is further").await, Ok(1));
    for engine in &engines {
        assert_eq!(
            summary(&engine.settle(request(25_000)).await),
            "duplicate_settlement with the hash"
        );
    }
    let list = |claim: &str| {
        allowed::to_text(&[AllowedRelease {
            settlement: id,
            claim: claim.into(),
        }])
        .unwrap()
    };
    let second = || tokio::time::sleep(Duration::from_secs(1));
    // A number alone is not enough, and a damaged list allows nothing.
    for text in [list("p|n|other"), "damaged".to_owned()] {
        put(&nodes[0], RELEASES_ALLOWED, &text).await;
        second().await;
        assert_eq!(nodes[0].withheld().await.unwrap().len(), 1, "{text}");
    }
    put(&nodes[0], RELEASES_ALLOWED, &list(&row_of(&engines[0], 0).claim)).await;
    second().await;
    assert_eq!(nodes[0].withheld().await.unwrap(), []);
    let settings = nodes[0].settings().await.unwrap();
    assert_eq!(
        allowed::from_text(&settings[RELEASES_ALLOWED]),
        Some(vec![]),
        "carried out"
    );
    // As if the owner of each lane had compared it with the chain.
    for engine in &engines {
        let lanes = engine
            .runtime
            .networks
            .values()
            .flat_map(|run| run.network.all_lanes());
        let units = lanes.map(|lane| journal::keys::lane_key(&lane.network, &lane.signer));
        engine.runtime.ownership.set_compared(units.collect());
    }
    assert_eq!(summary(&engines[1].settle(request(25_000)).await), "success");
    for engine in &engines {
        assert_eq!(
            summary(&engine.settle(request(25_000)).await),
            "duplicate_settlement with the hash"
        );
    }
    // The list is not applied again to what is withheld later.
    let allows = |event: &&Event| matches!(event, Event::ReleasesAllowed { .. });
    assert!((1..=2).contains(&shared.log().iter().filter(allows).count()));
}
