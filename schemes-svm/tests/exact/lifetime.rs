//! Payments that are signed when few blocks of their blockhash's life are left: they fill the lane and land rarely.

use schemes_svm::exact::reason;
use schemes_svm::testkit::Deal;
use sdk_plugin::SchemeHandler;
use sdk_plugin::testkit::block_on;

use crate::checks::{inner, inner_transfer, wallet};
use crate::world::{SLOT, World, fee_payer, good, mint_2022, v1};

/// The list in which the example's blockhash is so many blocks old.
fn listed(age: u8) -> Vec<[u8; 32]> {
    let mut list: Vec<[u8; 32]> = (0..150u8)
        .map(|number| [100 + number % 100, number].repeat(16))
        .map(as_hash)
        .collect();
    list[usize::from(age)] = Deal::example().blockhash.to_bytes();
    list
}

/// A facilitator that has offered its fee payers on a chain with this list, at one block.
fn offered(world: World, list: Vec<[u8; 32]>) -> World {
    let world = world.with(|chain| {
        chain.lamports.insert(fee_payer(), 1_000_000_000);
        chain.blockhashes = list;
        chain.stands = true;
    });
    assert!(block_on(world.exact.supported(&world.cx())).is_ok());
    world
}

fn as_hash(bytes: Vec<u8>) -> [u8; 32] {
    bytes.try_into().expect("32 bytes")
}

#[test]
fn a_payment_with_too_few_blocks_left_is_refused_by_verify_and_settle() {
    for (age, left) in [(131, 19), (148, 2), (149, 1)] {
        let world = offered(World::new(), listed(age));
        let refusal = world.refusal(&good());
        assert_eq!(refusal.reason, reason::SIMULATION_FAILED);
        assert_eq!(
            refusal.message.as_deref(),
            Some(
                format!(
                    "the blockhash is good for {left} more blocks, 20 are needed to land: sign with a new one"
                )
                .as_str()
            )
        );
        assert_eq!(refusal.payer, Deal::example().buyer.address().to_string());
        assert_eq!(world.refusal(&v1(good())).reason, "transaction_simulation_failed");
    }
    for age in [0, 32, 130] {
        let world = offered(World::new(), listed(age));
        assert!(world.verify(&good()).is_ok(), "{age}");
        assert!(world.plan(&good()).is_ok(), "{age}");
    }
    let off =
        World::configured(|config| config.min_blocks_left = 0).with(|chain| chain.blockhashes = listed(149));
    assert!(off.verify(&good()).is_ok());
}

#[test]
fn smart_wallets_need_the_blocks_too() {
    let deal = Deal::example();
    let vault = schemes_svm::testkit::Key::of_seed(50).address();
    let world = World::configured(|config| config.smart_wallets.enabled = true).with(|chain| {
        chain.inner = inner(&[inner_transfer(deal.mint, deal.destination(), vault, 10_000)]);
        chain.shows_balances = false;
        chain.accounts.insert(deal.mint, mint_2022(None));
    });
    let world = offered(world, listed(148));
    assert_eq!(world.refusal(&wallet(|_| {})).reason, reason::WALLET_SIMULATION);
}

#[test]
fn the_list_is_read_with_the_balances_and_costs_payments_no_calls() {
    let world = offered(World::new(), listed(10));
    assert_eq!(world.host.round_trips(), 1);
    for payment in 1..=50 {
        assert!(world.verify(&good()).is_ok());
        assert_eq!(world.host.round_trips(), 1 + payment);
    }
    // When the bound alone would refuse it, the list is read again before it does: slots may have no block.
    world.chain().slot = SLOT + 140;
    world.chain().blockhashes = listed(70);
    assert!(world.verify(&good()).is_ok());
    assert_eq!(world.host.round_trips(), 1 + 50 + 2);
    assert!(world.verify(&good()).is_ok());
    assert_eq!(world.host.round_trips(), 1 + 50 + 3);
}

#[test]
fn a_chain_without_the_list_refuses_nothing_and_is_not_queried_for_each_payment() {
    let world = World::new();
    for _ in 0..5 {
        assert!(world.verify(&good()).is_ok());
    }
    assert_eq!(world.host.round_trips(), 5);
}
