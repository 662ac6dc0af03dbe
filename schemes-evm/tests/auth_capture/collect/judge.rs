//! What counts as collected: the escrow's own event and the payment's state, both.

use alloy_primitives::aliases::U120;
use alloy_primitives::{Address, U256};
use alloy_sol_types::SolValue;
use sdk_plugin::chain::{Evidence, ForeignTx, GuardState, LogEntry, ReadResult, Shown};
use sdk_plugin::scheme::{Judgement, Plan};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{Amount, HexBytes, SchemeHandler, StepIndex};
use serde_json::json;

use super::custom::{address, authorized, charged, custom_charge, honest_transfers, transfer};
use super::offer::{ASSET_ADDRESS, CONTRACT, FACILITATOR, NOW_S, Offer, PAYER_ADDRESS, UNITS};
use super::order::Draft;
use super::world::World;

pub const TX: &str = "0xabababababababababababababababababababababababababababababababab";

/// A planned collection and its evidence when everything succeeded.
pub struct Story {
    pub world: World,
    pub plan: Plan,
    pub evidence: Evidence,
}

impl Story {
    pub fn of(offer: Offer, sandboxed: bool) -> Self {
        let mut draft = Draft::of(offer);
        let offer = draft.offer.clone();
        let (event, state) = match offer.completion {
            None => (authorized(&offer, UNITS), (true, UNITS, 0)),
            Some((amount, _)) => (charged(&offer), (true, 0, amount)),
        };
        let mut logs = vec![event];
        if sandboxed {
            super::custom::make_honest(&mut draft);
            logs.extend(honest_transfers(&offer));
        }
        for (index, log) in logs.iter_mut().enumerate() {
            log.id = format!("{TX}/{index}");
        }
        let world = draft.world();
        let plan = world.plan(&draft.request()).expect("planned");
        Self {
            world,
            plan,
            evidence: Evidence {
                step: StepIndex::FIRST,
                shown: Shown::Landed { height: 101 },
                tx_id: TX.into(),
                head_height: 101,
                logs,
                deltas: Vec::new(),
                reads: vec![read(state)],
                foreign: Vec::new(),
                guard: GuardState::Absent,
                block_logs: Vec::new(),
                shared: false,
            },
        }
    }

    pub fn judged(&self) -> Judgement {
        block_on(
            self.world
                .scheme
                .judge(&self.world.cx(), &self.plan, &self.evidence),
        )
        .expect("judged")
    }

    fn not_paid(&self) -> String {
        match self.judged() {
            Judgement::NotPaid(refusal) => refusal.reason,
            other => panic!("{other:?}"),
        }
    }

    fn is_unproven(&self) -> bool {
        matches!(self.judged(), Judgement::Unproven { .. })
    }

    pub fn fails(&mut self, message: &str) {
        self.evidence.shown = Shown::Reverted {
            height: 101,
            message: Some(message.into()),
        };
        self.evidence.logs.clear();
        self.evidence.reads = vec![read((false, 0, 0))];
    }
}

pub fn read((collected, capturable, refundable): (bool, u64, u64)) -> ReadResult {
    let words = (collected, U120::from(capturable), U120::from(refundable)).abi_encode();
    ReadResult {
        name: "paymentState".into(),
        data: Some(HexBytes(words)),
    }
}

pub fn hold() -> Story {
    Story::of(Offer::default(), false)
}

#[test]
fn an_event_and_the_state_prove_it() {
    for (story, kind, amount) in [
        (hold(), "authorize", UNITS),
        (Story::of(Offer::charged(), false), "charge", 750_000),
        (Story::of(Offer::custom(), true), "authorize", UNITS),
        (Story::of(custom_charge(), true), "charge", 750_000),
    ] {
        let Judgement::Paid(paid) = story.judged() else {
            panic!("{:?}", story.judged());
        };
        assert_eq!(paid.tx_id, TX);
        assert_eq!(paid.items, [format!("{TX}/0")]);
        assert_eq!(paid.reply.amount, Some(Amount::from(amount)));
        assert_eq!(paid.reply.payer, story.plan.payer);
        assert!(!paid.repeatable);
        let [row, height] = paid.writes.as_slice() else {
            panic!("the operation, and how new its balances are: {:?}", paid.writes);
        };
        assert_eq!(row.value["type"], json!(kind));
        assert_eq!(row.value["transaction"], json!(TX));
        assert_eq!(row.value["height"], json!(101));
        assert_eq!(height.value, json!(101));
    }
}

