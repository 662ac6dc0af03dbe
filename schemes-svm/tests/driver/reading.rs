//! Checks, lanes and quotes.

use schemes_svm::driver::RPC_READS;
use sdk_plugin::chain::{NodeFault, Readiness};
use sdk_plugin::host::Suite;
use sdk_plugin::testkit::block_on;
use sdk_plugin::{Amount, ChainDriver, HexBytes};
use serde_json::json;

use crate::node::{Chain, NOW_S, World, called_methods, fee_payer, lane, refusal};

fn check(world: &World) -> Readiness {
    block_on(world.driver.check(&world.cx(), &world.network())).expect("no fault")
}

#[test]
fn a_healthy_node_of_the_right_cluster_is_ready_in_one_round_trip() {
    let world = World::new();
    let ready = check(&world);
    assert!(ready.ready, "{:?}", ready.why_not);
    assert!(!ready.ordered);
    assert_eq!(ready.head_height, 1_000, "heights are slots");
    assert_eq!(ready.addresses.get("main"), Some(&fee_payer().to_string()));
    assert_eq!(ready.warnings, Vec::<String>::new());
    assert_eq!(world.host.round_trips(), 1);
    assert!(
        called_methods(&world.host)
            .iter()
            .all(|method| RPC_READS.contains(&method.as_str()))
    );
}

#[test]
fn what_is_wrong_is_said_in_words() {
    type Change = fn(&mut Chain);
    let mainnet: Change = |chain| chain.genesis = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d".into();
    let random: Change = |chain| chain.genesis = fee_payer().to_string();
    let sick: Change = |chain| chain.health = refusal(-32005, "Node is behind by 42 slots");
    let old: Change = |chain| chain.time_s = NOW_S - 121;
    let ahead: Change = |chain| chain.time_s = NOW_S + 61;
    for (change, word, fault) in [
        (mainnet, "genesis hash 5eykt", NodeFault::WrongChain),
        (random, "genesis hash", NodeFault::WrongChain),
        (sick, "by 42 slots", NodeFault::Behind),
        (old, "121 s old", NodeFault::Behind),
        (ahead, "61 s ahead", NodeFault::Behind),
    ] {
        let world = World::new();
        change(&mut world.chain());
        let ready = check(&world);
        assert!(!ready.ready);
        assert_eq!(ready.node_fault, Some(fault), "{word}");
        assert!(
            ready.why_not.as_deref().is_some_and(|why| why.contains(word)),
            "{:?}",
            ready.why_not
        );
    }
    let mut lenient = World::new();
    lenient.options = json!({"any_genesis": true, "max_head_age_s": 0});
    random(&mut lenient.chain());
    old(&mut lenient.chain());
    let ready = check(&lenient);
    assert!(ready.ready);
    let [warning] = ready.warnings.as_slice() else {
        panic!("{ready:?}")
    };
    assert!(!warning.contains("set it to 0"), "followed already: {warning}");
}

#[test]
fn options_keys_and_low_balances_are_checked() {
    let mut world = World::new();
    world.options = json!({"no_such_option": 1});
    assert!(
        check(&world)
            .why_not
            .is_some_and(|why| why.contains("no_such_option"))
    );

    let world = World::new();
    let mut network = world.network();
    network.keys[0].suite = Suite::Secp256k1;
    network.keys[0].public_key = HexBytes(vec![4; 65]);
    let ready = block_on(world.driver.check(&world.cx(), &network)).expect("no fault");
    assert!(ready.why_not.is_some_and(|why| why.contains("ed25519")));

    for lamports in [0, 19_999_999] {
        let world = World::new();
        world.chain().lamports = lamports;
        let ready = check(&world);
        assert!(ready.ready);
        assert!(
            ready.warnings[0].contains(&format!("{lamports} lamports")),
            "{:?}",
            ready.warnings
        );
    }
    let mut network = world.network();
    network.id = "eip155:1".into();
    assert!(block_on(world.driver.check(&world.cx(), &network)).is_err());
}

#[test]
fn a_lane_has_a_balance_and_no_numbers() {
    let world = World::new();
    let state = block_on(world.driver.lane(&world.cx(), &lane())).expect("no fault");
    assert_eq!(state.next_sequence, 0);
    assert_eq!(state.balance, Amount::from(1_000_000_000u64));
    assert_eq!(state.head_height, 1_000);
}

#[test]
fn a_quote_is_the_newest_slot_remembered_for_two_seconds() {
    let world = World::new();
    let quote = || block_on(world.driver.quote(&world.cx(), &lane(), None)).expect("no fault");
    assert_eq!(quote().head_height, 1_000);
    world.chain().advance(5);
    assert_eq!(quote().head_height, 1_000);
    assert_eq!(world.host.round_trips(), 1);
    world.host.advance_ms(2_000);
    assert_eq!(quote().head_height, 1_005);
    assert_eq!(world.host.round_trips(), 2);
}
