//! Payers with code: it always speaks for itself, however badly, and the key of the address counts for nothing.

mod common;

use common::{Authorization, refusal, succeeded};
use devnet::{
    Arg, BUYER_TOKENS, Devnet, MOCK_WALLET, Options, REFUSING_DELEGATE, USDC, WALLET, WALLET_FACTORY,
};

const DOMAIN: (&str, &str) = ("USDC", "2");

fn chain() -> Devnet {
    Devnet::start(Options::default()).expect("the chain starts")
}

#[test]
fn a_wallet_pays_with_its_owners_signature() {
    let chain = chain();
    let (owner, stranger) = (&chain.buyers[1], &chain.buyers[2]);
    let payment = Authorization::of(USDC, DOMAIN, WALLET, 7);
    let facilitator = &chain.facilitators[0].address;

    let forged = payment.sign(&chain, stranger);
    let message = refusal(
        chain
            .rpc()
            .eth_call(None, USDC, &payment.calldata_bytes(&chain, &forged)),
    );
    assert!(message.contains("FiatTokenV2: invalid signature"), "{message}");

    let good = payment.sign(&chain, owner);
    chain
        .rpc()
        .eth_call(None, USDC, &payment.calldata_vrs(&chain, &good))
        .expect("the other overload calls it, too");
    assert!(succeeded(
        &chain
            .send(facilitator, USDC, &payment.calldata_bytes(&chain, &good))
            .expect("pays")
    ));
    assert_eq!(
        chain.balance_of(USDC, WALLET).expect("balance"),
        BUYER_TOKENS - 10_000
    );
}

#[test]
fn a_counterfactual_wallet_pays_once_its_factory_was_called() {
    let chain = chain();
    let owner = &chain.buyers[1];
    let args = [Arg::address(&owner.address).expect("address"), Arg::uint(9)];
    let factory = chain.artifact("WalletFactory").expect("artefact");
    let wallet_of = factory.call("walletOf(address,bytes32)", &args).expect("encodes");
    let answer = chain
        .rpc()
        .eth_call(None, WALLET_FACTORY, &wallet_of)
        .expect("answers");
    let wallet = format!("0x{}", hex::encode(&answer[12..]));
    chain.mint(USDC, &wallet, 50_000).expect("mint");

    let payment = Authorization::of(USDC, DOMAIN, &wallet, 1);
    let data = payment.calldata_bytes(&chain, &payment.sign(&chain, owner));
    assert!(refusal(chain.rpc().eth_call(None, USDC, &data)).contains("FiatTokenV2: invalid signature"));
    let create = factory.call("create(address,bytes32)", &args).expect("encodes");
    chain
        .send(&chain.facilitators[0].address, WALLET_FACTORY, &create)
        .expect("deploys");
    assert!(succeeded(
        &chain
            .send(&chain.facilitators[0].address, USDC, &data)
            .expect("pays")
    ));
    assert_eq!(chain.balance_of(USDC, &wallet).expect("balance"), 40_000);
}

#[test]
fn a_wallet_that_answers_badly_does_not_pay() {
    let chain = chain();
    let payment = Authorization::of(USDC, DOMAIN, MOCK_WALLET, 3);
    let data = payment.calldata_bytes(&chain, &[1, 2, 3]);
    // Magic, LongMagic, Flood and (in a call) MagicUnlessMined satisfy the token; the rest does not.
    let accepted = [0, 4, 8, 9];
    for mood in 0..=11 {
        chain.set_wallet_mood(mood).expect("mood");
        let call = serde_json::json!([{"to": USDC, "data": data, "gas": "0x1c9c380"}, "latest"]);
        let result = chain.rpc().call("eth_call", call);
        assert_eq!(
            result.is_ok(),
            accepted.contains(&mood),
            "mood {mood}: {result:?}"
        );
    }
    let receipt = chain
        .send_with_gas(&chain.facilitators[0].address, USDC, &data, 300_000)
        .expect("is mined");
    assert!(!succeeded(&receipt), "yes in the call, no in the block");
}

#[test]
fn a_wallet_can_accept_a_direct_signature_check_and_reject_the_payment() {
    let chain = chain();
    let wallet = chain.artifact("MockWallet").expect("artefact");
    let question = [Arg::Word([1; 32]), Arg::Bytes(vec![1, 2, 3])];
    let question = wallet.call("isValidSignature(bytes32,bytes)", &question);
    let question = question.expect("encodes");
    let accepts = || {
        let answer = chain.rpc().eth_call(None, MOCK_WALLET, &question);
        answer.expect("answers")[..4] == [0x16, 0x26, 0xba, 0x7e]
    };
    let payment = Authorization::of(USDC, DOMAIN, MOCK_WALLET, 3);
    let data = payment.calldata_bytes(&chain, &[1, 2, 3]);

    // The token is a contract, a direct caller is none.
    chain.set_wallet_mood(11).expect("mood");
    assert!(accepts());
    chain
        .rpc()
        .eth_call(None, USDC, &data)
        .expect_err("no to the token");

    chain.set_wallet_mood(10).expect("mood");
    let (number, _) = chain.head().expect("head");
    chain.set_wallet_turn(number + 2).expect("turn");
    assert!(accepts());
    chain
        .rpc()
        .eth_call(None, USDC, &data)
        .expect("yes to the token too");
    chain.mine(2).expect("mine");
    assert!(!accepts(), "two blocks later it has changed its mind");
}

#[test]
fn a_delegated_account_is_queried_not_recovered() {
    let chain = chain();
    let payer = &chain.buyers[3];
    let payment = Authorization::of(USDC, DOMAIN, &payer.address, 4);
    let data = payment.calldata_vrs(&chain, &payment.sign(&chain, payer));
    chain
        .rpc()
        .eth_call(None, USDC, &data)
        .expect("without code the key decides");

    chain
        .delegate(&payer.address, REFUSING_DELEGATE)
        .expect("delegates");
    let message = refusal(chain.rpc().eth_call(None, USDC, &data));
    assert!(message.contains("FiatTokenV2: invalid signature"), "{message}");

    // The wallet's code without an owner vouches for the account's own key. (Its storage is the account's: empty.)
    chain.delegate(&payer.address, WALLET).expect("delegates");
    chain
        .rpc()
        .eth_call(None, USDC, &data)
        .expect("a cooperative delegate");
    chain.set_code(&payer.address, "0x").expect("undelegates");
    chain.rpc().eth_call(None, USDC, &data).expect("as before");
}
