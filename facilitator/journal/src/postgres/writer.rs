//! The thread that commits: all commits that queued during the last one are one transaction.

use std::cell::Cell;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::super::group::Group;
use super::super::lease::Holder;
use super::super::{CommitError, Event, JournalError, RowKey, Stamp, Write};
use super::chain::{self, Head};
use super::counters::Counters;
use super::hints::{Hints, concerns_others};
use super::ids::NONE_LEFT;
use super::rows::{self, Tables};
use super::transaction::{Link, Mode, NotCommitted, Transaction};
use super::trouble::{Class, Trouble};
use super::writes;

/// Most commits in one transaction: limits how long the first of them waits for the last.
const MAX_GROUP: usize = 256;
/// How long marks may wait for a commit to share its transaction.
const NOTES_WAIT: Duration = Duration::from_millis(500);
/// How often a group is tried before its commits are tried alone, and each of those before its caller gets the error.
pub(super) const TRIES: u32 = 8;
/// The longest pause before the second try. It doubles with each further one.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(4);
/// The longest pause.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How often a lost answer is logged while the database can't be reached.
const LOG_EVERY: Duration = Duration::from_secs(10);

type Reply = oneshot::Sender<Result<(), CommitError>>;

/// A commit, or a mark that no caller waits for.
pub(super) struct Entry {
    pub(super) events: Vec<Event>,
    pub(super) reply: Option<(Reply, OwnedSemaphorePermit)>,
}

/// Why nothing of a group is in the journal.
enum Failure {
    /// Another node was faster, or the connection ended: it may be tried again.
    Again(Trouble),
    /// Some row of it can't be stored. The entries may have better luck one by one.
    Rows(CommitError),
    /// No entry can be committed now.
    Journal(CommitError),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble.class() {
            // It was waited for already.
            Class::Lost if matches!(trouble, Trouble::NoAnswer(_)) => Self::Journal((&trouble).into()),
            Class::Conflict | Class::Lost => Self::Again(trouble),
            Class::Rows => Self::Rows((&trouble).into()),
            Class::Full | Class::Refused => Self::Journal((&trouble).into()),
        }
    }
}

/// What is sent with the COMMIT.
struct Prepared {
    results: Vec<Result<(), CommitError>>,
    writes: Vec<(RowKey, Write)>,
    at_ms: i64,
}

pub(super) struct Writer {
    pub(super) runtime: Handle,
    pub(super) link: Link,
    pub(super) id: i64,
    pub(super) holder: Arc<Holder>,
    /// Wakes other nodes.
    pub(super) hints: Arc<Hints>,
    pub(super) head: Head,
    pub(super) notes_queued: Arc<AtomicUsize>,
    /// The journal is being dropped: no caller waits any more.
    pub(super) is_closing: Arc<AtomicBool>,
    /// The database no longer has what this process committed. Only a restart, which reads it again, ends this.
    pub(super) is_displaced: bool,
}

/// Ends the process if the writer panics: a journal that accepts nothing any more must not seem alive.
struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text =
                "journal: its writer panicked; ending the process, a restart continues from the database";
            tracing::error!("{text}");
            // The log may be filtered. If standard error is closed, the message is lost.
            let _ = writeln!(std::io::stderr(), "{text}");
            std::process::abort()
        }
    }
}

