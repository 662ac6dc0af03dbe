//! Plugins whose code ended the process: who is to blame, and who runs in a process of its own for it.
//!
//! One end is enough where the record shows whose code the process died in. Where it was killed from outside, perhaps for its
//! memory, every plugin that was at work is a suspect, and the second time within an hour is enough. An entry is about one file:
//! another one runs in this process again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::clock::Clock;
use base::list_file::{ListFile, Unreadable};
use plugin_host::crumbs::{self, Cause, LastRun};
use serde::{Deserialize, Serialize};

use super::aside;

/// The second suspicion within this time is one too many.
const WINDOW: Duration = Duration::from_secs(60 * 60);
/// Most ends that are kept for a plugin: the newest.
const MOST_ENDS: usize = 16;

const CRUMBS: &str = "crumbs";
/// The instances of the last process.
const RUNNING: ListFile = ListFile {
    name: "running",
    max_bytes: 1 << 20,
};
const QUARANTINE: ListFile = ListFile {
    name: "quarantine",
    max_bytes: 1 << 20,
};

/// An instance of this process, for the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    /// As in crumbs.
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) sha256: String,
    /// Where its code is in memory.
    pub(super) code: Vec<(u64, u64)>,
}

/// What a plugin's file did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The instance's name.
    pub plugin: String,
    pub sha256: String,
    /// The oldest first.
    pub ends: Vec<End>,
}

/// One end of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When it was found, milliseconds since the epoch.
    pub at_ms: u64,
    /// A part of a sentence.
    pub what: String,
    /// The process served already.
    pub served: bool,
    /// The process was killed, and this plugin was at work.
    #[serde(default)]
    pub suspected: bool,
}

impl Entry {
    /// Why the plugin does not run in this process; `None`: it does.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        let window_ms = u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX);
        let blamed = self.ends.iter().rev().find(|end| !end.suspected);
        let mut pairs = self.ends.iter().zip(self.ends.iter().skip(1));
        let suspected_twice = pairs
            .find(|(before, after)| after.at_ms.saturating_sub(before.at_ms) <= window_ms)
            .map(|(_, after)| after);
        blamed.or(suspected_twice).map(|end| {
            format!(
                "plugin {} is in quarantine, in a process of its own: {}; install a corrected file, or if you trust this one, run \
                 `switchyard plugin release {}` and start again",
                self.plugin, end.what, self.plugin
            )
        })
    }
}

/// The files about plugins in the data directory.
#[derive(Debug)]
pub(super) struct Quarantine {
    folder: PathBuf,
    entries: Vec<Entry>,
    running: Vec<Running>,
    /// Ends with the app.
    record: Option<crumbs::Record>,
}

impl Quarantine {
    /// Blames who ended the last process, and begins the record of this one. A file that can't be used is logged: plugins are
    /// loaded all the same.
    pub(super) fn begin(folder: &Path, clock: &dyn Clock) -> Self {
        let mut quarantine = Self {
            folder: folder.to_owned(),
            entries: Vec::new(),
            running: Vec::new(),
            record: None,
        };
        if let Err(error) = quarantine.open(clock.now_ms()) {
            tracing::warn!(
                folder = %folder.display(), %error,
                "plugins_not_watched: a plugin that ends the process will not be found at the next start; check the rights of this folder"
            );
        }
        quarantine
    }

