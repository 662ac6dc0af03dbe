//! Which fee payers are offered and accepted.

use schemes_svm::testkit::{Deal, Key};
use sdk_plugin::SchemeHandler;
use sdk_plugin::testkit::block_on;
use serde_json::json;

use crate::world::{World, fee_payer, good, request_of, retained};

fn offered(world: &World) -> Vec<Option<String>> {
    let supported = block_on(world.exact.supported(&world.cx())).expect("no fault");
    let payer =
        |kind: &sdk_plugin::wire::Kind| Some(kind.extra.as_ref()?.get("feePayer")?.as_str()?.to_owned());
    supported.kinds.iter().map(payer).collect()
}

#[test]
fn both_versions_name_the_fee_payer() {
    let world = World::new().with(|chain| {
        chain.lamports.insert(fee_payer(), 1_000_000_000);
    });
    let supported = block_on(world.exact.supported(&world.cx())).expect("no fault");
    let versions: Vec<u8> = supported.kinds.iter().map(|kind| kind.x402_version).collect();
    assert_eq!(versions, [2, 1]);
    assert_eq!(offered(&world), vec![Some(fee_payer().to_string()); 2]);
    assert_eq!(
        supported.signers,
        [fee_payer().to_string()],
        "not the retained one"
    );
    assert_eq!(world.host.round_trips(), 1, "balances are remembered for a while");

    let wallets = World::configured(|config| config.smart_wallets.enabled = true).with(|chain| {
        chain.lamports.insert(fee_payer(), 1_000_000_000);
    });
    let supported = block_on(wallets.exact.supported(&wallets.cx())).expect("no fault");
    let features = |at: usize| {
        supported.kinds[at]
            .extra
            .as_ref()
            .and_then(|extra| extra.get("features").cloned())
    };
    assert_eq!(features(0), Some(json!({"smartWalletSupported": true})));
    assert_eq!(features(1), None, "v1 has none");
}

#[test]
fn t59_a_fee_payer_below_its_floor_is_not_offered_and_still_accepted() {
    let other = Key::of_seed(7).address();
    let mut world = World::new().with(|chain| {
        chain.lamports.insert(fee_payer(), 19_999_999);
        chain.lamports.insert(other, 20_000_000);
    });
    world.lanes.push(other);
    assert_eq!(offered(&world), vec![Some(other.to_string()); 2]);
    assert!(
        world.verify(&good()).is_ok(),
        "buyers hold offers of a minute ago"
    );
    for accepted in [other, retained()] {
        let deal = Deal {
            fee_payer: accepted,
            ..Deal::example()
        };
        assert!(
            world
                .verify(&request_of(&deal, &deal.official().sign(&deal.buyer)))
                .is_ok()
        );
    }
    let check = |world: &World| block_on(world.exact.check(&world.cx())).expect("no fault");
    assert_eq!(check(&world).warnings, [] as [&str; 0]);
    world.chain().lamports.insert(other, 0);
    world.host.advance_ms(10_000);
    assert_eq!(offered(&world), Vec::<Option<String>>::new(), "none is left");
    // Nothing is offered, and the operator gets a warning. Payments with an offer are served: the first fee payer can pay
    // for thousands.
    let told = check(&world);
    assert!(told.ready);
    let [warning] = told.warnings.as_slice() else {
        panic!("{told:?}")
    };
    for part in [
        "/supported",
        "low_balance_lamports (20000000)",
        &other.to_string(),
    ] {
        assert!(warning.contains(part), "{part:?} in {warning}");
    }
    assert!(world.verify(&good()).is_ok());
    world.chain().lamports.insert(other, 20_000_000);
    world.host.advance_ms(10_000);
    assert_eq!(check(&world).warnings, [] as [&str; 0]);
    // Unknown balances are no reason to stop.
    let silent = World::new();
    silent
        .host
        .queue_rpc_fault(sdk_plugin::Fault::unavailable("no node"));
    assert_eq!(offered(&silent).len(), 2);
    silent
        .host
        .queue_rpc_fault(sdk_plugin::Fault::unavailable("no node"));
    assert_eq!(check(&silent).warnings, [] as [&str; 0]);
}

#[test]
fn the_least_busy_fee_payer_is_offered() {
    let other = Key::of_seed(7).address();
    let mut world = World::new().with(|chain| {
        chain.lamports.insert(fee_payer(), 1_000_000_000);
        chain.lamports.insert(other, 1_000_000_000);
    });
    world.lanes.push(other);
    assert_eq!(offered(&world)[0], Some(fee_payer().to_string()));
    assert!(world.plan(&good()).is_ok());
    assert_eq!(offered(&world)[0], Some(other.to_string()));
    world.host.advance_ms(60_000);
    let deal = Deal {
        fee_payer: other,
        ..Deal::example()
    };
    assert!(
        world
            .plan(&request_of(&deal, &deal.official().sign(&deal.buyer)))
            .is_ok()
    );
    assert_eq!(
        offered(&world)[0],
        Some(fee_payer().to_string()),
        "a minute later it starts anew"
    );
    world.lanes.clear();
    assert_eq!(offered(&world), Vec::<Option<String>>::new());
}