#[test]
fn without_the_escrows_own_exact_event_it_is_not_collected() {
    const UNEXPECTED: &str = "invalid_auth_capture_evm_unexpected_payment_state";
    let with = |change: fn(&mut Vec<LogEntry>)| {
        let mut story = hold();
        change(&mut story.evidence.logs);
        story.not_paid()
    };
    assert_eq!(with(Vec::clear), UNEXPECTED);
    assert_eq!(with(|logs| logs[0].emitter = CONTRACT.into()), UNEXPECTED);
    assert_eq!(with(|logs| logs[0].topics[1].0[0] ^= 1), UNEXPECTED);
    assert_eq!(
        with(|logs| logs[0] = authorized(&Offer::default(), UNITS - 1)),
        UNEXPECTED
    );
    assert_eq!(with(|logs| logs[0] = charged(&Offer::charged())), UNEXPECTED);
    assert_eq!(with(|logs| logs[0].data.0.truncate(31)), UNEXPECTED);
    let other = Offer {
        collector: Some(Address::repeat_byte(9)),
        ..Offer::default()
    };
    let mut story = hold();
    story.evidence.logs[0] = authorized(&other, UNITS);
    assert_eq!(story.not_paid(), UNEXPECTED);
    for state in [
        (true, UNITS - 1, 0),
        (true, 0, 0),
        (false, UNITS, 0),
        (true, UNITS, 1),
    ] {
        let mut story = hold();
        story.evidence.reads = vec![read(state)];
        // The escrow reported the collection. What else moved the payment is in the events of the block, or the node is wrong.
        assert!(story.is_unproven(), "{state:?}");
    }
}

#[test]
fn t76_a_node_that_lags_leaves_it_open() {
    let mut story = hold();
    story.evidence.reads = vec![read((false, 0, 0))];
    assert!(story.is_unproven());
    story.evidence.reads[0].data = None;
    assert!(story.is_unproven());
    story.evidence.reads[0].data = Some(HexBytes(vec![0; 95]));
    assert!(story.is_unproven());
    story.evidence.reads.clear();
    assert!(story.is_unproven());
}

#[test]
fn a_state_that_every_node_has_forgotten_keeps_no_hold_open_for_ever() {
    let mut story = hold();
    story.evidence.reads.clear();
    story.evidence.head_height = 101 + 63;
    assert!(story.is_unproven());
    story.evidence.head_height = 101 + 64;
    assert!(matches!(story.judged(), Judgement::Paid(_)), "the escrow's event");
    story.evidence.logs.clear();
    assert_eq!(
        story.not_paid(),
        "invalid_auth_capture_evm_unexpected_payment_state",
        "without the event there is nothing"
    );
}

#[test]
fn failures_are_named() {
    let mut story = hold();
    story.fails("execution reverted (error data 0xad7c145a…)");
    assert_eq!(
        story.not_paid(),
        "invalid_auth_capture_evm_payment_already_collected"
    );
    story.fails("execution reverted: Pausable: paused");
    assert_eq!(story.not_paid(), "invalid_auth_capture_evm_transaction_reverted");
    story.evidence.reads = vec![read((true, 1, 0))];
    assert_eq!(
        story.not_paid(),
        "invalid_auth_capture_evm_payment_already_collected"
    );

    let mut story = hold();
    story.evidence.shown = Shown::Dead { why: "gone".into() };
    assert_eq!(story.not_paid(), "invalid_auth_capture_evm_transaction_reverted");
    story.world.host.advance_ms(600_000);
    assert_eq!(story.not_paid(), "invalid_auth_capture_evm_authorization_expired");

    let mut old = Story::of(Offer::v1_0(), false);
    old.fails("x");
    assert_eq!(old.not_paid(), "transaction_reverted");
    assert_eq!(NOW_S + 600, Offer::default().valid_before);
}

