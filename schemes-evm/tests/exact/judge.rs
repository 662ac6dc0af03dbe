//! What evidence proves.

use alloy_primitives::{Address, B256, U256};
use schemes_evm::abi::{AUTHORIZATION_USED_TOPIC, TRANSFER_TOPIC};
use sdk_plugin::chain::{Evidence, ForeignTx, GuardState, LogEntry, Shown};
use sdk_plugin::scheme::{Judgement, Plan};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{HexBytes, SchemeHandler, StepIndex};
use serde_json::json;

use crate::world::{ASSET, NONCE, NOW_S, OTHER, Offer, PAYEE, PAYER, World, good};

pub const OWN: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub const FOREIGN: &str = "0xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
pub const OTHER_NONCE: &str = "0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

pub fn account(address: &str) -> HexBytes {
    HexBytes(address.parse::<Address>().unwrap().into_word().to_vec())
}

pub fn used(index: u64, emitter: &str, payer: &str, nonce: &str) -> LogEntry {
    LogEntry {
        id: format!("{OWN}/{index}"),
        emitter: emitter.into(),
        topics: vec![
            HexBytes(AUTHORIZATION_USED_TOPIC.to_vec()),
            account(payer),
            HexBytes(nonce.parse::<B256>().unwrap().to_vec()),
        ],
        data: HexBytes::default(),
    }
}

pub fn moved(index: u64, emitter: &str, from: &str, to: &str, value: u64) -> LogEntry {
    LogEntry {
        id: format!("{OWN}/{index}"),
        emitter: emitter.into(),
        topics: vec![HexBytes(TRANSFER_TOPIC.to_vec()), account(from), account(to)],
        data: HexBytes(U256::from(value).to_be_bytes::<32>().to_vec()),
    }
}

pub fn exact_logs() -> Vec<LogEntry> {
    vec![
        used(3, ASSET, PAYER, NONCE),
        moved(4, ASSET, PAYER, PAYEE, 10_000),
    ]
}

pub fn plan() -> Plan {
    World::new().plan(&good()).expect("a plan")
}

pub fn evidence(shown: Shown, logs: Vec<LogEntry>, foreign: Vec<Vec<LogEntry>>) -> Evidence {
    Evidence {
        step: StepIndex::FIRST,
        shown,
        tx_id: OWN.into(),
        head_height: 120,
        logs,
        deltas: vec![],
        reads: vec![],
        guard: GuardState::Absent,
        block_logs: vec![],
        foreign: foreign
            .into_iter()
            .map(|logs| ForeignTx {
                tx_id: FOREIGN.into(),
                height: 110,
                block: "0xb".into(),
                earlier: false,
                in_slot: false,
                call: None,
                depth: 11,
                logs,
            })
            .collect(),
        shared: false,
    }
}

pub fn judge(evidence: &Evidence) -> Judgement {
    let world = World::new();
    let judgement = block_on(world.exact.judge(&world.cx(), &plan(), evidence)).expect("no fault");
    assert_eq!(world.host.round_trips(), 0, "judging reads nothing");
    judgement
}

/// Transaction and items of a payment, or the reason why not.
fn outcome(
    shown: Shown,
    logs: Vec<LogEntry>,
    foreign: Vec<Vec<LogEntry>>,
) -> Result<(String, Vec<String>), String> {
    match judge(&evidence(shown, logs, foreign)) {
        Judgement::Paid(paid) => {
            assert_eq!(paid.reply.payer, PAYER);
            assert_eq!(paid.reply.amount, Some(10_000u64.into()));
            assert!(!paid.repeatable && paid.writes.is_empty());
            Ok((paid.tx_id, paid.items))
        }
        Judgement::NotPaid(refusal) => {
            assert_eq!(refusal.payer, PAYER);
            Err(refusal.reason)
        }
        other => panic!("undecided: {other:?}"),
    }
}

fn landed(logs: Vec<LogEntry>) -> Result<(String, Vec<String>), String> {
    outcome(Shown::Landed { height: 110 }, logs, vec![])
}

pub fn reverted(message: &str) -> Shown {
    Shown::Reverted {
        height: 110,
        message: Some(message.into()),
    }
}

