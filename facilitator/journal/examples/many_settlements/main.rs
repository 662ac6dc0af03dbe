//! How a journal in SQLite grows, and how it starts, with many settlements: made by the code that makes them in service.
//!
//! ```text
//! cargo run --release -p journal --features testkit --example many_settlements -- fill FOLDER 1000000 [SCHEME]
//! cargo run --release -p journal --features testkit --example many_settlements -- open FOLDER 10000 [SCHEME]
//! cargo run --release -p journal --features testkit --example many_settlements -- start FOLDER
//! cargo run --release -p journal --features testkit --example many_settlements -- retain FOLDER
//! cargo run --release -p journal --features testkit --example many_settlements -- sizes FOLDER
//! cargo run --release -p journal --features testkit --example many_settlements -- verify FOLDER
//! cargo run --release -p journal --features testkit --example many_settlements -- adopt FOLDER OLD NEW
//! cargo run --release -p journal --features testkit --example many_settlements -- samples FOLDER
//! ```
//!
//! `fill` adds finished settlements, `open` adds such that wait for their block, `start` opens the journal and reads what is
//! open as a start does, `retain` measures paced commits with and without the removal of old rows beside them, `sizes` shows
//! what each table takes, `verify` checks everything as `switchyard journal verify` does, and `adopt` gives a plugin another id. SCHEME is `exact` (on EVM, the
//! default), `auth-capture` or `solana`. `samples` writes the values of some payments of each scheme to files, for a new dictionary
//! (`src/sqlite/dictionary/README.md`).

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures"
)]

mod payment;
mod samples;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::sqlite::{FILE, SqliteJournal};
use journal::{Adoption, CommitError, Event, Filter, Journal, Stage, open_slots};
use payment::{Numbers, Payment, Scheme};

pub(crate) type Failure = Box<dyn std::error::Error>;

/// Commits at once: as many share a sync as there are payments at once.
const AT_ONCE: u64 = 256;
/// Later than everything that `fill` records, milliseconds since the epoch.
const AFTERWARDS_MS: u64 = 4_000_000_000_000;
const DAY_MS: u64 = 86_400_000;
/// Pause between two paced commits.
const PACE: Duration = Duration::from_millis(5);
const PACED: usize = 2_000;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    match arguments.as_slice() {
        ["fill", folder, count, scheme @ ..] => {
            runtime.block_on(fill(Path::new(folder), count.parse()?, scheme_of(scheme)?, true))
        }
        ["open", folder, count, scheme @ ..] => {
            runtime.block_on(fill(Path::new(folder), count.parse()?, scheme_of(scheme)?, false))
        }
        ["start", folder] => runtime.block_on(start(Path::new(folder))),
        ["retain", folder] => runtime.block_on(retain(Path::new(folder))),
        ["sizes", folder] => sizes(Path::new(folder)),
        ["verify", folder] => verify(Path::new(folder)),
        ["adopt", folder, from, to] => runtime.block_on(adopt(Path::new(folder), from, to)),
        ["samples", folder] => runtime.block_on(samples::write(Path::new(folder))),
        _ => Err(
            "fill FOLDER COUNT [SCHEME], open FOLDER COUNT [SCHEME], start FOLDER, retain FOLDER, sizes FOLDER, verify FOLDER, adopt FOLDER OLD NEW, or samples FOLDER"
                .into(),
        ),
    }
}

fn scheme_of(names: &[&str]) -> Result<Scheme, Failure> {
    match names {
        [] => Ok(Scheme::ExactEvm),
        [name] => Scheme::named(name),
        _ => Err("one scheme at most".into()),
    }
}

fn payment(journal: &SqliteJournal, scheme: Scheme, sequence: u64) -> Result<Payment, Failure> {
    let numbers = Numbers {
        settlement: journal.new_id(),
        attempt: journal.new_id(),
        sequence,
    };
    Payment::of(scheme, numbers, journal.reference(numbers.settlement))
}

async fn together(journal: &Arc<SqliteJournal>, commits: Vec<Vec<Event>>) -> Result<(), Failure> {
    let mut running = tokio::task::JoinSet::new();
    for events in commits {
        let journal = Arc::clone(journal);
        running.spawn(async move { journal.commit(events).await });
    }
    while let Some(committed) = running.join_next().await {
        committed??;
    }
    Ok(())
}

fn bytes_of(folder: &Path) -> Result<u64, Failure> {
    let mut sum = 0_u64;
    for entry in std::fs::read_dir(folder)? {
        sum = sum.saturating_add(entry?.metadata()?.len());
    }
    Ok(sum)
}

async fn fill(folder: &Path, count: u64, scheme: Scheme, to_the_end: bool) -> Result<(), Failure> {
    let journal = Arc::new(SqliteJournal::open(folder)?);
    let (before, began) = (bytes_of(folder)?, Instant::now());
    let lane = scheme.lane();
    let first = journal.lane_next(&lane.network, &lane.signer).await?.unwrap_or(0);
    let mut done = 0;
    while done < count {
        let mut stages: [Vec<Vec<Event>>; 3] = Default::default();
        let mut marks = Vec::new();
        for at in done..count.min(done + AT_ONCE) {
            let payment = payment(&journal, scheme, first + at)?;
            stages[0].push(payment.opened);
            if to_the_end {
                marks.push(payment.sent);
                stages[1].push(payment.paid);
                stages[2].push(payment.finished);
            }
        }
        for (at, commits) in stages.into_iter().enumerate() {
            if at == 1 {
                marks.drain(..).for_each(|mark| journal.note(mark));
            }
            together(&journal, commits).await?;
        }
        done = count.min(done + AT_ONCE);
        if done.is_multiple_of(AT_ONCE * 200) {
            eprintln!("{done} settlements after {} s", began.elapsed().as_secs());
        }
    }
    let took_ms = began.elapsed().as_millis().max(1);
    drop(journal);
    let grown = bytes_of(folder)?.saturating_sub(before);
    println!(
        "{count} settlements in {took_ms} ms, {} in a second; {grown} bytes more, {} for each",
        u128::from(count).saturating_mul(1_000) / took_ms,
        grown / count.max(1)
    );
    Ok(())
}

