//! The decision table of proof.md section 1 for collections, row by row: a collection counts by the escrow's
//! event and the payment's state, and fails only where it is known that nothing or who else collected the payment.

use alloy_primitives::aliases::U120;
use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolValue;
use schemes_evm::auth_capture::abi::{Escrow, EscrowV11};
use schemes_evm::auth_capture::deployment::{Method, V1_1};
use sdk_plugin::HexBytes;
use sdk_plugin::chain::{ForeignTx, GuardState, LogEntry, ReadResult, Shown};
use sdk_plugin::scheme::Judgement;

use super::custom::{authorized, charged, custom_charge, log};
use super::judge::{Story, TX, read};
use super::offer::{OTHER, Offer, UNITS};

const FOREIGN: &str = "0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

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
    base: fn() -> Story,
    change: fn(&mut Story),
    expected: Expected,
}

fn hold() -> Story {
    Story::of(Offer::default(), false)
}

fn permit2() -> Story {
    let offer = Offer {
        method: Method::Permit2,
        ..Offer::default()
    };
    Story::of(offer, false)
}

fn charge() -> Story {
    Story::of(Offer::charged(), false)
}

fn custom() -> Story {
    Story::of(Offer::custom(), true)
}

fn custom_charged() -> Story {
    Story::of(custom_charge(), true)
}

fn at(tx_id: &str, index: u64, mut log: LogEntry) -> LogEntry {
    log.id = format!("{tx_id}/{index}");
    log
}

fn captured(hash: B256, amount: u64) -> LogEntry {
    let event = EscrowV11::PaymentCaptured {
        paymentInfoHash: hash,
        amount: U256::from(amount),
        feeAmount: U256::ZERO,
        feeReceiver: Address::ZERO,
    };
    log(V1_1.escrow, &event)
}

fn voided(hash: B256, amount: u64) -> LogEntry {
    let event = Escrow::PaymentVoided {
        paymentInfoHash: hash,
        amount: U256::from(amount),
    };
    log(V1_1.escrow, &event)
}

fn before(collected: bool, capturable: u64, refundable: u64) -> ReadResult {
    let words = (collected, U120::from(capturable), U120::from(refundable)).abi_encode();
    ReadResult {
        name: "paymentStateBefore".into(),
        data: Some(HexBytes(words)),
    }
}

impl Story {
    /// None of our attempts had an effect.
    fn dies(&mut self, guard: GuardState) {
        self.evidence.shown = Shown::Dead {
            why: "its slot was used".into(),
        };
        self.evidence.logs.clear();
        self.evidence.reads.clear();
        self.evidence.guard = guard;
    }

    fn reverts(&mut self, message: &str, guard: GuardState) {
        self.fails(message);
        self.evidence.guard = guard;
    }

    fn stranger(&mut self, logs: Vec<LogEntry>) {
        let index = (0u64..).zip(logs);
        self.evidence.foreign.push(ForeignTx {
            block: "0xb".into(),
            earlier: false,
            in_slot: false,
            call: None,
            tx_id: FOREIGN.into(),
            height: 100,
            depth: 2,
            logs: index.map(|(index, log)| at(FOREIGN, index, log)).collect(),
        });
    }

    /// The escrow's events of the block: ours, and these of another transaction after it.
    fn block(&mut self, later: Vec<LogEntry>) {
        let own = self.evidence.logs.first().cloned();
        let others = (7u64..).zip(later);
        let others = others.map(|(index, log)| at(FOREIGN, index, log));
        self.evidence.block_logs = own.into_iter().chain(others).collect();
        self.evidence.reads.push(before(false, 0, 0));
    }
}

fn hash() -> B256 {
    Offer::default().hash()
}

