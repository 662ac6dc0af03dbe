//! Which fault struck at which step how often, and which of these can't exist.

use std::collections::BTreeMap;
use std::fmt;

use crate::faults::{Harm, Point};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    CrashBefore,
    CrashAfter,
    PowerCut,
    Full,
    AnswerLost,
    CorePanics,
    Late,
    Error,
    OtherChain,
    Lags,
    Null,
    Defect,
    Panics,
    Hangs,
    Garbage,
    CallerLeaves,
    Reorg,
}

impl Column {
    pub const ALL: [Self; 17] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::PowerCut,
        Self::Full,
        Self::AnswerLost,
        Self::CorePanics,
        Self::Late,
        Self::Error,
        Self::OtherChain,
        Self::Lags,
        Self::Null,
        Self::Defect,
        Self::Panics,
        Self::Hangs,
        Self::Garbage,
        Self::CallerLeaves,
        Self::Reorg,
    ];

    #[must_use]
    pub fn of(harm: Harm) -> Self {
        match harm {
            Harm::CrashBefore => Self::CrashBefore,
            Harm::CrashAfter => Self::CrashAfter,
            Harm::PowerCut => Self::PowerCut,
            Harm::Full => Self::Full,
            Harm::PanicAfter | Harm::TakenButError | Harm::TakenButHangs | Harm::AnswerLost => {
                Self::AnswerLost
            }
            Harm::PanicBefore => Self::CorePanics,
            Harm::Slow => Self::Late,
            Harm::Unavailable => Self::Error,
            Harm::OtherChain => Self::OtherChain,
            Harm::Stale => Self::Lags,
            Harm::Null(_) => Self::Null,
            Harm::Internal => Self::Defect,
            Harm::Panic => Self::Panics,
            Harm::Hang => Self::Hangs,
            Harm::Garbage | Harm::AcceptedAndForgotten => Self::Garbage,
            Harm::HangUp | Harm::Impatient | Harm::CallersLeave => Self::CallerLeaves,
            Harm::Reorg => Self::Reorg,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::CrashBefore => "crash before",
            Self::CrashAfter => "crash after",
            Self::PowerCut => "power cut",
            Self::Full => "disk full",
            Self::AnswerLost => "answer lost",
            Self::CorePanics => "core panics",
            Self::Late => "late",
            Self::Error => "error",
            Self::OtherChain => "other chain",
            Self::Lags => "node lags",
            Self::Null => "null",
            Self::Defect => "defect",
            Self::Panics => "plugin panics",
            Self::Hangs => "plugin hangs",
            Self::Garbage => "garbage",
            Self::CallerLeaves => "caller leaves",
            Self::Reorg => "reorg",
        }
    }

    /// Why this can't happen at a step, or would be another cell; `None`: it can.
    #[must_use]
    pub fn why_not(self, point: Point) -> Option<&'static str> {
        use Point::{Boot, Broadcast, Build, Check, ClaimLookUp, Fill, Lane, Observe, Plan, Quote, Reply};
        let reads_a_node = matches!(point, Plan | Check | Lane | Quote | Build | Observe);
        let is_on_network = reads_a_node || matches!(point, Fill | Broadcast);
        let is_of_a_plugin = !point.is_commit() && !matches!(point, Boot | ClaimLookUp | Reply);
        let has_effect = point.is_commit() || matches!(point, Broadcast | Reply);
        let (can, why) = match self {
            Self::CrashBefore | Self::Reorg => (true, ""),
            Self::CrashAfter => (
                has_effect,
                "it only reads: to die after it is to die before the next step",
            ),
            Self::PowerCut => (
                point.is_commit(),
                "nothing is being written: a power cut is a crash before here",
            ),
            Self::Full => (point.is_commit(), "it writes nothing"),
            Self::AnswerLost => (has_effect, "it has no effect: a lost answer is a call that hangs"),
            Self::CorePanics => (
                point.is_commit(),
                "between two commits the core has only its memory, which a panic at the next commit loses too",
            ),
            Self::Late => (
                point != Reply,
                "a caller that is late leaves: the connection has its own time limit",
            ),
            Self::Error => (
                is_of_a_plugin || matches!(point, Boot | ClaimLookUp),
                "a commit that fails for another reason than a full disk ends the process; a reply is no call",
            ),
            Self::OtherChain | Self::Lags => (is_on_network, "no node is involved"),
            Self::Null => (reads_a_node, "nothing is read from a node"),
            Self::Defect | Self::Panics | Self::Hangs | Self::Garbage => {
                (is_of_a_plugin, "no code of a plugin runs")
            }
            Self::CallerLeaves => (point != Boot, "no caller is connected before the start ends"),
        };
        (!can).then_some(why)
    }
}

