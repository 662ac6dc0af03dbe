//! Commits of `exact` payments: one payment after another, and many at once. The files are in cargo's folder for temporary
//! files of benchmarks: the system's own may be in memory, where a sync costs nothing.

mod bare;
mod payment;

use std::path::Path;
use std::time::{Duration, Instant};

use benches::Comparisons;
use futures_util::future::join_all;
use journal::Journal;
use journal::memory::MemoryJournal;
use journal::sqlite::SqliteJournal;
use sdk_plugin::testkit::block_on;
use serde_json::Value;
use tempfile::TempDir;

use self::bare::{BareSqlite, Recorder, Transaction};
use self::payment::{Commit, Life, Terms};

/// Payments at once.
const GROUP: u64 = 64;

pub(crate) fn compare(comparisons: &mut Comparisons) {
    let terms = Terms::of_vectors();
    both_write_the_same(&terms);

    for (row, payments, limit) in [
        (
            "SQLite, one payment at a time",
            1,
            "bare SQLite: the same writes and syncs",
        ),
        (
            "SQLite, 64 payments at once",
            GROUP,
            "bare SQLite: the same writes, 3 transactions",
        ),
    ] {
        let (ours, theirs) = (folder(), folder());
        let journal = open(&ours);
        let (mut lives, mut same_lives) = (terms.lives(), terms.lives());
        let (mut bare, mut recorder) = (BareSqlite::open(theirs.path()), Recorder::default());
        comparisons.compare(
            ("journal", row),
            |times| {
                let groups: Vec<_> = (0..times).map(|_| group(&mut lives, payments)).collect();
                timed(groups, |group| commit(&journal, group))
            },
            limit,
            |times| {
                let groups: Vec<_> = (0..times)
                    .map(|_| recorder.record(&group(&mut same_lives, payments)))
                    .collect();
                timed(groups, |group| bare.write(&group))
            },
        );
    }
    let folder = folder();
    let journal = open(&folder);
    let mut lives = terms.lives();
    let mut lives_in_memory = terms.lives();
    comparisons.compare(
        ("journal", "SQLite, 64 payments at once"),
        |times| {
            let groups: Vec<_> = (0..times).map(|_| group(&mut lives, GROUP)).collect();
            timed(groups, |group| commit(&journal, group))
        },
        "the journal in memory",
        |times| {
            let memory = MemoryJournal::default();
            let groups: Vec<_> = (0..times).map(|_| group(&mut lives_in_memory, GROUP)).collect();
            timed(groups, |group| commit(&memory, group))
        },
    );
}

/// The stages of some payments: at each stage one commit of every payment.
type Stages = Vec<Vec<Commit>>;

fn group(lives: &mut impl Iterator<Item = Life>, payments: u64) -> Stages {
    let mut stages: Stages = Vec::new();
    for _ in 0..payments {
        let life = lives.next().expect("there is always another payment");
        stages.resize_with(life.commits.len(), Vec::new);
        for (stage, commit) in stages.iter_mut().zip(life.commits) {
            stage.push(commit);
        }
    }
    stages
}

fn timed<T>(groups: Vec<T>, mut write: impl FnMut(T)) -> Duration {
    let started = Instant::now();
    for group in groups {
        write(group);
    }
    started.elapsed()
}

/// The commits of a stage wait at once, as settlements of different callers do.
fn commit(journal: &impl Journal, stages: Stages) {
    for stage in stages {
        for mark in stage.iter().filter_map(|commit| commit.mark.clone()) {
            journal.note(mark);
        }
        let commits = stage.into_iter().map(|commit| journal.commit(commit.events));
        for result in block_on(join_all(commits)) {
            result.expect("committed");
        }
    }
}

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn open(folder: &TempDir) -> SqliteJournal {
    SqliteJournal::open(folder.path()).expect("a journal")
}

/// After the same payments both files have the same rows and events.
fn both_write_the_same(terms: &Terms) {
    let (ours, theirs) = (folder(), folder());
    let (mut lives, mut same_lives) = (terms.lives(), terms.lives());
    let (mut bare, mut recorder) = (BareSqlite::open(theirs.path()), Recorder::default());
    let journal = open(&ours);
    for payments in [1, 1, 5] {
        commit(&journal, group(&mut lives, payments));
        let transactions: Vec<Transaction> = recorder.record(&group(&mut same_lives, payments));
        bare.write(&transactions);
    }
    drop(journal);
    let (ours, theirs) = (timeless(ours.path()), timeless(theirs.path()));
    assert!(!ours.is_empty());
    assert_eq!(ours, theirs);
}

/// The rows of a file without the times of their commits, which differ: the keys of the history, and when a row changed last.
fn timeless(folder: &Path) -> Vec<(&'static str, String, String)> {
    let mut rows = bare::content(folder);
    for (table, key, value) in &mut rows {
        if *table == "history" {
            key.truncate(key.find('|').unwrap_or(key.len()));
            value.clear();
        }
        if let Ok(Value::Object(mut members)) = serde_json::from_str(value)
            && members.remove("updated_at_ms").is_some()
        {
            *value = Value::Object(members).to_string();
        }
    }
    rows.sort();
    rows
}
