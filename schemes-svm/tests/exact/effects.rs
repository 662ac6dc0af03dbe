//! What a simulation shows that accounts gain and lose; and how few reads it takes.

use schemes_svm::exact::reason;
use schemes_svm::programs::TOKEN_2022;
use schemes_svm::testkit::{Deal, Key};
use sdk_plugin::PaymentRequest;
use serde_json::json;

use crate::checks::{inner, inner_transfer, wallet};
use crate::world::{World, changed, fee_payer, good, mint_2022, request_of, table};

fn of_2022() -> (Deal, PaymentRequest) {
    let deal = Deal {
        token_program: TOKEN_2022,
        ..Deal::example()
    };
    let request = request_of(&deal, &deal.official().sign(&deal.buyer));
    (deal, request)
}

#[test]
fn a_plain_payment_takes_one_round_trip_of_one_call() {
    let world = World::new();
    assert!(world.verify(&good()).is_ok());
    let batches = world.batches();
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].len(), 1);
    assert_eq!(batches[0][0].method, "simulateTransaction");
    assert!(world.plan(&good()).is_ok());
    assert_eq!(world.host.round_trips(), 2);
}

#[test]
fn a_mint_of_the_second_program_is_read_in_the_same_batch_until_it_is_known_to_be_plain() {
    let (deal, request) = of_2022();
    let world = World::new().with(|chain| {
        chain.accounts.insert(deal.mint, mint_2022(None));
    });
    for calls in [2, 1, 1] {
        assert!(world.verify(&request).is_ok());
        assert_eq!(world.batches().last().map(Vec::len), Some(calls));
    }
    assert_eq!(world.host.round_trips(), 3);

    // One that can be closed can come back as another one: it is read each time.
    let closable = World::new().with(|chain| {
        chain.accounts.insert(deal.mint, mint_2022(Some((3, 32))));
    });
    for _ in 0..2 {
        assert!(closable.verify(&request).is_ok());
        assert_eq!(closable.batches().last().map(Vec::len), Some(2));
    }
}

#[test]
fn look_up_tables_are_resolved_in_the_same_batch() {
    let (deal, tables) = (Deal::example(), Key::of_seed(70).address());
    let request = changed(|draft| {
        draft.tables = vec![(
            tables,
            vec![Key::of_seed(71).address(), deal.destination(), deal.mint],
        )]
    });
    let world = World::new().with(|chain| {
        chain.accounts.insert(
            tables,
            table(&[Key::of_seed(71).address(), deal.destination(), deal.mint]),
        );
    });
    assert!(world.verify(&request).is_ok());
    assert_eq!(world.host.round_trips(), 1);
    for broken in [
        table(&[]),
        (
            TOKEN_2022,
            table(&[Key::of_seed(71).address(), deal.destination(), deal.mint]).1,
        ),
        (schemes_svm::programs::ADDRESS_LOOKUP_TABLE, vec![1, 0]),
    ] {
        let world = World::new().with(|chain| {
            chain.accounts.insert(tables, broken);
        });
        assert_eq!(world.refused(&request), reason::LOOKUP_FAILED);
    }
    // Being deactivated, it may be gone when the payment lands.
    let mut closing = table(&[Key::of_seed(71).address(), deal.destination(), deal.mint]);
    closing.1[4] = 0;
    let world = World::new().with(|chain| {
        chain.accounts.insert(tables, closing);
    });
    assert_eq!(world.refused(&request), reason::LOOKUP_FAILED);
}

#[test]
fn the_payee_gets_exactly_the_amount_and_the_fee_payer_pays_no_more_than_the_fee() {
    for arrives in [0, 9_999, 10_001] {
        let world = World::new().with(|chain| chain.arrives = Some(arrives));
        assert_eq!(
            world.refused(&good()),
            reason::SIMULATION_FAILED,
            "{arrives} arrive"
        );
    }
    let dear = World::new().with(|chain| chain.cost = Some(10_002));
    assert_eq!(dear.refused(&good()), reason::SIMULATION_FAILED);
    // Where the node does not show it, the static checks decide for a plain mint.
    let silent = World::new().with(|chain| chain.shows_balances = false);
    assert!(silent.verify(&good()).is_ok());
}

#[test]
fn a_smart_wallet_pays_by_an_inner_transfer_of_at_least_the_amount() {
    let deal = Deal::example();
    let vault = Key::of_seed(50).address();
    let enabled = || World::configured(|config| config.smart_wallets.enabled = true);
    for amount in [10_000, 10_001] {
        let world = enabled().with(|chain| {
            chain.inner = inner(&[inner_transfer(deal.mint, deal.destination(), vault, amount)]);
            chain.shows_balances = false;
            chain.accounts.insert(deal.mint, mint_2022(None));
        });
        assert_eq!(world.verify(&wallet(|_| {})), Ok(vault.to_string()));
        // The owner of the source must be read, where no balances show it and it is not the vault's associated account.
        assert_eq!(world.host.round_trips(), 2);
    }
    // Compiled form, and transfers of others beside it.
    let request = wallet(|_| {});
    let world = enabled().with(|chain| {
        let compiled = json!({"programIdIndex": 6, "accounts": [2, 5, 3, 1], "data": "x", "stackHeight": 2});
        let elsewhere = inner_transfer(deal.mint, vault, vault, 1);
        chain.inner = inner(&[
            compiled,
            elsewhere,
            inner_transfer(deal.mint, deal.destination(), vault, 10_000),
        ]);
        chain.shows_balances = false;
        chain.accounts.insert(deal.mint, mint_2022(None));
    });
    assert_eq!(world.verify(&request), Ok(vault.to_string()));
    // The facilitator's own funds are never moved.
    let world = enabled().with(|chain| {
        chain.inner = inner(&[inner_transfer(deal.mint, deal.destination(), fee_payer(), 10_000)]);
    });
    assert_eq!(world.refused(&request), reason::FEE_PAYER_TRANSFERRING);
    // Off, it is just an unknown instruction; a plain payment's own faults never become a wallet's.
    assert_eq!(World::new().refused(&request), reason::UNKNOWN_INSTRUCTION);
    let underpaid = changed(|draft| draft.parts[2].data[1] -= 1);
    assert_eq!(enabled().refused(&underpaid), reason::AMOUNT_MISMATCH);
}