const COLLECTED_REVERT: &str = "execution reverted (error data 0xad7c145a…)";

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    use Expected::{Failed, Open, Paid};
    use GuardState::{Changed, Unchanged, Unread};
    fn row(seen: &'static str, base: fn() -> Story, change: fn(&mut Story), expected: Expected) -> Row {
        Row { seen, base, change, expected }
    }
    vec![
        row("our hold", hold, |_| {}, Paid(TX)),
        row("our hold by Permit2", permit2, |_| {}, Paid(TX)),
        row("our charge", charge, |_| {}, Paid(TX)),
        row("ours through a contract", custom, |_| {}, Paid(TX)),
        row("our charge through a contract", custom_charged, |_| {}, Paid(TX)),
        row("our hold, captured in its block", hold, |story| {
            story.evidence.reads = vec![read((true, UNITS - 400, 400))];
        }, Open),
        row("the same, and the block's events", hold, |story| {
            story.evidence.reads = vec![read((true, UNITS - 400, 400))];
            story.block(vec![captured(hash(), 400)]);
        }, Paid(TX)),
        row("captured and voided in its block", hold, |story| {
            story.evidence.reads = vec![read((true, 0, 400))];
            story.block(vec![captured(hash(), 400), voided(hash(), UNITS - 400)]);
        }, Paid(TX)),
        row("captured by another in the block of a contract's collection", custom, |story| {
            story.evidence.reads = vec![read((true, UNITS - 400, 400))];
            story.block(vec![captured(Offer::custom().hash(), 400)]);
        }, Paid(TX)),
        row("events without the state before the block: nothing comes before a collection", hold, |story| {
            story.evidence.reads = vec![read((true, UNITS - 400, 400))];
            story.block(vec![captured(hash(), 400)]);
            story.evidence.reads.pop();
        }, Paid(TX)),
        row("events of the block that do not come to the state", hold, |story| {
            story.evidence.reads = vec![read((true, UNITS - 400, 400))];
            story.block(vec![captured(hash(), 399)]);
        }, Open),
        row("a payment that was collected before the block", hold, |story| {
            story.evidence.reads = vec![read((true, UNITS - 400, 400))];
            story.block(vec![captured(hash(), 400)]);
            story.evidence.reads[1] = before(true, UNITS, 0);
        }, Open),
        row("a block whose events lack ours", hold, |story| {
            story.evidence.reads = vec![read((true, UNITS - 400, 400))];
            story.block(vec![captured(hash(), 400)]);
            story.evidence.block_logs.remove(0);
        }, Open),
        row("a block with an event of the payment that can't be read", hold, |story| {
            story.evidence.reads = vec![read((true, UNITS - 400, 400))];
            let mut strange = captured(hash(), 1);
            strange.data.0.pop();
            story.block(vec![captured(hash(), 400), strange]);
        }, Open),
        row("our event, and a node that lags", hold, |story| {
            story.evidence.reads = vec![read((false, 0, 0))];
            story.block(vec![]);
        }, Open),
        row("ours landed, nothing reported, and nothing found", custom, |story| {
            story.evidence.logs.clear();
            story.evidence.guard = Changed;
        }, Open),
        row("ours landed, nothing reported, not collected", custom, |story| {
            story.evidence.logs.clear();
            story.evidence.guard = Unchanged;
        }, Failed("unexpected_payment_state", false)),
        row("ours landed and collected another amount", custom, |story| {
            story.evidence.logs[0] = at(TX, 0, authorized(&Offer::custom(), UNITS - 1));
            story.evidence.guard = Changed;
        }, Failed("unexpected_payment_state", false)),
        row("ours landed without effect, a stranger collected before", custom, |story| {
            story.evidence.logs.clear();
            story.stranger(vec![authorized(&Offer::custom(), UNITS)]);
        }, Paid(FOREIGN)),
        row("status 0, not collected", hold, |story| {
            story.reverts("execution reverted: Pausable: paused", Unchanged);
        }, Failed("transaction_reverted", false)),
        row("dead, not collected", hold, |story| story.dies(Unchanged), Failed("transaction_reverted", false)),
        row("status 0, collected, and nothing found", hold, |story| {
            story.reverts(COLLECTED_REVERT, Changed);
        }, Open),
        row("the same, and the state says so as well", hold, |story| {
            story.reverts("execution reverted", Changed);
            story.evidence.reads = vec![read((true, UNITS, 0))];
        }, Open),
        row("dead, collected, and nothing found", hold, |story| story.dies(Changed), Open),
        row("dead, the node did not say", hold, |story| story.dies(Unread), Open),
        row("status 0, the node did not say", charge, |story| story.reverts(COLLECTED_REVERT, Unread), Open),
        row("dead, and a void after a collection that is not found", hold, |story| {
            story.dies(Changed);
            story.stranger(vec![voided(hash(), UNITS)]);
        }, Open),
        row("dead, and the collection of another payment", hold, |story| {
            story.dies(Changed);
            story.stranger(vec![authorized(&Offer::custom(), UNITS)]);
        }, Open),
        row("dead, and an event that the escrow did not emit", hold, |story| {
            story.dies(Changed);
            let mut fake = authorized(&Offer::default(), UNITS);
            fake.emitter = OTHER.into();
            story.stranger(vec![fake]);
        }, Open),
        row("dead, exactly our hold by a key of ours elsewhere", hold, |story| {
            story.dies(Changed);
            story.stranger(vec![authorized(&Offer::default(), UNITS)]);
        }, Failed("payment_already_collected", true)),
        row("dead, held with another amount", hold, |story| {
            story.dies(Changed);
            story.stranger(vec![authorized(&Offer::default(), UNITS - 1)]);
        }, Failed("payment_already_collected", true)),
        row("dead, held instead of charged", charge, |story| {
            story.dies(Changed);
            story.stranger(vec![authorized(&Offer::charged(), UNITS)]);
        }, Failed("payment_already_collected", true)),
        row("status 0, charged instead of held by Permit2", permit2, |story| {
            story.reverts(COLLECTED_REVERT, Changed);
            let offer = Offer { method: Method::Permit2, ..Offer::charged() };
            story.stranger(vec![charged(&offer)]);
        }, Failed("payment_already_collected", true)),
        row("dead, exactly ours through the contract", custom, |story| {
            story.dies(Changed);
            story.stranger(vec![authorized(&Offer::custom(), UNITS)]);
        }, Paid(FOREIGN)),
        row("dead, exactly our charge through the contract", custom_charged, |story| {
            story.dies(Changed);
            story.stranger(vec![charged(&custom_charge())]);
        }, Paid(FOREIGN)),
        row("dead, through the contract with another amount", custom, |story| {
            story.dies(Changed);
            story.stranger(vec![authorized(&Offer::custom(), UNITS - 1)]);
        }, Failed("payment_already_collected", true)),
        row("dead, through the contract and captured at once", custom, |story| {
            story.dies(Changed);
            let hash = Offer::custom().hash();
            story.stranger(vec![authorized(&Offer::custom(), UNITS), captured(hash, UNITS)]);
        }, Failed("payment_already_collected", true)),
    ]
}

#[test]
fn law4_every_row_of_what_proves_what() {
    for row in rows() {
        let mut story = (row.base)();
        (row.change)(&mut story);
        let judged = match story.judged() {
            Judgement::Paid(paid) if paid.tx_id == TX => Expected::Paid(TX),
            Judgement::Paid(paid) if paid.tx_id == FOREIGN => Expected::Paid(FOREIGN),
            Judgement::Unproven { why } => {
                assert!(!why.is_empty());
                Expected::Open
            }
            Judgement::NotPaid(refusal) => match row.expected {
                Expected::Failed(reason, _)
                    if refusal.reason == format!("invalid_auth_capture_evm_{reason}") =>
                {
                    let named = refusal.message.is_some_and(|message| message.contains(FOREIGN));
                    Expected::Failed(reason, named)
                }
                _ => panic!("{}: {refusal:?}", row.seen),
            },
            other => panic!("{}: {other:?}", row.seen),
        };
        assert_eq!(judged, row.expected, "{}", row.seen);
    }
}
