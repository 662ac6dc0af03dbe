//! What evidence proves.

use alloy_primitives::{Address, U256};
use schemes_evm::abi::TRANSFER_TOPIC;
use schemes_evm::permit2::Proxy;
use sdk_plugin::chain::{Evidence, ForeignTx, GuardState, LogEntry, Shown};
use sdk_plugin::scheme::{Judgement, Plan};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{HexBytes, StepIndex};

use crate::world::{ASSET, BOTH, NOW_S, OTHER, Offer, PAYEE, PAYER, World, good};

pub const OWN: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub const FOREIGN: &str = "0xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

pub fn account(address: &str) -> HexBytes {
    HexBytes(address.parse::<Address>().unwrap().into_word().to_vec())
}

pub fn moved(index: u64, emitter: &str, from: &str, to: &str, value: u64) -> LogEntry {
    LogEntry {
        id: format!("{OWN}/{index}"),
        emitter: emitter.into(),
        topics: vec![HexBytes(TRANSFER_TOPIC.to_vec()), account(from), account(to)],
        data: HexBytes(U256::from(value).to_be_bytes::<32>().to_vec()),
    }
}

pub fn exact_log() -> Vec<LogEntry> {
    vec![moved(4, ASSET, PAYER, PAYEE, 10_000)]
}

pub fn plan(proxy: Proxy) -> Plan {
    World::new(proxy).plan(&good(proxy)).expect("a plan")
}

pub fn landed() -> Shown {
    Shown::Landed { height: 110 }
}

pub fn reverted(message: &str) -> Shown {
    Shown::Reverted {
        height: 110,
        message: Some(message.into()),
    }
}

pub fn evidence(shown: Shown, logs: Vec<LogEntry>, foreign: Vec<ForeignTx>) -> Evidence {
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
        foreign,
        shared: false,
    }
}

pub fn judge(proxy: Proxy, plan: &Plan, evidence: &Evidence) -> Judgement {
    let world = World::new(proxy);
    let judgement = block_on(world.scheme.judge(&world.cx(), plan, evidence)).expect("no fault");
    assert_eq!(world.host.round_trips(), 0, "judging reads nothing");
    judgement
}

/// Transaction, items and amount of a payment, or the reason why not.
pub fn outcome(proxy: Proxy, plan: &Plan, evidence: &Evidence) -> Result<(String, Vec<String>, u64), String> {
    match judge(proxy, plan, evidence) {
        Judgement::Paid(paid) => {
            assert_eq!(paid.reply.payer, PAYER);
            assert!(!paid.repeatable && paid.writes.is_empty());
            let amount = paid.reply.amount.expect("an amount").0;
            Ok((paid.tx_id, paid.items, amount.to()))
        }
        Judgement::NotPaid(refusal) => {
            assert_eq!(refusal.payer, PAYER);
            Err(refusal.reason)
        }
        other => panic!("undecided: {other:?}"),
    }
}

#[test]
fn the_assets_own_log_pays() {
    for proxy in BOTH {
        let paid = outcome(proxy, &plan(proxy), &evidence(landed(), exact_log(), vec![]));
        assert_eq!(paid, Ok((OWN.into(), vec![format!("{OWN}/4")], 10_000)));
    }
}