#[test]
fn both_logs_of_the_asset_pay() {
    let items = vec![format!("{OWN}/3"), format!("{OWN}/4")];
    assert_eq!(landed(exact_logs()), Ok((OWN.into(), items)));
}

#[test]
fn t125_a_payment_of_a_shared_transaction_differs_from_the_others() {
    let landed = Shown::Landed { height: 110 };
    let of = |logs: Vec<LogEntry>, guard: GuardState| {
        judge(&Evidence {
            shared: true,
            guard,
            ..evidence(landed.clone(), logs, vec![])
        })
    };
    let Judgement::Paid(paid) = of(exact_logs(), GuardState::Absent) else {
        panic!("it paid")
    };
    let extra = paid.reply.extra.expect("extra");
    assert_eq!(extra["nonce"], NONCE);
    assert_eq!(extra["logIndices"], json!([3, 4]));
    // Alone it needs neither.
    let Judgement::Paid(alone) = judge(&evidence(landed.clone(), exact_logs(), vec![])) else {
        panic!("it paid")
    };
    assert_eq!(alone.reply.extra, None);
    // Its call failed beside others that worked.
    let Judgement::NotPaid(refusal) = of(vec![], GuardState::Unchanged) else {
        panic!("it did not pay")
    };
    assert_eq!(refusal.reason, "invalid_exact_evm_transaction_failed");
    assert!(
        matches!(of(vec![], GuardState::Changed), Judgement::Unproven { .. }),
        "another transaction used the authorization, and may have paid"
    );
}

#[test]
fn t30_anything_but_the_exact_logs_does_not_pay() {
    let mismatch = Err("invalid_exact_evm_transfer_event_mismatch".to_owned());
    let authorization = || used(3, ASSET, PAYER, NONCE);
    let transfer = || moved(4, ASSET, PAYER, PAYEE, 10_000);
    let mut dirty_topic = transfer();
    dirty_topic.topics[2].0[0] = 1;
    let mut more_data = transfer();
    more_data.data.0.push(0);
    for (name, logs) in [
        ("no logs", vec![]),
        ("no transfer", vec![authorization()]),
        ("no authorization", vec![transfer()]),
        (
            "a fee was kept",
            vec![
                authorization(),
                moved(4, ASSET, PAYER, PAYEE, 9_900),
                moved(5, ASSET, PAYER, OTHER, 100),
            ],
        ),
        (
            "one unit less",
            vec![authorization(), moved(4, ASSET, PAYER, PAYEE, 9_999)],
        ),
        (
            "one unit more",
            vec![authorization(), moved(4, ASSET, PAYER, PAYEE, 10_001)],
        ),
        (
            "another payee",
            vec![authorization(), moved(4, ASSET, PAYER, OTHER, 10_000)],
        ),
        (
            "another payer",
            vec![authorization(), moved(4, ASSET, OTHER, PAYEE, 10_000)],
        ),
        (
            "another emitter",
            vec![authorization(), moved(4, OTHER, PAYER, PAYEE, 10_000)],
        ),
        (
            "another authorizer",
            vec![used(3, ASSET, OTHER, NONCE), transfer()],
        ),
        (
            "another nonce",
            vec![used(3, ASSET, PAYER, OTHER_NONCE), transfer()],
        ),
        (
            "authorization of another contract",
            vec![used(3, OTHER, PAYER, NONCE), transfer()],
        ),
        ("dirt above an address", vec![authorization(), dirty_topic]),
        ("longer data", vec![authorization(), more_data]),
    ] {
        assert_eq!(landed(logs), mismatch, "{name}");
    }
}