impl Writer {
    /// Commits until the journal is dropped, and then what is left in the queue.
    #[allow(
        clippy::disallowed_methods,
        reason = "a thread of its own, whose time is the database's and not tokio's"
    )]
    pub(super) fn run(mut self, entries: &Receiver<Entry>) {
        let _end_on_panic = EndOnPanic;
        let mut group: Vec<Entry> = Vec::new();
        let mut write_by: Option<Instant> = None;
        loop {
            let next = match write_by {
                None => entries.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(by) => entries.recv_timeout(by.saturating_duration_since(Instant::now())),
            };
            let ended = matches!(next, Err(RecvTimeoutError::Disconnected));
            let mut due = next.is_err();
            if let Ok(entry) = next {
                let room = MAX_GROUP.saturating_sub(group.len());
                group.push(entry);
                group.extend(entries.try_iter().take(room.saturating_sub(1)));
            }
            // Marks alone justify no transaction until they have waited or become many.
            due |= group.len() >= MAX_GROUP || group.iter().any(|entry| entry.reply.is_some());
            if due {
                write_by = None;
                self.write(std::mem::take(&mut group));
            } else {
                write_by = write_by.or_else(|| Some(Instant::now() + NOTES_WAIT));
            }
            if ended {
                return;
            }
        }
    }

    fn write(&mut self, group: Vec<Entry>) {
        if group.is_empty() {
            return;
        }
        let results = self.commit(&group);
        for (entry, result) in group.into_iter().zip(results) {
            match entry.reply {
                // The caller may have left; the commit is done in any case.
                Some((reply, _place)) => drop(reply.send(result)),
                None => {
                    self.notes_queued.fetch_sub(1, Ordering::AcqRel);
                }
            }
        }
    }

    /// One result for each entry.
    #[allow(
        clippy::disallowed_methods,
        reason = "a thread of its own, whose time is the database's and not tokio's"
    )]
    fn commit(&mut self, group: &[Entry]) -> Vec<Result<(), CommitError>> {
        let mut pause = FIRST_PAUSE;
        let mut last = CommitError::Io("it was not tried".into());
        for _ in 0..TRIES {
            match self.transact(group) {
                Ok(results) => return results,
                Err(Failure::Journal(error)) => return vec![Err(error); group.len()],
                Err(Failure::Rows(error)) => {
                    last = error;
                    break;
                }
                Err(Failure::Again(trouble)) => {
                    if trouble.class() == Class::Conflict {
                        Counters::add(&self.link.counters.conflicts, 1);
                    }
                    last = CommitError::from(&trouble);
                    std::thread::sleep(shortened(pause));
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
            }
        }
        if group.len() > 1 {
            return group.chunks(1).flat_map(|entry| self.commit(entry)).collect();
        }
        vec![Err(last); group.len()]
    }

    /// All entries in one transaction: one result each once it is durable, or why nothing of it is.
    fn transact(&mut self, group: &[Entry]) -> Result<Vec<Result<(), CommitError>>, Failure> {
        if self.is_displaced {
            return Err(Failure::Journal(displaced()));
        }
        Counters::add(&self.link.counters.groups, 1);
        let mut transaction = self.runtime.block_on(self.link.begin(Mode::Commit))?;
        let prepared = match self.prepare(&mut transaction, group) {
            Ok(prepared) => prepared,
            Err(failure) => {
                self.runtime.block_on(transaction.roll_back());
                return Err(failure);
            }
        };
        if accepted_events(group, &prepared.results).next().is_none() {
            self.runtime.block_on(transaction.roll_back());
            return Ok(prepared.results);
        }
        let events = accepted_events(group, &prepared.results);
        let appended = chain::append(self.id, self.head, prepared.at_ms, events);
        let (log, head) = appended.map_err(|error| Failure::Rows(error.into()))?;
        let mut statements = writes::statements(prepared.writes);
        statements.extend(log);
        match self.runtime.block_on(transaction.commit(statements)) {
            Ok(()) => {
                self.head = head;
                if accepted_events(group, &prepared.results).any(concerns_others) {
                    self.hints.send(&self.runtime, &self.link);
                }
                Ok(prepared.results)
            }
            Err(NotCommitted::Undone(trouble)) => Err(trouble.into()),
            Err(NotCommitted::Unknown(trouble)) => {
                if self.look_up(head, &trouble)? {
                    return Ok(prepared.results);
                }
                Err(Failure::Again(trouble))
            }
        }
    }

    /// Fetches, and applies the entries in memory.
    fn prepare(&mut self, transaction: &mut Transaction, group: &[Entry]) -> Result<Prepared, Failure> {
        let (clock_us, found) = (Cell::new(0), Cell::new(None));
        let commit = rows::Commit {
            writer: Some(self.id),
            clock_us: &clock_us,
            found: &found,
            writes: Vec::new(),
        };
        let runtime = self.runtime.clone();
        let mut tables = Tables::commit(&runtime, transaction, commit);
        let applied = self.apply(&mut tables, &clock_us, group);
        let (writes, trouble) = tables.end();
        // What the database said, rather than what became of it.
        if let Some(trouble) = trouble {
            return Err(trouble.into());
        }
        let results = applied.map_err(|error| Failure::Rows(error.into()))?;
        if found.get() != Some(self.head) {
            self.displace(found.get());
            return Err(Failure::Journal(displaced()));
        }
        Ok(Prepared {
            results,
            writes,
            at_ms: clock_us.get() / 1_000,
        })
    }

    fn apply(
        &self,
        tables: &mut Tables<'_>,
        clock_us: &Cell<i64>,
        group: &[Entry],
    ) -> Result<Vec<Result<(), CommitError>>, JournalError> {
        let fence = self.holder.fence();
        let events = || group.iter().flat_map(|entry| &entry.events);
        let mut commits = Group::fetch(&mut *tables, events(), Some(&fence))?;
        if clock_us.get() == 0 {
            // Events that read nothing still need the time and the writer's lock.
            drop(commits);
            tables.touch()?;
            commits = Group::fetch(&mut *tables, events(), Some(&fence))?;
        }
        let mut seq = self.head.seq;
        let mut results = Vec::with_capacity(group.len());
        for entry in group {
            let result = match has_ids(&entry.events) {
                true => commits.apply(&entry.events, stamp(self.id, clock_us.get(), seq)),
                false => Err(CommitError::Io(
                    "this node has no ids left, because it could not get more from the database".into(),
                )),
            };
            if result.is_ok() {
                let events = i64::try_from(entry.events.len()).unwrap_or(i64::MAX);
                seq = seq.saturating_add(events);
            }
            results.push(result);
        }
        commits.flush()?;
        Ok(results)
    }

    /// Whether the commit with this head was carried out. Does not return before the database has said so.
    #[allow(
        clippy::disallowed_methods,
        reason = "a thread of its own, whose time is the database's and not tokio's"
    )]
    fn look_up(&mut self, expected: Head, why: &Trouble) -> Result<bool, Failure> {
        Counters::add(&self.link.counters.looked_up, 1);
        tracing::warn!("commit_answer_lost: {why}; looking it up before anything is repeated");
        let mut pause = FIRST_PAUSE;
        let mut logged = Instant::now();
        loop {
            match self.runtime.block_on(chain::read_head(&self.link, self.id)) {
                Ok(Some(head)) if head == expected => {
                    self.head = expected;
                    return Ok(true);
                }
                Ok(Some(head)) if head == self.head => return Ok(false),
                Ok(other) => {
                    self.displace(other);
                    return Err(Failure::Journal(displaced()));
                }
                Err(trouble) => {
                    if self.is_closing.load(Ordering::Acquire) {
                        return Err(Failure::Journal((&trouble).into()));
                    }
                    if logged.elapsed() >= LOG_EVERY {
                        logged = Instant::now();
                        tracing::error!(
                            "commit_answer_unknown: {trouble}. It is not known whether the last commit was carried out; \
                             nothing is committed until the database replies"
                        );
                    }
                }
            }
            std::thread::sleep(shortened(pause));
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    fn displace(&mut self, found: Option<Head>) {
        self.is_displaced = true;
        tracing::error!(
            "journal_is_old: the database has event {:?} as the last of this process, which committed {}: it is an older \
             copy (a restored backup, or a replica that was promoted without the last commits). From now on nothing is \
             recorded and no payment is started (503). Bring back the database with every commit, then restart",
            found.map(|head| head.seq),
            self.head.seq
        );
    }
}

fn accepted_events<'e>(
    group: &'e [Entry],
    results: &'e [Result<(), CommitError>],
) -> impl Iterator<Item = &'e Event> {
    let accepted = group.iter().zip(results).filter(|(_, result)| result.is_ok());
    accepted.flat_map(|(entry, _)| &entry.events)
}