    fn open(&mut self, now_ms: u64) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        self.entries = read(&self.folder)?;
        let (record, last) = crumbs::begin(&self.folder.join(CRUMBS))?;
        self.record = Some(record);
        let Some(last) = last else { return Ok(()) };
        let running: Vec<Running> = RUNNING
            .read(&self.folder)
            .map_err(|why| unreadable(&RUNNING, &self.folder, &why))?;
        match blamed(&last, &running) {
            Some((plugin, what)) => {
                tracing::error!(
                    plugin = plugin.name,
                    sha256 = plugin.sha256,
                    "plugin_blamed: {what}"
                );
                if is_of_a_payment(&self.folder, &last, plugin, now_ms)? {
                    tracing::error!(
                        plugin = plugin.name,
                        "payment_blamed: one payment ended the process again: it is set aside, and the plugin is not"
                    );
                    return Ok(());
                }
                let end = End {
                    at_ms: now_ms,
                    what,
                    served: last.served,
                    suspected: false,
                };
                add(&mut self.entries, plugin, end);
            }
            None => {
                let suspects = suspects(&last, &running);
                if suspects.is_empty() {
                    tracing::warn!(
                        "process_ended_out_of_order: {}, and no plugin was at work. If that happens again, a thread of a plugin may be \
                         the cause: isolation = \"process\" in the sections of plugins shows whose",
                        ended(&last)
                    );
                }
                for (plugin, what) in suspects {
                    tracing::warn!(plugin = plugin.name, "plugin_suspected: {what}");
                    let end = End {
                        at_ms: now_ms,
                        what,
                        served: last.served,
                        suspected: true,
                    };
                    add(&mut self.entries, plugin, end);
                }
            }
        }
        QUARANTINE.write(&self.folder, &self.entries)
    }

    /// Why an instance's file does not run in this process.
    pub(super) fn why(&self, name: &str, sha256: &str) -> Option<String> {
        let entry = self.entries.iter().find(|entry| entry.plugin == name)?;
        entry.why().filter(|_| entry.sha256 == sha256)
    }

    /// Records the instances before a file is loaded.
    pub(super) fn record(&mut self, running: Vec<Running>) {
        self.running = running;
        self.write_running();
    }

    /// Records another instance, before its file is loaded.
    pub(super) fn add(&mut self, running: Running) {
        self.running.push(running);
        self.write_running();
    }

    /// Records where the code of an instance is.
    pub(super) fn record_code(&mut self, id: u64, code: Vec<(u64, u64)>) {
        if let Some(known) = self.running.iter_mut().find(|known| known.id == id) {
            known.code = code;
        }
        self.write_running();
    }

    fn write_running(&self) {
        if self.record.is_none() {
            return;
        }
        if let Err(error) = RUNNING.write(&self.folder, &self.running) {
            tracing::warn!(%error, "plugins_not_watched: what runs in this process can't be recorded");
        }
    }

    pub(super) fn serves(&self) {
        if let Some(record) = &self.record {
            record.serves();
        }
    }
}

/// The entries in a folder.
///
/// # Errors
/// The file can't be read, or is damaged.
pub fn read(folder: &Path) -> io::Result<Vec<Entry>> {
    QUARANTINE
        .read(folder)
        .map_err(|why| unreadable(&QUARANTINE, folder, &why))
}

/// Removes the entry of a plugin, and those of payments that ended its process; `false`: there is none.
///
/// # Errors
/// The file can't be read or written.
pub fn release(folder: &Path, name: &str) -> io::Result<bool> {
    if !folder.is_dir() {
        return Ok(false);
    }
    let has_payments = aside::release(folder, name)?;
    let _lock = QUARANTINE.lock(folder)?;
    let mut entries = read(folder)?;
    let before = entries.len();
    entries.retain(|entry| entry.plugin != name);
    if entries.len() == before {
        return Ok(has_payments);
    }
    QUARANTINE.write(folder, &entries)?;
    Ok(true)
}

/// The instance that ended a process, and how. The thread that died says it; else where in memory it died.
fn blamed<'a>(last: &LastRun, running: &'a [Running]) -> Option<(&'a Running, String)> {
    let fatal = last.fatal?;
    let how = match fatal.cause {
        Cause::Signal(signal) => format!(
            "it ended the last process by the signal {}",
            plugin_host::signal_text(signal)
        ),
        Cause::Exit => "it called exit, which ended the last process".to_owned(),
        Cause::Hang => "it did not return, which ended the last process".to_owned(),
    };
    if let Some(busy) = last.of_the_dead() {
        let plugin = running.iter().find(|one| one.id == busy.instance)?;
        let doing = busy.doing.map(crumbs::Doing::text).unwrap_or_default();
        return Some((plugin, format!("{how} while it was {doing}")));
    }
    let has_address = |one: &&Running| {
        let mut code = one.code.iter();
        code.any(|(from, to)| (*from..*to).contains(&fatal.address))
    };
    let plugin = running.iter().find(has_address)?;
    Some((plugin, format!("{how} on a thread of its own")))
}

