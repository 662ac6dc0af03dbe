//! PostgreSQL of this machine: see the crate `pg`.

use std::sync::Arc;

use super::*;
use crate::{conformance_tests, shared_conformance_tests};

/// The journal of a node that owns the lanes of the conformance cases.
fn owner(settings: &Settings) -> PostgresJournal {
    let journal = PostgresJournal::open(settings).unwrap();
    take_lanes(journal)
}

fn take_lanes(journal: PostgresJournal) -> PostgresJournal {
    // The caller is inside the runtime of a test.
    let takes = move || {
        let units = ["eip155:84532|0xa"];
        for unit in units {
            let taken = journal.handle.block_on(journal.take(unit, None));
            assert!(taken.unwrap().is_some());
        }
        journal
    };
    std::thread::spawn(takes).join().unwrap()
}

fn postgres() -> (Arc<dyn Journal>, ()) {
    (Arc::new(owner(&Settings::new(pg::server().database()))), ())
}

fn serializable() -> (Arc<dyn Journal>, ()) {
    let mut settings = Settings::new(pg::server().database());
    settings.isolation = Isolation::Serializable;
    (Arc::new(owner(&settings)), ())
}

conformance_tests!(in_postgres, super::postgres);
conformance_tests!(in_serializable_postgres, super::serializable);

fn two_nodes_with(isolation: Isolation) -> [Arc<dyn Journal>; 2] {
    let mut settings = Settings::new(pg::server().database());
    settings.isolation = isolation;
    let open = || -> Arc<dyn Journal> { Arc::new(PostgresJournal::open(&settings).unwrap()) };
    [open(), open()]
}

fn two_nodes() -> ([Arc<dyn Journal>; 2], ()) {
    (two_nodes_with(Isolation::ReadCommitted), ())
}

fn two_serializable_nodes() -> ([Arc<dyn Journal>; 2], ()) {
    (two_nodes_with(Isolation::Serializable), ())
}

shared_conformance_tests!(in_postgres_of_two_nodes, super::two_nodes);
shared_conformance_tests!(
    in_serializable_postgres_of_two_nodes,
    super::two_serializable_nodes
);

mod answers;
mod measure;
mod operator;
mod proxy;
mod races;
mod server;
mod takeover;