fn displaced() -> CommitError {
    CommitError::Io("the database is older than what this process committed; the log says what to do".into())
}

/// Whether each id of these events is one of this journal's.
fn has_ids(events: &[Event]) -> bool {
    events.iter().all(|event| match event {
        Event::Opened(new) => new.row.id != NONE_LEFT,
        Event::Prepared(new) => new.row.id != NONE_LEFT,
        _ => true,
    })
}

/// The stamp of a commit after the event `seq` of this writer. The numbers of two writers differ, and are in the order of
/// time within a millisecond: three digits of microseconds, six of the writer, ten of its events.
fn stamp(writer: i64, clock_us: i64, seq: i64) -> Stamp {
    let part = |value: i64, size: u64| u64::try_from(value).unwrap_or(0) % size;
    let number = part(clock_us % 1_000, 1_000) * 10_000_000_000_000_000
        + part(writer, 1_000_000) * 10_000_000_000
        + part(seq.saturating_add(1), 10_000_000_000);
    Stamp {
        at_ms: u64::try_from(clock_us / 1_000).unwrap_or(0),
        seq: number,
    }
}

/// A random part of a pause, so that nodes that disturbed each other don't do it again.
pub(super) fn shortened(pause: Duration) -> Duration {
    use std::hash::{BuildHasher as _, Hasher as _};
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(micros / 4 + random % micros)
}