/// Counts the end for the payment that the dying thread was busy with. `true`: that payment is set aside, so that the plugin is not
/// blamed for it once more.
fn is_of_a_payment(folder: &Path, last: &LastRun, plugin: &Running, now_ms: u64) -> io::Result<bool> {
    match last.of_the_dead() {
        Some(busy) if busy.instance == plugin.id => {
            aside::add_blamed(folder, &plugin.name, &plugin.sha256, &busy, now_ms)
        }
        Some(_) | None => Ok(false),
    }
}

/// The plugins that were at work when a process was killed, each once, and at what.
fn suspects<'a>(last: &LastRun, running: &'a [Running]) -> Vec<(&'a Running, String)> {
    let at_work = running.iter().filter_map(|plugin| {
        let busy = last.busy.iter().find(|busy| busy.instance == plugin.id)?;
        let doing = busy.doing.map(crumbs::Doing::text).unwrap_or_default();
        Some((plugin, format!("{}, while this plugin was {doing}", ended(last))))
    });
    at_work.collect()
}

/// How a process ended that nobody is blamed for.
fn ended(last: &LastRun) -> String {
    match last.fatal.map(|fatal| fatal.cause) {
        None => "the last process was killed, or its machine stopped".to_owned(),
        Some(Cause::Exit) => "a thread of unknown code called exit in the last process".to_owned(),
        Some(Cause::Hang) => "the last process ended because a file was not opened in time".to_owned(),
        Some(Cause::Signal(signal)) => format!(
            "the last process ended by the signal {} in unknown code",
            plugin_host::signal_text(signal)
        ),
    }
}

fn add(entries: &mut Vec<Entry>, plugin: &Running, end: End) {
    // Another file of this name is another plugin.
    entries.retain(|entry| entry.plugin != plugin.name || entry.sha256 == plugin.sha256);
    match entries.iter_mut().find(|entry| entry.plugin == plugin.name) {
        Some(entry) => {
            entry.ends.push(end);
            let excess = entry.ends.len().saturating_sub(MOST_ENDS);
            entry.ends.drain(..excess);
        }
        None => entries.push(Entry {
            plugin: plugin.name.clone(),
            sha256: plugin.sha256.clone(),
            ends: vec![end],
        }),
    }
}

pub(super) fn unreadable(list: &ListFile, folder: &Path, why: &Unreadable) -> io::Error {
    let file = folder.join(list.name);
    io::Error::other(format!("{} can't be read ({why}); remove it", file.display()))
}

#[cfg(test)]
mod tests {
    use plugin_host::crumbs::{Busy, Doing, Fatal};
    use sdk_plugin::operation::OperationKind;

    use super::*;

    fn running() -> Vec<Running> {
        [(1, "evm"), (2, "bad")]
            .map(|(id, name)| Running {
                id,
                name: name.into(),
                sha256: format!("digest of {name}"),
                code: vec![(id * 1_000, id * 1_000 + 500)],
            })
            .to_vec()
    }

    fn last(served: bool, fatal: Option<Fatal>) -> LastRun {
        LastRun {
            served,
            fatal,
            busy: vec![Busy {
                instance: 2,
                thread: 70,
                doing: Some(Doing::Operation(OperationKind::Judge)),
                payment: None,
            }],
        }
    }

    fn segfault(thread: u64, address: u64) -> Option<Fatal> {
        Some(Fatal {
            cause: Cause::Signal(11),
            thread,
            address,
        })
    }