#[test]
fn t65_what_a_contract_moved_is_judged_by_the_tokens_logs() {
    const UNEXPECTED: &str = "invalid_auth_capture_evm_unexpected_payment_state";
    let with = |change: &dyn Fn(&mut Vec<LogEntry>)| {
        let mut story = Story::of(custom_charge(), true);
        change(&mut story.evidence.logs);
        story
    };
    let contract = address(CONTRACT);
    let moved = |from, to| transfer(ASSET_ADDRESS, from, to, 1);
    for robbed in [
        PAYER_ADDRESS,
        address(super::offer::PAYEE),
        address(super::offer::OTHER),
        address(FACILITATOR),
    ] {
        let story = with(&|logs| logs.push(moved(robbed, contract)));
        assert_eq!(story.not_paid(), UNEXPECTED, "{robbed}");
    }
    // It stayed in the store instead of going to the receiver.
    assert_eq!(with(&|logs| drop(logs.pop())).not_paid(), UNEXPECTED);
    // The escrow reported something else beside it.
    let voided =
        alloy_sol_types::SolEvent::encode_log_data(&schemes_evm::auth_capture::abi::Escrow::PaymentVoided {
            paymentInfoHash: custom_charge().hash(),
            amount: U256::from(1),
        });
    let story = with(&|logs| {
        logs.push(LogEntry {
            id: format!("{TX}/9"),
            emitter: logs[0].emitter.clone(),
            topics: voided
                .topics()
                .iter()
                .map(|topic| HexBytes(topic.to_vec()))
                .collect(),
            data: HexBytes(voided.data.to_vec()),
        });
    });
    assert_eq!(story.not_paid(), UNEXPECTED);
    // Transfers of other tokens, and of other accounts, are nothing to it.
    let story = with(&|logs| {
        logs.push(transfer(Address::repeat_byte(7), PAYER_ADDRESS, contract, 5));
        logs.push(moved(contract, Address::repeat_byte(8)));
    });
    assert!(matches!(story.judged(), Judgement::Paid(_)));
}

#[test]
fn another_senders_relay_of_a_contract_counts_and_of_our_own_key_there_is_none() {
    let foreign = |logs: Vec<LogEntry>| ForeignTx {
        block: "0xb".into(),
        earlier: false,
        in_slot: false,
        call: None,
        tx_id: "0xcdcd".into(),
        height: 102,
        depth: 1,
        logs,
    };
    let mut story = Story::of(Offer::custom(), true);
    let logs = story.evidence.logs.clone();
    story.fails("execution reverted (error data 0xad7c145a…)");
    story.evidence.foreign = vec![foreign(Vec::new()), foreign(logs)];
    let Judgement::Paid(paid) = story.judged() else {
        panic!("{:?}", story.judged());
    };
    assert_eq!(paid.tx_id, "0xcdcd");
    assert_eq!(paid.writes[0].value["height"], json!(102));
    // Another amount is another collection.
    story.evidence.foreign[1].logs[0] = authorized(&Offer::custom(), UNITS - 1);
    assert_eq!(
        story.not_paid(),
        "invalid_auth_capture_evm_payment_already_collected"
    );
}

#[test]
fn memos_of_others_are_no_collections() {
    let mut story = hold();
    for memo in [
        json!(null),
        json!({}),
        json!({ "kind": "collect" }),
        json!({ "kind": "other" }),
    ] {
        story.plan.steps[0].memo = memo;
        assert!(
            block_on(
                story
                    .world
                    .scheme
                    .judge(&story.world.cx(), &story.plan, &story.evidence)
            )
            .is_err()
        );
    }
    story.evidence.step = StepIndex::new(7);
    assert!(
        block_on(
            story
                .world
                .scheme
                .judge(&story.world.cx(), &story.plan, &story.evidence)
        )
        .is_err()
    );
}
