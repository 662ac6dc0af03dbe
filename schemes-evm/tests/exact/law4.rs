//! The decision table of proof.md section 1 for EIP-3009, row by row: absence proves nothing, and whatever
//! used up a nonce is named.

use schemes_evm::abi::AUTHORIZATION_CANCELED_TOPIC;
use sdk_plugin::HexBytes;
use sdk_plugin::chain::{Evidence, GuardState, LogEntry, Shown};
use sdk_plugin::scheme::Judgement;

use super::judge::{FOREIGN, OTHER_NONCE, OWN, evidence, exact_logs, judge, moved, reverted, used};
use crate::world::{ASSET, NONCE, OTHER, PAYEE, PAYER};

pub fn canceled(index: u64, emitter: &str, payer: &str, nonce: &str) -> LogEntry {
    let mut log = used(index, emitter, payer, nonce);
    log.topics[0] = HexBytes(AUTHORIZATION_CANCELED_TOPIC.to_vec());
    log
}

#[derive(Debug, PartialEq)]
enum Expected {
    Paid(&'static str),
    /// The reason without its prefix, and whether the message names the foreign transaction.
    Failed(&'static str, bool),
    Open,
}

/// What was seen, and what follows.
struct Row {
    seen: &'static str,
    shown: Shown,
    guard: GuardState,
    /// Logs of our own transaction.
    own: Vec<LogEntry>,
    /// Logs of one foreign transaction each.
    foreign: Vec<Vec<LogEntry>>,
    expected: Expected,
}

fn used_revert() -> Shown {
    reverted("FiatTokenV2: authorization is used or canceled")
}

fn dead() -> Shown {
    Shown::Dead {
        why: "its slot was used".into(),
    }
}

fn landed() -> Shown {
    Shown::Landed { height: 110 }
}

fn to(payee: &str, value: u64) -> Vec<LogEntry> {
    vec![used(3, ASSET, PAYER, NONCE), moved(4, ASSET, PAYER, payee, value)]
}

fn rows() -> Vec<Row> {
    use Expected::{Failed, Open, Paid};
    use GuardState::{Absent, Changed, Unchanged, Unread};
    let cancel = || vec![canceled(0, ASSET, PAYER, NONCE)];
    let row = |seen, shown, guard, foreign: Vec<Vec<LogEntry>>, expected| Row {
        seen,
        shown,
        guard,
        own: vec![],
        foreign,
        expected,
    };
    let own = |seen, guard, own, expected| Row {
        seen,
        shown: landed(),
        guard,
        own,
        foreign: vec![],
        expected,
    };
    let mut exact_backwards = exact_logs();
    exact_backwards.reverse();
    let used_up = |named| Failed("nonce_already_used", named);
    let mut rows = vec![
        own("ours, exact events", Absent, exact_logs(), Paid(OWN)),
        own(
            "ours, the transfer first",
            Absent,
            exact_backwards.clone(),
            Paid(OWN),
        ),
        own("ours, the guard read as well", Changed, exact_logs(), Paid(OWN)),
        own(
            "ours, a fee was kept",
            Changed,
            to(PAYEE, 9_900),
            Failed("transfer_event_mismatch", false),
        ),
        own(
            "ours, no event at all",
            Absent,
            vec![],
            Failed("transfer_event_mismatch", false),
        ),
        own(
            "ours, no event at all, and the nonce is unused",
            Unchanged,
            vec![],
            Failed("transfer_event_mismatch", false),
        ),
        own(
            "ours, no event at all, the nonce is used, and nothing found",
            Changed,
            vec![],
            Open,
        ),
        row(
            "t111: ours returned instead of reverting, a stranger paid before",
            landed(),
            Absent,
            vec![exact_logs()],
            Paid(FOREIGN),
        ),
        row(
            "t111: ours returned, the payer paid another payee before",
            landed(),
            Absent,
            vec![to(OTHER, 10_000)],
            used_up(true),
        ),
        row(
            "t111: ours returned, the payer cancelled before",
            landed(),
            Changed,
            vec![cancel()],
            used_up(true),
        ),
        row(
            "status 0, unused",
            reverted("ERC20: transfer amount exceeds balance"),
            Unchanged,
            vec![],
            Failed("insufficient_balance", false),
        ),
        row(
            "slot used, unused nonce",
            dead(),
            Unchanged,
            vec![],
            Failed("transaction_failed", false),
        ),
        row(
            "status 0, a plan without a guard",
            used_revert(),
            Absent,
            vec![],
            used_up(false),
        ),
    ];
    for shown in [used_revert(), reverted("Pausable: paused"), dead()] {
        let mut of = |seen, guard, foreign, expected| {
            rows.push(row(seen, shown.clone(), guard, foreign, expected));
        };
        of("used, and nothing found yet", Changed, vec![], Open);
        of("the node did not say", Unread, vec![], Open);
        of(
            "used, and a transaction without our nonce",
            Changed,
            vec![vec![
                used(1, ASSET, PAYER, OTHER_NONCE),
                moved(2, ASSET, PAYER, PAYEE, 10_000),
            ]],
            Open,
        );
        of(
            "used, and a contract that only says so",
            Changed,
            vec![vec![
                used(1, OTHER, PAYER, NONCE),
                moved(2, OTHER, PAYER, PAYEE, 10_000),
                canceled(3, OTHER, PAYER, NONCE),
            ]],
            Open,
        );
        of(
            "used, and an authorization of another payer cancelled",
            Changed,
            vec![vec![canceled(1, ASSET, OTHER, NONCE)]],
            Open,
        );
        for guard in [Absent, Unchanged, Changed, Unread] {
            of(
                "t33: the exact transfer by a stranger",
                guard,
                vec![vec![], exact_logs()],
                Paid(FOREIGN),
            );
        }
        of(
            "t33: the same, the transfer first",
            Changed,
            vec![exact_backwards.clone()],
            Paid(FOREIGN),
        );
        of("cancelled", Changed, vec![cancel()], used_up(true));
        of("another payee", Changed, vec![to(OTHER, 10_000)], used_up(true));
        of("another amount", Changed, vec![to(PAYEE, 9_999)], used_up(true));
        of(
            "a use without any transfer: a node may show a part of the logs",
            Changed,
            vec![vec![used(3, ASSET, PAYER, NONCE)]],
            Open,
        );
    }
    rows
}

#[test]
fn law4_every_row_of_what_proves_what() {
    for row in rows() {
        let evidence = Evidence {
            guard: row.guard,
            ..evidence(row.shown.clone(), row.own, row.foreign)
        };
        let judged = match judge(&evidence) {
            Judgement::Paid(paid) if paid.tx_id == OWN => Expected::Paid(OWN),
            Judgement::Paid(paid) if paid.tx_id == FOREIGN => Expected::Paid(FOREIGN),
            Judgement::Unproven { why } => {
                assert!(!why.is_empty());
                Expected::Open
            }
            Judgement::NotPaid(refusal) => match row.expected {
                Expected::Failed(reason, _) if refusal.reason == format!("invalid_exact_evm_{reason}") => {
                    let named = refusal.message.is_some_and(|message| message.contains(FOREIGN));
                    Expected::Failed(reason, named)
                }
                _ => panic!("{}, {:?}: {refusal:?}", row.seen, row.guard),
            },
            other => panic!("{}: {other:?}", row.seen),
        };
        assert_eq!(
            judged, row.expected,
            "{}, {:?}, {:?}",
            row.seen, row.shown, row.guard
        );
    }
}

#[test]
fn a_payment_outweighs_whatever_else_is_shown() {
    // Two nodes of different forks: one shows a cancellation, one the payment.
    let both = vec![vec![canceled(0, ASSET, PAYER, NONCE)], exact_logs()];
    for foreign in [both.clone(), both.into_iter().rev().collect()] {
        let evidence = Evidence {
            guard: GuardState::Changed,
            ..evidence(dead(), vec![], foreign)
        };
        let Judgement::Paid(paid) = judge(&evidence) else {
            panic!("not paid");
        };
        assert_eq!(paid.tx_id, FOREIGN);
    }
}
