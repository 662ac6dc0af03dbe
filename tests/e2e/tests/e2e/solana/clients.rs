//! The official buyers and sellers on Solana, and a route that takes either network.

use devnet::{Devnet, Npm, Options, SolanaDevnet, SolanaOptions};
use e2e::shop::{Generation, Seller, buy, buy_on_solana};
use e2e::solana::PRICE;
use e2e::{Facilitator, Settings, SolanaNetwork, SolanaWorld};

fn npm() -> Npm {
    Npm::ensure().expect("the packages are installed")
}

fn pays(
    generation: Generation,
    environment: impl Fn(&str) -> Vec<(&'static str, String)>,
    pay_to: Option<&str>,
) {
    let (world, npm) = (SolanaWorld::start(), npm());
    let merchant = world.chain.merchant.address.clone();
    let environment = environment(&merchant);
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let pay_to = pay_to.unwrap_or(&merchant);
    let seller = Seller::start(&npm, generation, &world.facilitator.url(), pay_to, &environment)
        .expect("the seller starts");
    let buyer = &world.chain.buyers[2];
    let report = buy_on_solana(
        &npm,
        generation,
        &buyer.secret,
        world.chain.url(),
        &seller.resource,
    )
    .expect("the buyer gets an answer");
    assert_eq!(
        (report["status"].as_u64(), &report["body"]["weather"]),
        (Some(200), &"sunny".into()),
        "{report}"
    );
    let payment = &report["payment"];
    assert_eq!(
        (&payment["success"], payment["payer"].as_str()),
        (&true.into(), Some(buyer.address.as_str())),
        "{report}"
    );
    let landed = world.landed();
    assert_eq!(landed.len(), 1);
    assert_eq!(
        payment["transaction"].as_str(),
        Some(landed[0].signature.as_str())
    );
    assert_eq!(world.earned(), PRICE);
}

#[test]
fn the_official_v2_client_buys_on_solana_from_the_official_v2_seller() {
    pays(
        Generation::V2,
        |merchant| vec![("SOLANA_PAY_TO", merchant.to_owned())],
        Some(""),
    );
}

#[test]
fn the_sellers_memo_is_in_the_payment_of_the_official_client() {
    let environment = |merchant: &str| {
        vec![
            ("SOLANA_PAY_TO", merchant.to_owned()),
            ("SOLANA_MEMO", "order 4711".to_owned()),
        ]
    };
    pays(Generation::V2, environment, Some(""));
}

#[test]
fn the_legacy_v1_client_buys_on_solana_from_the_legacy_v1_seller() {
    pays(
        Generation::V1,
        |_| vec![("NETWORK", "solana-devnet".to_owned())],
        None,
    );
}

#[test]
fn one_route_takes_either_network() {
    let npm = npm();
    let evm = Devnet::start(Options::default()).expect("the EVM chain starts");
    let solana = SolanaDevnet::start(&SolanaOptions::default()).expect("the Solana chain starts");
    let settings = Settings {
        solana: Some(SolanaNetwork {
            id: solana.network.clone(),
            rpc: vec![solana.url().to_owned()],
            fee_payers: solana.fee_payers[..1].to_vec(),
            ..SolanaNetwork::default()
        }),
        ..Settings::new(evm.url(), &evm.facilitators[..1])
    };
    let facilitator = Facilitator::start(&settings).expect("the facilitator starts");
    let environment = [("SOLANA_PAY_TO", solana.merchant.address.as_str())];
    let seller = Seller::start(
        &npm,
        Generation::V2,
        &facilitator.url(),
        &evm.merchant.address,
        &environment,
    )
    .expect("the seller starts");
    let on_evm = buy(&npm, Generation::V2, &evm.buyers[2].key, &seller.resource).expect("an answer");
    let on_solana = buy_on_solana(
        &npm,
        Generation::V2,
        &solana.buyers[2].secret,
        solana.url(),
        &seller.resource,
    )
    .expect("an answer");
    for report in [&on_evm, &on_solana] {
        assert_eq!(report["status"].as_u64(), Some(200), "{report}");
    }
    assert_eq!(on_evm["payment"]["network"], "eip155:84532");
    assert_eq!(
        on_solana["payment"]["network"].as_str(),
        Some(solana.network.as_str())
    );
    let account = &solana.merchant.token_accounts[&solana.tokens[0].mint];
    assert_eq!(
        (
            evm.balance_of(devnet::USDC, &evm.merchant.address)
                .expect("a balance"),
            solana.token_account_balance(account).expect("a balance")
        ),
        (10_000, PRICE)
    );
}