#[test]
fn equal_transfers_in_one_transaction_prove_one_payment_each() {
    let logs = || {
        vec![
            used(1, ASSET, PAYER, OTHER_NONCE),
            moved(2, ASSET, PAYER, PAYEE, 10_000),
            used(3, ASSET, PAYER, NONCE),
            moved(4, ASSET, PAYER, PAYEE, 10_000),
        ]
    };
    assert_eq!(
        landed(logs()).map(|(_, items)| items),
        Ok(vec![format!("{OWN}/3"), format!("{OWN}/4")])
    );
    // Two authorizations and one transfer: it is the later one's.
    let mut one_transfer = logs();
    one_transfer.swap(1, 2);
    one_transfer.swap(0, 1);
    one_transfer.truncate(3);
    assert_eq!(
        landed(one_transfer),
        Err("invalid_exact_evm_transfer_event_mismatch".into())
    );
    // Transfers of other payers in between are ignored.
    let between = vec![
        used(3, ASSET, PAYER, NONCE),
        moved(4, ASSET, OTHER, PAYEE, 10_000),
        moved(5, ASSET, PAYER, PAYEE, 10_000),
    ];
    assert!(landed(between).is_ok());
}

#[test]
fn t33_another_senders_transaction_pays_when_it_is_exact() {
    let used_revert = || reverted("FiatTokenV2: authorization is used or canceled");
    let dead = || Shown::Dead {
        why: "its slot was filled".into(),
    };
    let none: fn() -> Shown = || Shown::Reverted {
        height: 110,
        message: None,
    };
    for shown in [used_revert(), dead(), none()] {
        let paid = outcome(shown.clone(), vec![], vec![vec![], exact_logs()]);
        assert_eq!(paid.map(|(tx_id, _)| tx_id), Ok(FOREIGN.into()), "{shown:?}");
        let elsewhere = vec![
            used(3, ASSET, PAYER, NONCE),
            moved(4, ASSET, PAYER, OTHER, 10_000),
        ];
        assert_eq!(
            outcome(shown, vec![], vec![elsewhere]),
            Err("invalid_exact_evm_nonce_already_used".into())
        );
    }
    assert_eq!(
        outcome(used_revert(), vec![], vec![]),
        Err("invalid_exact_evm_nonce_already_used".into()),
        "used or cancelled by nobody we know"
    );
}

#[test]
fn reverts_are_named_and_explained() {
    for (message, reason) in [
        (
            "FiatTokenV2: authorization is expired",
            "invalid_exact_evm_payload_authorization_valid_before",
        ),
        (
            "ERC20: transfer amount exceeds balance",
            "invalid_exact_evm_insufficient_balance",
        ),
        ("FiatTokenV2: invalid signature", "invalid_exact_evm_signature"),
        ("Pausable: paused", "invalid_exact_evm_transaction_failed"),
    ] {
        assert_eq!(outcome(reverted(message), vec![], vec![]), Err(reason.into()));
    }
    // Logs can't come with a revert; a node that shows some is not believed.
    assert_eq!(
        outcome(reverted(""), exact_logs(), vec![]),
        Err("invalid_exact_evm_transaction_failed".into())
    );
}

#[test]
fn the_dead_are_expired_or_failed() {
    let dead = Shown::Dead {
        why: "its slot was filled".into(),
    };
    assert_eq!(
        outcome(dead.clone(), vec![], vec![]),
        Err("invalid_exact_evm_transaction_failed".into())
    );

    let world = World::new();
    let soon = Offer {
        valid_before: NOW_S + 60,
        ..Offer::default()
    }
    .signed();
    let plan = world.plan(&soon).expect("a plan");
    world.host.advance_ms(60_000);
    let judged = block_on(
        world
            .exact
            .judge(&world.cx(), &plan, &evidence(dead, vec![], vec![])),
    );
    let Ok(Judgement::NotPaid(refusal)) = judged else {
        panic!("{judged:?}")
    };
    assert_eq!(
        refusal.reason,
        "invalid_exact_evm_payload_authorization_valid_before"
    );
}

#[test]
fn a_plan_that_is_not_ours_is_a_fault() {
    let world = World::new();
    let evidence = evidence(Shown::Landed { height: 1 }, exact_logs(), vec![]);
    let mut foreign_memo = plan();
    foreign_memo.steps[0].memo = serde_json::json!({"asset": "0x12"});
    assert!(block_on(world.exact.judge(&world.cx(), &foreign_memo, &evidence)).is_err());
    let no_step = Evidence {
        step: StepIndex::new(1),
        ..evidence
    };
    assert!(block_on(world.exact.judge(&world.cx(), &plan(), &no_step)).is_err());
}
