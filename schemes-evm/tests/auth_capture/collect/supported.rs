//! What is advertised, and what is reported to an operator.

use schemes_evm::auth_capture::config::{Config, OwnFeeTerms};
use schemes_evm::auth_capture::deployment::{V1_0, V1_1};
use sdk_plugin::SchemeHandler;
use sdk_plugin::host::RpcResult;
use sdk_plugin::scheme::{SchemeCheck, Supported};
use sdk_plugin::testkit::block_on;
use serde_json::{Value, json};

use super::offer::{AUTHORIZER, CONTRACT, FACILITATOR, OTHER, config, delegating};
use super::world::{Chain, World, hex_result, internal_error};

fn supported(world: &World) -> Supported {
    block_on(world.scheme.supported(&world.cx())).expect("no fault")
}

fn extra(config: Config) -> Value {
    let supported = supported(&World::new(config, Chain::default()));
    let [kind] = supported.kinds.as_slice() else {
        panic!("{supported:?}");
    };
    assert_eq!((kind.x402_version, kind.scheme.as_str()), (2, "auth-capture"));
    assert_eq!(supported.signers, [FACILITATOR.to_lowercase()]);
    Value::Object(kind.extra.clone().unwrap())
}

fn check(world: &World) -> SchemeCheck {
    block_on(world.scheme.check(&world.cx())).expect("no fault")
}

#[test]
fn only_what_is_configured_is_advertised() {
    let signer = FACILITATOR.to_lowercase();
    assert_eq!(extra(Config::default()), json!({ "captureAuthorizer": signer }));
    assert_eq!(
        extra(Config {
            fee_terms: Some(OwnFeeTerms {
                fee_recipient: OTHER.parse().unwrap(),
                min_fee_bps: 50,
                max_fee_bps: 50,
            }),
            ..delegating()
        }),
        json!({
            "captureAuthorizer": signer,
            "receiverAuthorizer": AUTHORIZER.to_lowercase(),
            "feeRecipient": OTHER,
            "minFeeBps": 50,
            "maxFeeBps": 50,
            "operators": [{ "address": CONTRACT, "operatorType": "custom" }],
        })
    );
    // No tenant could order anything of a payment that names it.
    let mut useless = delegating();
    useless.custom_operators.clear();
    let delegated = useless.delegated_authorizer.as_mut().unwrap();
    let listed = std::mem::take(&mut delegated.receivers);
    assert_eq!(extra(useless.clone()), json!({ "captureAuthorizer": signer }));
    useless.receivers = listed;
    assert_eq!(
        extra(useless)["receiverAuthorizer"],
        json!(AUTHORIZER.to_lowercase())
    );
    // Admitted elsewhere.
    let mut elsewhere = config();
    elsewhere.custom_operators[0].network = Some("eip155:1".into());
    assert_eq!(extra(elsewhere), json!({ "captureAuthorizer": signer }));
}

#[test]
fn nothing_is_advertised_without_a_signer_or_without_the_escrow() {
    let mut world = World::new(config(), Chain::default());
    world.lanes.clear();
    assert_eq!(supported(&world), Supported::default());
    let missing = Chain {
        missing: vec![V1_1.escrow],
        ..Chain::default()
    };
    let world = World::new(config(), missing);
    assert_eq!(supported(&world), Supported::default());
    let check = check(&world);
    assert!(!check.ready);
    assert!(
        check
            .why_not
            .unwrap()
            .contains("0xf96815976523e00e65be8f34ca5e64b4f41eb19c")
    );
    // Another contract at its address is no escrow.
    let wrong = Chain {
        typehash: hex_result(&[0; 32]),
        ..Chain::default()
    };
    assert_eq!(supported(&World::new(config(), wrong)), Supported::default());
}

#[test]
fn what_is_missing_beside_it_is_a_warning() {
    let chain = Chain {
        missing: vec![V1_0.escrow],
        ..Chain::default()
    };
    let check = check(&World::new(config(), chain));
    assert!(check.ready);
    assert_eq!(check.warnings.len(), 1);
    assert!(check.warnings[0].contains("0xbdea0d1bcc5966192b070fdf62ab4ef5b4420cff"));
}

#[test]
fn contracts_are_advertised_only_where_nodes_can_simulate() {
    let world = World::new(config(), Chain::default());
    world.chain().sandbox.instead = Some(RpcResult::Ok(json!([{ "calls": [] }])));
    let supported = supported(&world);
    assert!(
        !supported.kinds[0]
            .extra
            .as_ref()
            .unwrap()
            .contains_key("operators")
    );
    let warnings = check(&world).warnings;
    assert!(warnings[0].contains("eth_simulateV1"), "{warnings:?}");
    // A check afterwards finds a better node.
    world.chain().sandbox.instead = None;
    assert!(check(&world).warnings.is_empty());
    let supported = self::supported(&world);
    assert!(
        supported.kinds[0]
            .extra
            .as_ref()
            .unwrap()
            .contains_key("operators")
    );
}

#[test]
fn the_last_probe_answers_until_the_next_check() {
    let world = World::new(config(), Chain::default());
    let first = supported(&world);
    assert_eq!(world.batches().len(), 1);
    world.chain().typehash = internal_error();
    assert_eq!(supported(&world), first);
    assert_eq!(world.batches().len(), 1);
    assert!(block_on(world.scheme.check(&world.cx())).is_err());
    assert_eq!(supported(&world), first);
}
