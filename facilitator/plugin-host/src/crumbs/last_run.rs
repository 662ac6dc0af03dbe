//! What a file of breadcrumbs says of the process that wrote it.

use base::calls::aside::Subject;
use sdk_plugin::operation::OperationKind;

use super::{EXIT, HANG, MAGIC, WORDS, cell, head};

/// What a thread does in a plugin's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// The file's initialisers, its entry function and `create`.
    Load,
    /// A task that the plugin queued, or the answer to a host call.
    Task,
    /// The end of an instance.
    Destroy,
    Operation(OperationKind),
}

impl Doing {
    const OPERATIONS: u64 = 16;

    pub(super) fn number(self) -> u64 {
        match self {
            Self::Load => 1,
            Self::Task => 2,
            Self::Destroy => 3,
            Self::Operation(operation) => Self::OPERATIONS + operation as u64,
        }
    }

    pub(super) fn of_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Load),
            2 => Some(Self::Task),
            3 => Some(Self::Destroy),
            _ => OperationKind::ALL
                .iter()
                .map(|operation| Self::Operation(*operation))
                .find(|one| one.number() == number),
        }
    }

    /// For a sentence: `while it was …`.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Load => "loaded".to_owned(),
            Self::Task => "running a task of its own".to_owned(),
            Self::Destroy => "ended".to_owned(),
            Self::Operation(operation) => format!("serving {}", operation.name()),
        }
    }
}

/// Why the last process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its number.
    Signal(i32),
    /// Code that is not ours called `exit`.
    Exit,
    /// Opening a file did not end, and kept other threads waiting.
    Hang,
}

/// What is known of the end of a process that did not end in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    /// It served already.
    pub served: bool,
    /// `None`: it was killed, or the machine stopped.
    pub fatal: Option<Fatal>,
    /// The threads that were in a plugin's code.
    pub busy: Vec<Busy>,
}

/// What ended a process from within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fatal {
    pub cause: Cause,
    pub thread: u64,
    /// Of the instruction; 0 where it is not known.
    pub address: u64,
}

/// A thread in a plugin's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    pub instance: u64,
    pub thread: u64,
    /// `None`: written by another version.
    pub doing: Option<Doing>,
    pub payment: Option<Payment>,
}

/// The payment that a thread was busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    /// As in [`Subject`].
    pub digest: [u8; 32],
    /// Once it is recorded.
    pub settlement: Option<u64>,
}

impl Payment {
    fn of_words(settlement: u64, words: [u64; 4]) -> Option<Self> {
        let mut digest = [0; 32];
        for (bytes, word) in digest.chunks_exact_mut(size_of::<u64>()).zip(words) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        (digest != [0; 32]).then_some(Self {
            digest,
            settlement: (settlement != 0).then_some(settlement),
        })
    }

    /// Settlement and digest.
    pub(super) fn words(subject: Option<&Subject>) -> [u64; 5] {
        let mut words = [0; 5];
        let Some(subject) = subject else { return words };
        let recorded = subject.recorded.as_ref();
        let digest = subject.digest.chunks_exact(size_of::<u64>());
        let digest = digest.filter_map(|bytes| Some(u64::from_ne_bytes(bytes.try_into().ok()?)));
        let all = std::iter::once(recorded.map_or(0, |recorded| recorded.settlement)).chain(digest);
        words.iter_mut().zip(all).for_each(|(word, value)| *word = value);
        words
    }
}

impl LastRun {
    /// The crumb of the thread that died.
    #[must_use]
    pub fn of_the_dead(&self) -> Option<Busy> {
        let fatal = self.fatal?;
        self.busy.iter().copied().find(|busy| busy.thread == fatal.thread)
    }

    pub(super) fn read(words: &[u64]) -> Option<Self> {
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        if words.len() != WORDS || word(head::MAGIC) != MAGIC || word(head::ENDED) != 0 {
            return None;
        }
        let cause = match word(head::CAUSE) {
            0 => None,
            EXIT => Some(Cause::Exit),
            HANG => Some(Cause::Hang),
            signal => i32::try_from(signal).ok().map(Cause::Signal),
        };
        let cells = words
            .get(head::WORDS..)
            .unwrap_or_default()
            .chunks_exact(cell::WORDS);
        let busy = cells.filter_map(|one| match *one {
            [0, ..] => None,
            [instance, thread, what, settlement, a, b, c, d] => Some(Busy {
                instance,
                thread,
                doing: Doing::of_number(what),
                payment: Payment::of_words(settlement, [a, b, c, d]),
            }),
            _ => None,
        });
        Some(Self {
            served: word(head::SERVES) != 0,
            fatal: cause.map(|cause| Fatal {
                cause,
                thread: word(head::THREAD),
                address: word(head::ADDRESS),
            }),
            busy: busy.collect(),
        })
    }
}