#[test]
fn t30_anything_but_the_exact_log_does_not_pay() {
    let mut dirty_topic = moved(4, ASSET, PAYER, PAYEE, 10_000);
    dirty_topic.topics[2].0[0] = 1;
    let mut more_data = moved(4, ASSET, PAYER, PAYEE, 10_000);
    more_data.data.0.push(0);
    let mut more_topics = moved(4, ASSET, PAYER, PAYEE, 10_000);
    more_topics.topics.push(account(OTHER));
    for (name, logs) in [
        ("no logs", vec![]),
        ("a fee was kept", vec![moved(4, ASSET, PAYER, PAYEE, 9_999)]),
        ("too much", vec![moved(4, ASSET, PAYER, PAYEE, 10_001)]),
        ("another payee", vec![moved(4, ASSET, PAYER, OTHER, 10_000)]),
        ("another payer", vec![moved(4, ASSET, OTHER, PAYEE, 10_000)]),
        ("another token", vec![moved(4, OTHER, PAYER, PAYEE, 10_000)]),
        ("a dirty topic", vec![dirty_topic]),
        ("more data", vec![more_data]),
        ("more topics", vec![more_topics]),
    ] {
        for (proxy, reason) in [
            (Proxy::Exact, "invalid_exact_evm_transfer_event_mismatch"),
            (Proxy::Upto, "invalid_upto_evm_transaction_failed"),
        ] {
            for guard in [GuardState::Absent, GuardState::Changed, GuardState::Unread] {
                let evidence = Evidence {
                    guard,
                    ..evidence(landed(), logs.clone(), vec![])
                };
                assert_eq!(
                    outcome(proxy, &plan(proxy), &evidence),
                    Err(reason.into()),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn reverts_have_the_specified_reasons() {
    for (message, reason) in [
        (
            "execution reverted (error data 0x050cda49…)",
            "permit2_2612_amount_mismatch",
        ),
        (
            "execution reverted (error data 0x2c5211c6…)",
            "permit2_invalid_amount",
        ),
        (
            "execution reverted (error data 0xac6b05f5…)",
            "permit2_invalid_destination",
        ),
        (
            "execution reverted (error data 0x49e27cff…)",
            "permit2_invalid_owner",
        ),
        (
            "execution reverted (error data 0xa65539fa…)",
            "permit2_payment_too_early",
        ),
        (
            "execution reverted (error data 0x815e1d64…)",
            "invalid_permit2_signature",
        ),
        (
            "execution reverted (error data 0xcd21db4f…)",
            "invalid_permit2_signature",
        ),
        (
            "execution reverted (error data 0x756688fe…)",
            "permit2_invalid_nonce",
        ),
        (
            "execution reverted (error data 0xfe64b4c7…)",
            "upto_amount_exceeds_permitted",
        ),
        (
            "execution reverted (error data 0x0f6fae87…)",
            "upto_unauthorized_facilitator",
        ),
        (
            "ERC20: transfer amount exceeds balance",
            "permit2_insufficient_balance",
        ),
    ] {
        for proxy in BOTH {
            let evidence = Evidence {
                guard: GuardState::Unchanged,
                ..evidence(reverted(message), vec![], vec![])
            };
            assert_eq!(
                outcome(proxy, &plan(proxy), &evidence),
                Err(reason.into()),
                "{message}"
            );
        }
    }
    for (proxy, reason) in [
        (Proxy::Exact, "invalid_exact_evm_transaction_failed"),
        (Proxy::Upto, "invalid_upto_evm_transaction_failed"),
    ] {
        let evidence = evidence(reverted("TRANSFER_FROM_FAILED"), vec![], vec![]);
        assert_eq!(outcome(proxy, &plan(proxy), &evidence), Err(reason.into()));
    }
}

#[test]
fn what_never_landed_failed_and_after_the_deadline_by_it() {
    let dead = || Shown::Dead {
        why: "no slot".into(),
    };
    for proxy in BOTH {
        let unchanged = Evidence {
            guard: GuardState::Unchanged,
            ..evidence(dead(), vec![], vec![])
        };
        let failed = outcome(proxy, &plan(proxy), &unchanged).expect_err("failed");
        assert!(failed.ends_with("_transaction_failed"), "{failed}");
        let offer = Offer {
            deadline: NOW_S + 60,
            ..Offer::of(proxy)
        };
        let plan = World::new(proxy).plan(&offer.signed()).expect("a plan");
        let world = World::new(proxy);
        world.host.advance_ms(60_000);
        let judgement = block_on(world.scheme.judge(&world.cx(), &plan, &unchanged)).expect("no fault");
        let Judgement::NotPaid(refusal) = judgement else {
            panic!("{judgement:?}")
        };
        assert_eq!(refusal.reason, "permit2_deadline_expired");
    }
}

/// Multicall3 calls the proxy beside other payments: the log shows which calls worked.
#[test]
fn t125_in_a_shared_transaction_the_log_decides_and_tells_payments_apart() {
    let proxy = Proxy::Exact;
    let plan = plan(proxy);
    let shared = |logs, guard| Evidence {
        shared: true,
        guard,
        ..evidence(landed(), logs, vec![])
    };
    let Judgement::Paid(paid) = judge(proxy, &plan, &shared(exact_log(), GuardState::Absent)) else {
        panic!("paid")
    };
    let extra = paid.reply.extra.expect("it tells payments apart");
    assert_eq!(extra["logIndices"], serde_json::json!([4]));
    assert!(extra["nonce"].is_string(), "{extra:?}");
    let others = vec![moved(4, ASSET, OTHER, PAYEE, 10_000)];
    for guard in [GuardState::Absent, GuardState::Unchanged] {
        let failed = outcome(proxy, &plan, &shared(others.clone(), guard)).expect_err("no transfer");
        assert_eq!(failed, "invalid_exact_evm_transaction_failed");
    }
    for guard in [GuardState::Changed, GuardState::Unread] {
        let judgement = judge(proxy, &plan, &shared(others.clone(), guard));
        assert!(matches!(judgement, Judgement::Unproven { .. }), "{judgement:?}");
    }
}