fn verify(folder: &Path) -> Result<(), Failure> {
    let began = Instant::now();
    let verified = journal::sqlite::tools::verify(folder)?;
    println!(
        "{} rows and events {} to {} checked in {} s; at most {} KiB of memory",
        verified.rows,
        verified.events.0,
        verified.events.1,
        began.elapsed().as_secs(),
        resident_kib()
    );
    Ok(())
}

async fn adopt(folder: &Path, from: &str, to: &str) -> Result<(), Failure> {
    let journal = SqliteJournal::open(folder)?;
    let (before, began) = (bytes_of(folder)?, Instant::now());
    let adopted = journal.adopt(&Adoption::new(from, to)?).await?;
    println!(
        "{adopted:?} in {} ms; {} bytes on the disk, {before} before; at most {} KiB of memory",
        began.elapsed().as_millis(),
        bytes_of(folder)?,
        resident_kib()
    );
    Ok(())
}

/// What each table and index takes on the disk.
fn sizes(folder: &Path) -> Result<(), Failure> {
    let connection = rusqlite::Connection::open(folder.join(FILE))?;
    let settlements: i64 = connection.query_row("SELECT count(*) FROM settlements", [], |row| row.get(0))?;
    let mut statement = connection.prepare(
        "SELECT name, sum(ncell), sum(payload), sum(pgsize) FROM dbstat GROUP BY name HAVING sum(pgsize) > 4096 ORDER BY 4 DESC",
    )?;
    let mut rows = statement.query([])?;
    println!("bytes for each of {settlements} settlements: content, on the disk");
    while let Some(row) = rows.next()? {
        let (name, content, bytes): (String, i64, i64) = (row.get(0)?, row.get(2)?, row.get(3)?);
        let each = |bytes: i64| bytes / settlements.max(1);
        println!("{name:32} {:6} {:6}", each(content), each(bytes));
    }
    Ok(())
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

async fn start(folder: &Path) -> Result<(), Failure> {
    let began = Instant::now();
    let journal = SqliteJournal::open(folder)?;
    let opened_ms = began.elapsed().as_millis();
    let (mut after, mut open) = (0, 0_usize);
    loop {
        let page = journal.unfinished_after(after, 256).await?;
        let Some((last, _)) = page.last() else { break };
        after = last.id;
        open = open.saturating_add(page.len());
    }
    let slots = open_slots(&journal).await?.len();
    // The day of the newest payment, whose spending counts against the budgets.
    let newest = journal.list(&Filter::default(), None, 1).await?;
    let now_ms = newest.rows.first().map_or(0, |row| row.opened_at_ms);
    let lane = Scheme::ExactEvm.lane();
    let spent = journal
        .spent_since(&lane.network, now_ms - now_ms % DAY_MS)
        .await?;
    println!("{} sums of what the day's transactions can cost", spent.len());
    println!(
        "opened in {opened_ms} ms; {open} open settlements and {slots} open slots read after {} ms; at most {} KiB of memory",
        began.elapsed().as_millis(),
        resident_kib()
    );
    Ok(())
}

/// Times of paced commits, sorted, microseconds.
async fn paced(journal: &SqliteJournal) -> Result<Vec<u128>, Failure> {
    let mut times = Vec::new();
    let lane = Scheme::ExactEvm.lane();
    let first = journal.lane_next(&lane.network, &lane.signer).await?.unwrap_or(0);
    for at in 0..PACED {
        let payment = payment(journal, Scheme::ExactEvm, first + u64::try_from(at)?)?;
        let began = Instant::now();
        journal.commit(payment.opened).await?;
        times.push(began.elapsed().as_micros());
        tokio::time::sleep(PACE).await;
    }
    times.sort_unstable();
    Ok(times)
}

fn quantile(times: &[u128], per_mille: usize) -> u128 {
    let at = times.len().saturating_sub(1) * per_mille / 1_000;
    times.get(at).copied().unwrap_or_default()
}

/// Removes what is old, in the steps and with the pauses of the service's housekeeping: each kind of step in turn.
async fn remove(journal: Arc<SqliteJournal>) -> Result<usize, CommitError> {
    let mut removed = 0;
    loop {
        let before = removed;
        for stage in [Stage::Payloads, Stage::Details, Stage::Settlement] {
            let due = journal.due_for(stage, AFTERWARDS_MS, 16).await?;
            if due.is_empty() {
                continue;
            }
            removed += due.len();
            journal.commit(vec![Event::Dropped { stage, due }]).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        journal.drop_events(AFTERWARDS_MS, 256).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if removed == before {
            return Ok(removed);
        }
    }
}

async fn retain(folder: &Path) -> Result<(), Failure> {
    let journal = Arc::new(SqliteJournal::open(folder)?);
    let quiet = paced(&journal).await?;
    let removing = tokio::spawn(remove(Arc::clone(&journal)));
    let beside = paced(&journal).await?;
    removing.abort();
    for (name, times) in [("alone", quiet), ("beside the removal", beside)] {
        println!(
            "{PACED} commits {name}: median {} µs, p99 {} µs, longest {} µs",
            quantile(&times, 500),
            quantile(&times, 990),
            quantile(&times, 1_000)
        );
    }
    Ok(())
}
