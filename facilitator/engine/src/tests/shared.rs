//! A node on a journal that other nodes share: what it takes, what it says, and what it notices.

use super::releases::{NETWORK, engine};
use base::service::{JournalReadiness, Service as _};
use journal::keys::lane_key;
use journal::lease::{Lease, Shared as _, node_unit};
use journal::memory::{CommitFault, Faults, MemoryJournal, NoFaults};
use journal::testkit::{opened_with, paid};
use journal::{Event, Journal as _};
use sdk_plugin::StepIndex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::{Engine, EngineService};

/// Longer than it takes to notice anything.
const LONG: Duration = Duration::from_secs(40);

#[derive(Clone, Default)]
struct Cable(Arc<AtomicBool>);

impl Faults for Cable {
    fn on_commit(&self, _: &[Event]) -> CommitFault {
        CommitFault::None
    }

    fn is_cut_off(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

async fn lease_of(journal: &MemoryJournal, unit: &str) -> Option<Lease> {
    let leases = journal.leases().await.unwrap();
    leases.into_iter().find(|lease| lease.unit == unit)
}

fn readiness(engine: &Arc<Engine>) -> JournalReadiness {
    EngineService::new(Arc::clone(engine)).journal()
}

/// Opened by the owner of this lane, which has put nothing into a slot.
fn opened(id: u64, network: &str, signer: &str) -> Event {
    opened_with(id, &format!("c{id}"), |row, _, _| {
        row.network = network.to_owned();
        row.home = Some(signer.to_owned());
        row.request = String::new();
    })
}

#[tokio::test(start_paused = true)]
async fn open_payments_whose_signer_or_network_no_node_has_are_an_alarm_until_they_end() {
    let gone = MemoryJournal::default().node("gone", Box::new(NoFaults));
    for (id, network, signer) in [(1, NETWORK, "0xold"), (2, "eip155:9", "0xa"), (3, NETWORK, "0xa")] {
        gone.take(&lane_key(network, signer), None).await.unwrap();
        gone.commit(vec![opened(id, network, signer)]).await.unwrap();
    }
    gone.take(&lane_key(NETWORK, "0xidle"), None).await.unwrap();
    let engine = engine(Arc::new(gone.node("here", Box::new(NoFaults))));
    engine.owner.start();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        readiness(&engine),
        JournalReadiness::default(),
        "a takeover takes time"
    );
    tokio::time::sleep(LONG).await;
    let alarms = readiness(&engine).alarms;
    let [one, other] = &alarms[..] else {
        panic!("{alarms:?}")
    };
    assert!(one.contains("payments of lane eip155:1|0xold are open"), "{one}");
    assert!(
        other.contains("payments of lane eip155:9|0xa are open"),
        "{other}"
    );
    assert_eq!(readiness(&engine).why_not, None);
    let own = lease_of(&gone, &lane_key(NETWORK, "0xa")).await.unwrap();
    assert_eq!(own.node, "here", "it has this signer");
    for id in [1, 2] {
        let step = StepIndex::FIRST;
        let ended = vec![
            paid(id, &format!("log {id}")),
            Event::StepFinal { settlement: id, step },
            Event::Finished {
                settlement: id,
                at_ms: 1,
            },
        ];
        gone.commit(ended).await.unwrap();
        tokio::time::sleep(LONG).await;
        assert_eq!(readiness(&engine).alarms.len(), usize::from(id == 1));
    }
    engine.stop();
}

#[tokio::test(start_paused = true)]
async fn a_database_that_does_not_answer_is_shown_until_it_does() {
    let root = MemoryJournal::default();
    let cable = Cable::default();
    let engine = engine(Arc::new(root.node("here", Box::new(cable.clone()))));
    engine.owner.start();
    tokio::time::sleep(LONG).await;
    assert_eq!(readiness(&engine), JournalReadiness::default());
    for _ in 0..2 {
        cable.0.store(true, Ordering::Relaxed);
        tokio::time::sleep(LONG).await;
        let why_not = readiness(&engine).why_not.unwrap();
        assert!(
            why_not.contains("the database of the journal does not answer"),
            "{why_not}"
        );
        assert!(why_not.contains("can't be reached"), "{why_not}");
        cable.0.store(false, Ordering::Relaxed);
        tokio::time::sleep(LONG).await;
        assert_eq!(readiness(&engine), JournalReadiness::default());
    }
    engine.stop();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_leaving_keeps_what_it_has_and_takes_nothing() {
    let root = MemoryJournal::default().node("judge", Box::new(NoFaults));
    let lane = lane_key(NETWORK, "0xa");
    let leaving = engine(Arc::new(root.node("leaving", Box::new(NoFaults))));
    leaving.leave();
    leaving.owner.start();
    tokio::time::sleep(LONG).await;
    assert_eq!(lease_of(&root, &lane).await, None);
    assert_eq!(lease_of(&root, "tasks").await, None);
    let own = lease_of(&root, &node_unit("leaving")).await.unwrap();
    assert_eq!(own.serves, Some(BTreeSet::new()), "others give it nothing");
    leaving.stop();

    let staying = engine(Arc::new(root.node("staying", Box::new(NoFaults))));
    staying.owner.start();
    tokio::time::sleep(LONG).await;
    staying.leave();
    tokio::time::sleep(LONG).await;
    for unit in [lane.as_str(), "tasks", &node_unit("staying")] {
        let lease = lease_of(&root, unit).await.unwrap();
        assert_eq!(lease.node, "staying", "{unit}");
    }
    let beat = lease_of(&root, &lane).await.unwrap().beat;
    tokio::time::sleep(LONG).await;
    assert!(lease_of(&root, &lane).await.unwrap().beat > beat, "it is kept");
    staying.stop();
}

#[tokio::test(start_paused = true)]
async fn what_is_being_handed_over_at_the_end_is_given_up_too() {
    let root = MemoryJournal::default().node("judge", Box::new(NoFaults));
    let lane = lane_key(NETWORK, "0xa");
    let ending = engine(Arc::new(root.node("ending", Box::new(NoFaults))));
    ending.owner.start();
    tokio::time::sleep(LONG).await;
    assert_eq!(lease_of(&root, &lane).await.unwrap().node, "ending");
    ending.owner.runtime.ownership.remove(&lane);
    ending.owner.releasing.lock().insert(lane.clone());
    ending.stop();
    ending.give_up_lanes().await;
    for unit in [lane.as_str(), "tasks", &node_unit("ending")] {
        let lease = lease_of(&root, unit).await.unwrap();
        assert_eq!(lease.node, "", "{unit}");
    }
}

#[tokio::test(start_paused = true)]
async fn leases_of_processes_that_ended_are_removed_and_those_of_lanes_stay() {
    let root = MemoryJournal::default().node("judge", Box::new(NoFaults));
    for node in ["killed", "left"] {
        let process = root.node(node, Box::new(NoFaults));
        process.take(&node_unit(node), None).await.unwrap();
        process.take(&lane_key(NETWORK, node), None).await.unwrap();
        if node == "left" {
            process.give_up(&node_unit(node)).await.unwrap();
        }
    }
    let engine = engine(Arc::new(root.node("here", Box::new(NoFaults))));
    engine.owner.start();
    tokio::time::sleep(LONG).await;
    assert_eq!(lease_of(&root, &node_unit("left")).await, None);
    assert!(
        lease_of(&root, &node_unit("killed")).await.is_some(),
        "it may wake"
    );
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(lease_of(&root, &node_unit("killed")).await, None);
    for unit in [
        node_unit("here"),
        lane_key(NETWORK, "killed"),
        lane_key(NETWORK, "left"),
    ] {
        assert!(lease_of(&root, &unit).await.is_some(), "{unit}");
    }
    engine.stop();
}
