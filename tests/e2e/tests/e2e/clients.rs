//! The official buyers and sellers, through the facilitator, to balances on chain.

use devnet::{BUYER_TOKENS, Npm};
use e2e::World;
use e2e::payment::{NETWORK, PRICE};
use e2e::shop::{Generation, Seller, buy};

fn npm() -> Npm {
    Npm::ensure().expect("the packages are installed")
}

fn pays(generation: Generation, network: &str) {
    let (world, npm) = (World::start(), npm());
    let merchant = world.chain.merchant.address.clone();
    let seller =
        Seller::start(&npm, generation, &world.facilitator.url(), &merchant, &[]).expect("the seller starts");
    let buyer = &world.chain.buyers[2];

    let report = buy(&npm, generation, &buyer.key, &seller.resource).expect("the buyer gets an answer");
    assert_eq!(
        (report["status"].as_u64(), &report["body"]["weather"]),
        (Some(200), &"sunny".into()),
        "{report}"
    );
    let payment = &report["payment"];
    assert_eq!(
        (&payment["success"], &payment["network"]),
        (&true.into(), &network.into()),
        "{report}"
    );
    assert_eq!(
        payment["payer"].as_str().map(str::to_lowercase),
        Some(buyer.address.to_lowercase())
    );
    let hash = payment["transaction"].as_str().expect("a transaction");
    let receipt = world
        .chain
        .receipt(hash)
        .expect("the node answers")
        .expect("a receipt");
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(
        (world.balance(&buyer.address), world.earned()),
        (BUYER_TOKENS - PRICE, PRICE)
    );
    assert_eq!(world.transfers(), 1);

    // A payer without money gets nothing, and nothing moves.
    let unfunded = e2e::sign::hex0x(&[0x77; 32]);
    let refused = world.untouched(|| buy(&npm, generation, &unfunded, &seller.resource).expect("an answer"));
    assert_eq!(refused["status"].as_u64(), Some(402), "{refused}");
}

#[test]
fn the_official_v2_client_buys_from_the_official_v2_seller() {
    pays(Generation::V2, NETWORK);
}

#[test]
fn the_legacy_v1_client_buys_from_the_legacy_v1_seller() {
    pays(Generation::V1, "base-sepolia");
}
