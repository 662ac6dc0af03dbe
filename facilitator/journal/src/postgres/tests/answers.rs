//! A COMMIT whose answer is lost.

use std::time::{Duration, Instant};

use super::proxy::{Cut, Proxy};
use super::*;
use crate::conformance::{paid, released};
use crate::testkit::opened;

struct Cutting {
    proxy: Proxy,
    journal: PostgresJournal,
    database: String,
}

impl Cutting {
    fn start() -> Self {
        let server = pg::server();
        let database = server.new_database();
        let proxy = Proxy::start(server.port());
        let journal = PostgresJournal::open(&Settings::new(server.url_at(proxy.port, &database))).unwrap();
        Self {
            proxy,
            journal,
            database,
        }
    }

    fn count(&self, sql: &str) -> String {
        pg::server().psql(&self.database, sql)
    }
}

#[tokio::test]
async fn law5_a_commit_whose_answer_is_lost_is_carried_out_once() {
    for cut in [Cut::Answer, Cut::Commit, Cut::Late(Duration::from_millis(700))] {
        let here = Cutting::start();
        here.journal.commit(vec![opened(1, "c1")]).await.unwrap();
        here.proxy.arm(cut);
        assert_eq!(
            here.journal.commit(vec![opened(2, "c2")]).await,
            Ok(()),
            "{cut:?}"
        );
        let counts = here.journal.counts();
        assert_eq!(counts.looked_up, 1, "{cut:?}");
        // Repeated exactly where nothing was carried out.
        assert_eq!(counts.groups, if cut == Cut::Commit { 3 } else { 2 }, "{cut:?}");
        assert_eq!(
            here.count("SELECT count(*) FROM switchyard.events"),
            "2",
            "{cut:?}"
        );
        assert_eq!(
            here.journal.commit(vec![opened(3, "c2")]).await,
            Err(CommitError::ClaimTaken),
            "{cut:?}"
        );
        here.journal
            .commit(vec![paid(2, "log"), released(2)])
            .await
            .unwrap();
        assert_eq!(here.journal.verify().await, Ok((1, 4)), "{cut:?}");
        assert!(
            here.journal
                .settlement(2)
                .await
                .unwrap()
                .unwrap()
                .release
                .is_some()
        );
    }
}

#[tokio::test]
async fn a_lost_answer_is_looked_up_until_the_database_can_be_reached() {
    for cut in [Cut::Answer, Cut::Commit] {
        let here = Cutting::start();
        here.proxy.arm(cut);
        here.proxy.set_down(true);
        let commit = here.journal.commit(vec![opened(1, "c1")]);
        tokio::pin!(commit);
        let early = tokio::time::timeout(Duration::from_millis(1_500), &mut commit).await;
        assert!(
            early.is_err(),
            "no caller gets an answer that is not known: {early:?}"
        );
        here.proxy.set_down(false);
        assert_eq!(commit.await, Ok(()), "{cut:?}");
        assert_eq!(
            here.count("SELECT count(*) FROM switchyard.events"),
            "1",
            "{cut:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_commit_is_replaced() {
    let here = Cutting::start();
    here.journal.commit(vec![opened(1, "c1")]).await.unwrap();
    here.count("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'switchyard' AND datname = current_database()");
    here.journal.commit(vec![opened(2, "c2")]).await.unwrap();
    assert!(here.journal.claim("c2").await.unwrap().is_some());
}

#[tokio::test]
async fn a_database_that_can_not_be_reached_is_named_soon_and_without_the_password() {
    let here = Cutting::start();
    here.proxy.set_down(true);
    here.count("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'switchyard' AND datname = current_database()");
    let begun = Instant::now();
    let error = here
        .journal
        .commit(vec![opened(1, "c1")])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("can't be reached") || error.contains("connection"),
        "{error}"
    );
    assert!(!error.contains(pg::PASSWORD), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    here.proxy.set_down(false);
    here.journal.commit(vec![opened(1, "c1")]).await.unwrap();
}
