//! Whether two nodes show the same. Pure.

use crate::verdict::View;
use sdk_plugin::chain::{ForeignTx, Shown};

/// The first of the earliest two that agree.
pub(crate) fn two_alike<T>(all: impl Iterator<Item = T>, agree: impl Fn(&T, &T) -> bool) -> Option<T> {
    let mut before: Vec<T> = Vec::new();
    for one in all {
        if let Some(found) = before.iter().position(|other| agree(other, &one)) {
            return Some(before.swap_remove(found));
        }
        before.push(one);
    }
    None
}

/// Whether two nodes show the same of what matters. Depths, heads and the wording of failures may differ.
pub(crate) fn agree(one: &View, other: &View) -> bool {
    let same_end = match (&one.shown, &other.shown) {
        (Shown::Landed { .. }, Shown::Landed { .. }) | (Shown::Reverted { .. }, Shown::Reverted { .. }) => {
            one.decided == other.decided
        }
        // Each node words a proof differently.
        (Shown::Dead { .. }, Shown::Dead { .. }) => {
            one.decided.attempt == other.decided.attempt && one.decided.foreign == other.decided.foreign
        }
        (Shown::Landed { .. } | Shown::Reverted { .. } | Shown::Dead { .. }, _) => false,
    };
    let (a, b) = (&one.observation, &other.observation);
    same_end
        && a.attempt_id == b.attempt_id
        && a.logs == b.logs
        && a.deltas == b.deltas
        && a.reads == b.reads
        && one.guards == other.guards
        && same_foreign(&one.foreign, &other.foreign)
}

/// Whether these are the same foreign transactions; their depths may differ.
pub(crate) fn same_foreign(one: &[ForeignTx], other: &[ForeignTx]) -> bool {
    let proofs = |all: &[ForeignTx]| {
        let mut proofs: Vec<ForeignTx> = all
            .iter()
            .map(|tx| ForeignTx {
                depth: 0,
                ..tx.clone()
            })
            .collect();
        proofs.sort_by(|a, b| a.tx_id.cmp(&b.tx_id));
        proofs
    };
    proofs(one) == proofs(other)
}

#[cfg(test)]
mod tests {
    use sdk_plugin::HexBytes;
    use sdk_plugin::chain::{LogEntry, ReadResult, TxState};

    use super::*;
    use crate::decide::steps::Decided;
    use crate::verdict::Source;
    use journal::GroundAt;
    use sdk_plugin::chain::Observation;

    fn log(data: u8) -> LogEntry {
        LogEntry {
            id: "tx:0".into(),
            emitter: "token".into(),
            topics: Vec::new(),
            data: HexBytes(vec![data]),
        }
    }

    fn foreign(tx_id: &str, height: u64, depth: u64) -> ForeignTx {
        ForeignTx {
            tx_id: tx_id.into(),
            height,
            block: format!("b{height}"),
            earlier: false,
            in_slot: false,
            call: None,
            depth,
            logs: vec![log(1)],
        }
    }

    fn landed(block: &str) -> View {
        let state = TxState::Landed {
            height: 5,
            block: block.into(),
            depth: 3,
        };
        View {
            observation: Observation {
                logs: vec![log(1)],
                ..Observation::of("1", state, 7)
            },
            shown: Shown::Landed { height: 5 },
            decided: Decided {
                attempt: 1,
                at: GroundAt::Block(block.into()),
                height: 5,
                foreign: None,
            },
            guards: Vec::new(),
            source: Source::Receipt,
            foreign: Vec::new(),
        }
    }

    fn dead(why: &str, by: &str, found: Vec<ForeignTx>) -> View {
        let mut view = landed(by);
        view.shown = Shown::Dead { why: why.into() };
        view.observation.logs.clear();
        view.decided.at = GroundAt::Dead(by.into());
        view.foreign = found;
        view
    }

    #[test]
    fn t14_nodes_must_agree_on_block_and_logs_but_not_on_depth_and_messages() {
        let alike = agree;
        let one = landed("0xb");
        let mut higher = landed("0xb");
        higher.observation.head_height = 9;
        higher.observation.state = TxState::Landed {
            height: 5,
            block: "0xb".into(),
            depth: 5,
        };
        assert!(alike(&one, &higher));
        assert!(!alike(&one, &landed("0xfork")));
        let mut other_log = landed("0xb");
        other_log.observation.logs = vec![log(2)];
        assert!(!alike(&one, &other_log));
        let mut other_read = landed("0xb");
        other_read.observation.reads = vec![ReadResult {
            name: "r".into(),
            data: None,
        }];
        assert!(!alike(&one, &other_read));
        let reverted = |message: &str| View {
            shown: Shown::Reverted {
                height: 5,
                message: Some(message.into()),
            },
            ..landed("0xb")
        };
        assert!(alike(
            &reverted("paused"),
            &reverted("execution reverted: paused")
        ));
        assert!(!alike(&one, &reverted("paused")));
        assert!(!alike(&one, &dead("expired", "0xb", vec![])));
        assert!(alike(
            &dead("one's words", "gone:a", vec![]),
            &dead("other words", "gone:b", vec![])
        ));
    }

    #[test]
    fn t14_payments_by_foreign_transactions_need_two_nodes_too() {
        let alike =
            |one: Vec<ForeignTx>, other: Vec<ForeignTx>| agree(&dead("d", "g", one), &dead("d", "g", other));
        let (a, b) = (foreign("a", 5, 1), foreign("b", 6, 1));
        assert!(alike(
            vec![a.clone(), b.clone()],
            vec![b.clone(), foreign("a", 5, 2)]
        ));
        assert!(!alike(vec![a.clone()], vec![]), "one node made it up");
        assert!(
            !alike(vec![a.clone()], vec![foreign("a", 6, 1)]),
            "in another block"
        );
    }

    #[test]
    fn t14_two_of_three_are_enough_and_two_that_differ_are_not() {
        let same = |a: &u32, b: &u32| a == b;
        assert_eq!(two_alike([9, 5, 5].into_iter(), same), Some(5));
        assert_eq!(two_alike([9, 5].into_iter(), same), None);
        assert_eq!(two_alike([9].into_iter(), same), None);
        assert_eq!(two_alike(std::iter::empty(), same), None);
    }
}
