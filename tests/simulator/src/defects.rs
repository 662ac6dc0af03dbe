//! Defects that are planted on purpose in what the engine stands on, each alone. They are in the simulator's own journal and
//! driver, so that no shipped crate has them.

use std::fmt;

use journal::Event;

use crate::campaign::{FIRST_ON_DISK, ON_DISK_EVERY, story};
use crate::chain::{Nodes, Read};
use crate::planted::Planted;
use crate::random::scenario;
use crate::run::{Act, Scenario, simulate};
use crate::scheme::Shape;
use crate::script::{quiet_unnumbered, signed};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Transactions are sent that the journal does not hold.
    SentBeforeCommit,
    /// A transaction is reported as final as soon as a block has it.
    SuccessAtOnce,
    /// An outcome is recorded without the release that its caller gets.
    OutcomeWithoutRelease,
    /// A reorganisation is not recorded.
    ReorgIgnored,
    /// A replacement takes the next nonce.
    ReplacementMoves,
    /// Ids begin again after a restart.
    IdsReused,
    /// A restart forgets what was open.
    ResumeForgets,
    /// The disk acknowledges what it did not write.
    AcknowledgedBeforeSync,
    /// The last event of each larger commit is left out.
    HalfCommit,
    /// Each request is a claim of its own, by its scheme. The engine withstands it, so that it is none of [`Self::ALL`].
    ClaimNotUnique,
    /// A driver's defect.
    Driver(Planted),
}

impl Defect {
    pub const ALL: [Self; 15] = [
        Self::SentBeforeCommit,
        Self::SuccessAtOnce,
        Self::OutcomeWithoutRelease,
        Self::ReorgIgnored,
        Self::ReplacementMoves,
        Self::IdsReused,
        Self::ResumeForgets,
        Self::AcknowledgedBeforeSync,
        Self::HalfCommit,
        Self::Driver(Planted::UsedIsDead),
        Self::Driver(Planted::GuardAlwaysUnchanged),
        Self::Driver(Planted::NullIsReplaced),
        Self::Driver(Planted::NewestIsFinal),
        Self::Driver(Planted::OwnIsNotFound),
        Self::Driver(Planted::ExpiredByNull),
    ];

    /// What reaches the journal.
    pub(crate) fn spoil(self, mut events: Vec<Event>) -> Vec<Event> {
        match self {
            Self::OutcomeWithoutRelease if events.len() > 1 => {
                events.retain(|event| !matches!(event, Event::Released { .. }));
            }
            Self::ReorgIgnored => events.retain(|event| !matches!(event, Event::Reorged { .. })),
            Self::HalfCommit if events.len() > 1 => {
                events.pop();
            }
            _ => {}
        }
        events
    }

    /// The run of this seed, with the defect.
    #[must_use]
    pub fn scenario(self, seed: u64) -> Scenario {
        let mut scenario = match self {
            Self::AcknowledgedBeforeSync => story(seed * ON_DISK_EVERY + FIRST_ON_DISK, 40),
            // Seldom in a random run: no node may show a status just when the transaction lands.
            Self::Driver(Planted::ExpiredByNull) => quiet_unnumbered()
                .settle(500, &signed("ann", 10, Shape::Plain, 12), 25_000, 8)
                .act(
                    900,
                    Act::Null {
                        nodes: Nodes::All,
                        read: Read::Receipts,
                        for_ms: 45_000,
                    },
                ),
            // Only where receipts of a used slot are missing for long: seed 384 is such a run.
            Self::Driver(Planted::OwnIsNotFound) => scenario(seed + 370, 40),
            _ => scenario(seed, 40),
        };
        match self {
            Self::Driver(planted) => scenario.planted = Some(planted),
            Self::SentBeforeCommit => scenario.journal_lies = true,
            other => scenario.defect = Some(other),
        }
        scenario
    }

    /// The seeds that it took, and what noticed it; `None`: nothing did.
    #[must_use]
    pub fn caught(self, most: u64) -> Option<(u64, &'static str)> {
        (0..most).find_map(|seed| {
            let verdict = simulate(&self.scenario(seed)).ok()?.verdict;
            verdict.first().map(|what| (seed + 1, what))
        })
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(planted) => write!(f, "driver: {planted:?}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// Prints a line for each defect. `false`: one was not caught.
#[must_use]
pub fn print_table(most: u64) -> bool {
    println!("{:32} {:28} seeds", "defect", "caught by");
    let mut all = true;
    for defect in Defect::ALL {
        match defect.caught(most) {
            Some((seeds, what)) => println!("{:32} {what:28} {seeds}", defect.to_string()),
            None => {
                all = false;
                println!("{:32} NOT CAUGHT within {most} seeds", defect.to_string());
            }
        }
    }
    all
}
