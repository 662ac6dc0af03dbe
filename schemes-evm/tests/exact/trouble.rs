//! The reason for a failed simulation, and faults of nodes, which are never a reason to refuse a payment.

use sdk_plugin::host::RpcResult;
use sdk_plugin::testkit::block_on;
use sdk_plugin::{FaultKind, SchemeHandler};
use serde_json::json;

use crate::world::{Chain, Token, World, good, hex_result, internal_error, revert};

/// Diagnosis D1 to D6, each also with everything after it wrong.
#[test]
fn t35_a_failed_simulation_is_explained() {
    let token = Token::default;
    let wrong = || Token {
        balance: Some(9_999),
        name: Some("X"),
        version: Some("X"),
        used: Some(true),
        number: 1,
    };
    let table = [
        (
            Token {
                used: None,
                ..wrong()
            },
            "invalid_exact_evm_eip3009_not_supported",
        ),
        (
            Token {
                used: None,
                ..token()
            },
            "invalid_exact_evm_eip3009_not_supported",
        ),
        (wrong(), "invalid_exact_evm_nonce_already_used"),
        (
            Token {
                used: Some(true),
                ..token()
            },
            "invalid_exact_evm_nonce_already_used",
        ),
        (
            Token {
                used: Some(false),
                ..wrong()
            },
            "invalid_exact_evm_token_name_mismatch",
        ),
        (
            Token {
                name: Some("X"),
                ..token()
            },
            "invalid_exact_evm_token_name_mismatch",
        ),
        (
            Token {
                version: Some("1"),
                balance: Some(0),
                ..token()
            },
            "invalid_exact_evm_token_version_mismatch",
        ),
        (
            Token {
                balance: Some(9_999),
                ..token()
            },
            "invalid_exact_evm_insufficient_balance",
        ),
        (
            Token {
                name: None,
                version: None,
                balance: None,
                ..token()
            },
            "invalid_exact_evm_transaction_simulation_failed",
        ),
        (token(), "invalid_exact_evm_transaction_simulation_failed"),
    ];
    for (token, reason) in table {
        let world = World::with(|chain| {
            chain.simulation = revert("the token's own error");
            chain.estimate = revert("the token's own error");
            chain.diagnosis = token.answer();
        });
        let refusal = world.verify(&good()).expect_err("refused");
        assert_eq!(refusal.reason, reason, "{token:?}");
        assert_eq!(refusal.message.as_deref(), Some("the token's own error"));
        assert_eq!(world.refused(&good()), reason);
    }
    for failed in [revert(""), hex_result(&[]), hex_result(&[1, 2, 3])] {
        let world = World::with(|chain| {
            chain.simulation = revert("no");
            chain.estimate = revert("no");
            chain.diagnosis = failed;
        });
        assert_eq!(
            world.refused(&good()),
            "invalid_exact_evm_transaction_simulation_failed"
        );
    }
}

/// An error of a node at each call, as an error of that call and as a failure of the whole round trip.
#[test]
fn t13_trouble_of_nodes_is_never_a_reason() {
    type Break = fn(&mut Chain);
    let at_each_call: [(&str, Break); 7] = [
        ("payer code", |chain| chain.payer_code = internal_error()),
        ("asset code", |chain| chain.asset_code = internal_error()),
        ("wallet", |chain| {
            chain.payer_code = hex_result(&[1]);
            chain.wallet = internal_error();
        }),
        ("simulation", |chain| {
            chain.simulation = internal_error();
            chain.estimate = internal_error();
        }),
        ("diagnosis", |chain| {
            chain.simulation = revert("no");
            chain.estimate = revert("no");
            chain.diagnosis = internal_error();
        }),
        ("no hex", |chain| {
            chain.simulation = RpcResult::Ok(json!(null));
            chain.estimate = RpcResult::Ok(json!({}));
        }),
        ("no code", |chain| {
            chain.payer_code = RpcResult::Ok(json!("no hex"))
        }),
    ];
    for (name, change) in at_each_call {
        for fault in [
            World::with(change).try_verify(&good()).err(),
            World::with(change).try_plan(&good()).err(),
        ] {
            let fault = fault.unwrap_or_else(|| panic!("{name}: a fault, not an answer"));
            assert_eq!(fault.kind, FaultKind::Unavailable, "{name}");
        }
    }
    for change in [
        (|chain: &mut Chain| chain.height = internal_error()) as Break,
        |chain| chain.balance = internal_error(),
    ] {
        let fault = World::with(change).try_plan(&good()).expect_err("a fault");
        assert_eq!(fault.kind, FaultKind::Unavailable);
    }
    // The round trips themselves: the only one, a wallet's second, and that of a diagnosis.
    for (failing, change) in [
        (0, (|_: &mut Chain| {}) as Break),
        (0, |chain| chain.payer_code = hex_result(&[1])),
        (1, |chain| chain.payer_code = hex_result(&[1])),
        (1, |chain| {
            chain.simulation = revert("no");
            chain.estimate = revert("no");
        }),
    ] {
        let world = World::with(change);
        let cx = || world.cx_failing_at(failing);
        let verified = block_on(world.exact.verify(&cx(), &good()));
        assert_eq!(verified.expect_err("a fault").kind, FaultKind::Unavailable);
        let planned = block_on(world.exact.plan(&cx(), &good()));
        assert_eq!(planned.expect_err("a fault").kind, FaultKind::Unavailable);
    }
}