/// How often each fault struck at each step.
#[derive(Debug, Clone, Default)]
pub struct Table(BTreeMap<(Point, Column), u64>);

impl Table {
    pub fn add(&mut self, faults: &BTreeMap<(Point, Harm), u64>) {
        for ((point, harm), count) in faults {
            *self.0.entry((*point, Column::of(*harm))).or_default() += count;
        }
    }

    pub fn merge(&mut self, other: &Self) {
        for (cell, count) in &other.0 {
            *self.0.entry(*cell).or_default() += count;
        }
    }

    /// Cells that can exist and that no fault struck.
    #[must_use]
    pub fn empty(&self) -> Vec<(Point, Column)> {
        let all = Point::ALL
            .iter()
            .flat_map(|point| Column::ALL.map(|column| (*point, column)));
        all.filter(|(point, column)| column.why_not(*point).is_none())
            .filter(|cell| !self.0.contains_key(cell))
            .collect()
    }

    /// How many cells can exist.
    #[must_use]
    pub fn cells() -> usize {
        let possible = |point: &Point| {
            let columns = Column::ALL.iter();
            columns.filter(|column| column.why_not(*point).is_none()).count()
        };
        Point::ALL.iter().map(possible).sum()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: &Column| {
            let counts = Point::ALL
                .iter()
                .filter_map(|point| self.0.get(&(*point, *column)));
            let longest = counts.map(|count| count.to_string().len()).max().unwrap_or(1);
            let words = column.name().split(' ').map(str::len).max().unwrap_or(1);
            longest.max(words)
        };
        for line in 0..2 {
            write!(f, "{:24}", if line == 0 { "step" } else { "" })?;
            for column in &Column::ALL {
                let word = column.name().split(' ').nth(line).unwrap_or_default();
                write!(f, " {word:>width$}", width = width(column))?;
            }
            writeln!(f)?;
        }
        for point in Point::ALL {
            write!(f, "{:24}", point.name())?;
            for column in &Column::ALL {
                let cell = match (self.0.get(&(point, *column)), column.why_not(point)) {
                    (Some(count), _) => count.to_string(),
                    (None, Some(_)) => "–".to_owned(),
                    (None, None) => "EMPTY".to_owned(),
                };
                write!(f, " {cell:>width$}", width = width(column))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cell is struck by some harm, or it says why it can't be.
    #[test]
    fn every_cell_has_a_harm_or_a_reason_and_not_both() {
        for point in Point::ALL {
            for column in Column::ALL {
                let harms = point.harms().iter().copied();
                let cut = point.is_commit().then_some(Harm::PowerCut);
                let is_struck = harms.chain(cut).any(|harm| Column::of(harm) == column);
                assert_eq!(
                    is_struck,
                    column.why_not(point).is_none(),
                    "{point:?} {column:?}: {:?}",
                    column.why_not(point)
                );
            }
        }
    }

    #[test]
    fn a_cell_that_no_fault_struck_is_named_and_shown() {
        let mut table = Table::default();
        assert_eq!(table.empty().len(), Table::cells());
        table.add(&[((Point::Broadcast, Harm::TakenButError), 7)].into());
        assert_eq!(table.empty().len(), Table::cells() - 1);
        assert!(!table.empty().contains(&(Point::Broadcast, Column::AnswerLost)));
        let text = table.to_string();
        let send = text.lines().find(|line| line.starts_with("send"));
        assert!(
            send.is_some_and(|line| line.contains(" 7 ") && line.contains("EMPTY")),
            "{text}"
        );
    }
}
