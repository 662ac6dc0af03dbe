//! How a journal in SQLite grows, and how it starts, with many settlements: made by the code that makes them in service.
//!
//! ```text
//! cargo run --release -p journal --features testkit --example many_settlements -- fill FOLDER 1000000
//! cargo run --release -p journal --features testkit --example many_settlements -- open FOLDER 10000
//! cargo run --release -p journal --features testkit --example many_settlements -- start FOLDER
//! cargo run --release -p journal --features testkit --example many_settlements -- retain FOLDER
//! ```
//!
//! `fill` adds finished settlements, `open` adds such that wait for their block, `start` opens the journal and reads what is
//! open as a start does, and `retain` measures paced commits with and without the removal of old rows beside them.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::sqlite::SqliteJournal;
use journal::testkit::{opened_with, paid, prepared};
use journal::{CommitError, Event, Ground, GroundAt, Journal, Release, Stage, open_slots};
use sdk_plugin::StepIndex;

type Failure = Box<dyn std::error::Error>;

/// Commits at once: as many share a sync as there are payments at once.
const AT_ONCE: u64 = 256;
/// About as long as the plan of an `exact` payment.
const PLAN_BYTES: usize = 1_800;
/// When they finished, milliseconds since the epoch.
const FINISHED_MS: u64 = 1_700_000_000_000;
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
        ["fill", folder, count] => runtime.block_on(fill(Path::new(folder), count.parse()?, true)),
        ["open", folder, count] => runtime.block_on(fill(Path::new(folder), count.parse()?, false)),
        ["start", folder] => runtime.block_on(start(Path::new(folder))),
        ["retain", folder] => runtime.block_on(retain(Path::new(folder))),
        _ => Err("fill FOLDER COUNT, open FOLDER COUNT, start FOLDER, or retain FOLDER".into()),
    }
}

/// The commits of one payment.
fn life(settlement: u64, attempt: u64, sequence: u64) -> [Vec<Event>; 3] {
    let payer = format!("0x{:040x}", settlement % 5_000);
    let claim = format!(
        "evm|eip155:84532|eip3009:0x{:040x}:{payer}:0x{settlement:064x}",
        7
    );
    let opened = opened_with(settlement, &claim, |row, _, _| {
        row.payer.clone_from(&payer);
        row.digest = format!("{settlement:064x}");
        row.fingerprint = format!("{settlement:064x}");
        row.request = format!("{settlement:064x}");
        row.reference = format!("{settlement:032x}");
        row.pay_to = format!("0x{:040x}", settlement % 50);
        row.asset = format!("0x{:040x}", 7);
        row.tenant = Some(format!("shop{}", settlement % 20));
        row.opened_at_ms = FINISHED_MS;
    });
    let opened = match opened {
        Event::Opened(mut new) => {
            new.plan = "p".repeat(PLAN_BYTES);
            Event::Opened(new)
        }
        other => other,
    };
    let prepared = match prepared(attempt, settlement, sequence) {
        Event::Prepared(mut new) => {
            new.row.tx_id = format!("0x{attempt:064x}");
            new.bytes.0 = vec![7; 330];
            Event::Prepared(new)
        }
        other => other,
    };
    let tx_id = format!("0x{attempt:064x}");
    let ground = Ground {
        attempt,
        at: GroundAt::Block(tx_id.clone()),
        height: 50,
        foreign: None,
        reverted: false,
    };
    let release = Release {
        number: settlement,
        tenant: None,
        idempotency_key: None,
        body: format!(
            "{{\"success\":true,\"payer\":\"{payer}\",\"transaction\":\"{tx_id}\",\"network\":\"eip155:84532\"}}"
        ),
        at_ms: FINISHED_MS,
    };
    let step = StepIndex::FIRST;
    [
        vec![opened, prepared],
        vec![
            Event::Sent { attempt },
            paid(settlement, &format!("{tx_id}/7")),
            Event::StepGrounded {
                settlement,
                step,
                ground,
            },
            Event::Released { settlement, release },
            Event::KeysFreed { settlement },
        ],
        vec![
            Event::SlotClosed {
                network: "eip155:84532".into(),
                signer: "0xa".into(),
                sequence,
                by: tx_id,
            },
            Event::StepFinal { settlement, step },
            Event::KeysFreed { settlement },
            Event::Finished {
                settlement,
                at_ms: FINISHED_MS,
            },
        ],
    ]
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

async fn fill(folder: &Path, count: u64, to_the_end: bool) -> Result<(), Failure> {
    let journal = Arc::new(SqliteJournal::open(folder)?);
    let (before, began) = (bytes_of(folder)?, Instant::now());
    let first = journal.lane_next("eip155:84532", "0xa").await?.unwrap_or(0);
    let mut done = 0;
    while done < count {
        let mut stages: [Vec<Vec<Event>>; 3] = Default::default();
        for at in done..count.min(done + AT_ONCE) {
            let [opened, paid, closed] = life(journal.new_id(), journal.new_id(), first + at);
            stages[0].push(opened);
            if to_the_end {
                stages[1].push(paid);
                stages[2].push(closed);
            }
        }
        for commits in stages {
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
    let now_ms = FINISHED_MS + 1;
    journal
        .spent_since("eip155:84532", now_ms - now_ms % 86_400_000)
        .await?;
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
    let first = journal.lane_next("eip155:84532", "0xa").await?.unwrap_or(0);
    for at in 0..PACED {
        let [opened, ..] = life(journal.new_id(), journal.new_id(), first + u64::try_from(at)?);
        let began = Instant::now();
        journal.commit(opened).await?;
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

/// Removes what is old, in the steps and with the pauses of the service's housekeeping.
async fn remove(journal: Arc<SqliteJournal>) -> Result<usize, CommitError> {
    let mut removed = 0;
    for stage in [Stage::Payloads, Stage::Details] {
        loop {
            let due = journal.due_for(stage, FINISHED_MS + 1, 16).await?;
            if due.is_empty() {
                break;
            }
            removed += due.len();
            journal.commit(vec![Event::Dropped { stage, due }]).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(removed)
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
