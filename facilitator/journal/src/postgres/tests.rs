//! PostgreSQL of this machine: see the crate `pg`.

use std::sync::Arc;

use super::*;
use crate::conformance_tests;

fn open_at(url: &str) -> PostgresJournal {
    PostgresJournal::open(&Settings::new(url)).unwrap()
}

fn postgres() -> (Arc<dyn Journal>, ()) {
    (Arc::new(open_at(&pg::server().database())), ())
}

fn serializable() -> (Arc<dyn Journal>, ()) {
    let mut settings = Settings::new(pg::server().database());
    settings.isolation = Isolation::Serializable;
    (Arc::new(PostgresJournal::open(&settings).unwrap()), ())
}

conformance_tests!(in_postgres, super::postgres);
conformance_tests!(in_serializable_postgres, super::serializable);