    #[test]
    fn the_dying_thread_is_to_blame_and_else_the_code_at_its_address() {
        let running = running();
        let name = |fatal: Option<Fatal>| {
            blamed(&last(true, fatal), &running).map(|(plugin, what)| (plugin.name.clone(), what))
        };
        let (plugin, what) = name(segfault(70, 1_100)).expect("its crumb");
        assert_eq!(plugin, "bad", "its crumb counts before its address");
        assert_eq!(
            what,
            "it ended the last process by the signal 11 (segmentation fault) while it was serving x402.judge"
        );
        let (plugin, what) = name(segfault(71, 1_499)).expect("its address");
        assert_eq!(plugin, "evm");
        assert!(what.ends_with("on a thread of its own"), "{what}");
        assert_eq!(name(segfault(71, 1_500)), None, "code of nobody");
        assert_eq!(name(None), None, "killed from outside");
    }

    fn end(suspected: bool, minutes: u64) -> End {
        End {
            at_ms: minutes * 60_000,
            what: "it fell".into(),
            served: true,
            suspected,
        }
    }

    #[test]
    fn one_blame_or_two_suspicions_in_an_hour_are_too_many() {
        let plugin = &running()[1];
        let mut entries = Vec::new();
        let mut suspected = |minutes: u64| {
            add(&mut entries, plugin, end(true, minutes));
            entries[0].why().is_some()
        };
        assert!(!suspected(0));
        assert!(!suspected(61));
        assert!(suspected(120));
        assert!(suspected(999), "until it is released");
        let mut entries = Vec::new();
        add(&mut entries, plugin, end(false, 0));
        add(&mut entries, plugin, end(true, 999));
        let why = entries[0].why().expect("in quarantine");
        assert!(
            why.contains("`switchyard plugin release bad`") && why.contains("it fell"),
            "{why}"
        );
    }

    #[test]
    fn plugins_at_work_in_a_killed_process_are_suspects() {
        let running = running();
        let killed = last(true, None);
        let found = suspects(&killed, &running);
        assert_eq!(found.len(), 1);
        let (plugin, what) = &found[0];
        assert_eq!(plugin.name, "bad");
        assert!(
            what.ends_with("while this plugin was serving x402.judge"),
            "{what}"
        );
    }

    #[test]
    fn the_second_end_by_one_payment_sets_it_aside_and_does_not_blame_the_plugin() {
        let folder = tempfile::tempdir().expect("a folder");
        let plugin = &running()[1];
        let of_payment = |digest: u8| {
            let mut last = last(true, segfault(70, 0));
            last.busy[0].payment = Some(crumbs::Payment {
                digest: [digest; 32],
                settlement: Some(9),
            });
            is_of_a_payment(folder.path(), &last, plugin, 1).expect("written")
        };
        assert!(!of_payment(1), "once: the plugin is to blame");
        assert!(!of_payment(2), "another payment");
        assert!(of_payment(1));
        let listed = aside::read(folder.path()).expect("read");
        let aside: Vec<_> = listed.iter().filter(|entry| entry.is_set_aside()).collect();
        assert_eq!(aside.len(), 1);
        assert_eq!(aside[0].settlement, Some(9));
        assert!(
            release(folder.path(), "bad").expect("written"),
            "without an entry of the plugin"
        );
        assert_eq!(aside::read(folder.path()).expect("read"), []);
    }

    #[test]
    fn another_file_is_loaded_and_a_release_lifts_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let plugin = &running()[1];
        let mut entries = Vec::new();
        add(&mut entries, plugin, end(false, 1));
        QUARANTINE.write(folder.path(), &entries).expect("written");
        let quarantine = Quarantine {
            folder: folder.path().to_owned(),
            entries: read(folder.path()).expect("read"),
            running: Vec::new(),
            record: None,
        };
        assert!(quarantine.why("bad", &plugin.sha256).is_some());
        assert_eq!(quarantine.why("bad", "another digest"), None);
        assert_eq!(quarantine.why("evm", &plugin.sha256), None);
        assert!(!release(folder.path(), "evm").expect("read"));
        assert!(release(folder.path(), "bad").expect("written"));
        assert_eq!(read(folder.path()).expect("read"), []);
    }
}
