//! Whose money a refund is.

use schemes_evm::auth_capture::config::{Config, RefundAgreement};
use schemes_evm::auth_capture::deployment::V1_1;
use sdk_plugin::PaymentRequest;
use sdk_plugin::host::StoreResponse;

use super::world::*;

fn captured(config: Config) -> World {
    World::with(config, |chain| chain.state = state_result(true, 0, HELD))
}

fn refund(amount: u64) -> PaymentRequest {
    Payment::on(V1_1).refund(amount, balances(0, HELD))
}

#[test]
fn t64_without_an_agreement_of_exactly_this_kind_nothing_is_refunded() {
    let change: [fn(&mut RefundAgreement); 4] = [
        |agreement| agreement.tenant = "other".into(),
        |agreement| agreement.receiver = STRANGER,
        |agreement| agreement.network = "eip155:8453".into(),
        |agreement| agreement.asset = STRANGER,
    ];
    assert!(captured(config()).verify(&refund(1)).is_ok());
    let none = Config {
        refund_funding: Vec::new(),
        ..config()
    };
    assert_eq!(captured(none).refused(&refund(1)), "refund_funding_unavailable");
    for change in change {
        let mut other = agreement();
        change(&mut other);
        let config = Config {
            refund_funding: vec![other],
            ..config()
        };
        assert_eq!(captured(config).refused(&refund(1)), "refund_funding_unavailable");
    }
    let mut anonymous = refund(1);
    anonymous.tenant = None;
    assert_eq!(
        captured(config()).refused(&anonymous),
        "refund_funding_unavailable",
        "the authorizer's signature alone is not enough"
    );
}

#[test]
fn t64_the_days_limit_is_counted_with_the_plan() {
    let limited = Config {
        refund_funding: vec![RefundAgreement {
            max_per_day: 100u64.into(),
            ..agreement()
        }],
        ..config()
    };
    let world = captured(limited);
    assert_eq!(world.refused(&refund(101)), "refund_funding_unavailable");
    let first = world.plan(&refund(60)).expect("a plan");
    let raced = world.plan(&refund(41)).expect("a plan");
    assert_eq!(world.store(first.writes), StoreResponse::Written);
    assert!(
        matches!(world.store(raced.writes), StoreResponse::Conflict { .. }),
        "what was planned beside it did not see it"
    );
    assert_eq!(world.refused(&refund(41)), "refund_funding_unavailable");
    let second = world.plan(&refund(40)).expect("a plan");
    assert_eq!(world.store(second.writes), StoreResponse::Written);
    assert_eq!(world.refused(&refund(1)), "refund_funding_unavailable");
    let later_s = NOW_S + 26 * 3_600;
    world.host.advance_ms(26 * 3_600 * 1_000);
    world.chain().block_s = later_s;
    assert!(world.verify(&refund(100)).is_ok(), "the day is over");
}

#[test]
fn t64_a_refusal_says_what_the_operator_must_do() {
    let message = |change: fn(&mut Chain)| {
        let world = captured(config());
        change(&mut world.chain());
        let refusal = world.plan(&refund(500)).expect_err("refused");
        assert_eq!(
            refusal.reason,
            "invalid_auth_capture_evm_refund_funding_unavailable"
        );
        refusal.message.expect("a sentence")
    };
    let poor = message(|chain| chain.balance = 499);
    assert!(poor.contains("send 1 more units"), "{poor}");
    assert!(poor.contains(&lower(OPERATOR)), "{poor}");
    let forbidden = message(|chain| chain.allowance = 499);
    assert!(
        forbidden.contains(&lower(V1_1.operator_refund_collector)),
        "{forbidden}"
    );
}

#[test]
fn refunds_that_run_at_once_count_against_one_balance() {
    let plan = captured(config()).plan(&refund(500)).expect("a plan");
    let [reserve] = plan.reserves.as_slice() else {
        panic!("{:?}", plan.reserves);
    };
    assert_eq!(reserve.payer, lower(OPERATOR));
    assert_eq!(reserve.asset, lower(ASSET));
    assert_eq!(reserve.amount, 500u64.into());
    assert_eq!(reserve.available, HELD.into());
    assert_eq!(reserve.as_of_height, 100);
    assert_eq!(
        reserve.refusal_reason,
        "invalid_auth_capture_evm_refund_funding_unavailable"
    );
}

#[test]
fn a_verdict_writes_nothing() {
    let world = captured(config());
    assert!(world.verify(&refund(500)).is_ok());
    let wrote = world.host.recorded().into_iter().any(|recorded| {
        matches!(
            recorded,
            sdk_plugin::testkit::Recorded::Store {
                request: sdk_plugin::host::StoreRequest::Write { .. },
                ..
            }
        )
    });
    assert!(!wrote);
}
