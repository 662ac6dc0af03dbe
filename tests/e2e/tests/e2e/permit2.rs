//! Payments by Permit2: `exact` with and without gas sponsoring, and `upto`, by the official buyer and seller and by hand.

use devnet::{Arg, BUYER_TOKENS, Npm, PERMIT2, PERMIT2_PROXY, UPTO_PROXY, USDC};
use e2e::payment::{NETWORK, PRICE, body_v2};
use e2e::shop::{Generation, Seller, buy, buy_reading};
use e2e::sign::{hex0x, sign};
use e2e::{Payment, World};
use serde_json::{Value, json};

use crate::reason;

const NONCE: &str = "permit2_invalid_nonce";

pub(crate) fn npm() -> Npm {
    Npm::ensure().expect("the packages are installed")
}

pub(crate) fn seller(world: &World, npm: &Npm, environment: &[(&str, &str)]) -> Seller {
    let merchant = &world.chain.merchant.address;
    Seller::start(
        npm,
        Generation::V2,
        &world.facilitator.url(),
        merchant,
        environment,
    )
    .expect("the seller starts")
}

/// The buyer pays for gas once, so that Permit2 may move its dollars.
pub(crate) fn approve(world: &World, buyer: usize) {
    approve_as(world, &world.chain.buyers[buyer].address);
}

/// The same for any account.
pub(crate) fn approve_as(world: &World, account: &str) {
    world
        .chain
        .set_wei(account, 1_000_000_000_000_000_000)
        .expect("gas for the approval");
    let allow = [Arg::address(PERMIT2).expect("an address"), Arg::uint(1_000_000)];
    let token = world.chain.artifact("DollarToken").expect("the artefact");
    let approve = token.call("approve(address,uint256)", &allow).expect("encodes");
    world.chain.send(account, USDC, &approve).expect("approves");
}

/// The purchase, and what was paid for it.
pub(crate) fn pays(world: &World, report: &Value, buyer: usize, amount: u128) {
    assert_eq!(
        (report["status"].as_u64(), &report["body"]["weather"]),
        (Some(200), &"sunny".into()),
        "{report}"
    );
    let payment = &report["payment"];
    assert_eq!(
        (&payment["success"], &payment["network"]),
        (&true.into(), &NETWORK.into()),
        "{report}"
    );
    let hash = payment["transaction"].as_str().expect("a transaction");
    let receipt = world.chain.receipt(hash).expect("the node answers");
    assert_eq!(receipt.expect("a receipt")["status"], "0x1");
    let buyer = &world.chain.buyers[buyer].address;
    assert_eq!(
        (world.balance(buyer), world.earned()),
        (BUYER_TOKENS - amount, amount)
    );
}

#[test]
fn the_official_client_pays_exact_by_permit2() {
    let (world, npm) = (World::start(), npm());
    let seller = seller(&world, &npm, &[("TRANSFER_METHOD", "permit2")]);
    let key = &world.chain.buyers[2].key;
    let refused = buy(&npm, Generation::V2, key, &seller.resource).expect("an answer");
    assert_eq!(
        refused["status"].as_u64(),
        Some(412),
        "an allowance is required: {refused}"
    );
    assert_eq!(world.sent(), 0);

    approve(&world, 2);
    let report = buy(&npm, Generation::V2, key, &seller.resource).expect("an answer");
    pays(&world, &report, 2, PRICE);
    assert_eq!(world.sent(), 1);
}

#[test]
fn the_official_client_pays_exact_by_permit2_without_native_currency() {
    let (world, npm) = (World::start(), npm());
    let environment = [("TRANSFER_METHOD", "permit2"), ("GAS_SPONSORING", "eip2612")];
    let seller = seller(&world, &npm, &environment);
    let key = &world.chain.buyers[2].key;
    let report = buy_reading(&npm, key, world.chain.url(), &seller.resource).expect("an answer");
    pays(&world, &report, 2, PRICE);
    assert_eq!(world.sent(), 1);
}

#[test]
fn the_official_client_pays_upto_what_the_seller_took() {
    let (world, npm) = (World::start(), npm());
    approve(&world, 2);
    let environment = [("SCHEME", "upto"), ("SETTLE_AMOUNT", "7000")];
    let partial = seller(&world, &npm, &environment);
    let key = &world.chain.buyers[2].key;
    let report = buy(&npm, Generation::V2, key, &partial.resource).expect("an answer");
    pays(&world, &report, 2, 7_000);
    assert_eq!(report["payment"]["amount"], "7000", "{report}");
    let sent = world.sent();

    let free = seller(&world, &npm, &[("SCHEME", "upto"), ("SETTLE_AMOUNT", "0")]);
    let report = buy(&npm, Generation::V2, key, &free.resource).expect("an answer");
    assert_eq!(report["status"].as_u64(), Some(200), "{report}");
    let payment = &report["payment"];
    assert_eq!(
        (&payment["success"], &payment["transaction"], &payment["amount"]),
        (&true.into(), &"".into(), &"0".into()),
        "{report}"
    );
    assert_eq!((world.sent(), world.earned()), (sent, 7_000));
}

#[test]
fn the_official_client_pays_upto_without_native_currency() {
    let (world, npm) = (World::start(), npm());
    let environment = [
        ("SCHEME", "upto"),
        ("SETTLE_AMOUNT", "7000"),
        ("GAS_SPONSORING", "eip2612"),
    ];
    let seller = seller(&world, &npm, &environment);
    let key = &world.chain.buyers[2].key;
    let report = buy_reading(&npm, key, world.chain.url(), &seller.resource).expect("an answer");
    pays(&world, &report, 2, 7_000);
}

/// A payment of [`PRICE`] by a permit of `exact`.
pub(crate) fn exact(payment: &Payment) -> Value {
    payment.by_permit2()
}

/// What settles [`exact`], from any sender.
pub(crate) fn settle_calldata(world: &World, payment: &Payment) -> String {
    let signed = &payment.transfer;
    let address = |text: &str| Arg::address(text).expect("an address");
    let digest = signed.exact_permit_digest(&payment.domain);
    let arguments = [
        address(USDC),
        Arg::uint(signed.value),
        Arg::word(&hex0x(&signed.nonce)).expect("a word"),
        Arg::uint(signed.valid_before.into()),
        address(&signed.from),
        address(&signed.to),
        Arg::uint(0),
        Arg::Bytes(sign(&payment.key, &digest).to_vec()),
    ];
    let proxy = world.chain.artifact("ExactPermit2Proxy").expect("the artefact");
    let settle = "settle(((address,uint256),uint256,uint256),address,(address,uint256),bytes)";
    proxy.call(settle, &arguments).expect("encodes")
}

/// A permit of `upto` for [`PRICE`] at most, of which the seller takes `amount`.
pub(crate) fn upto(world: &World, payment: &Payment, amount: u128) -> Value {
    let supported = world.facilitator.get("/supported");
    let kinds = supported.json["kinds"].as_array().expect("kinds");
    let kind = kinds
        .iter()
        .find(|kind| kind["scheme"] == "upto")
        .expect("upto is offered");
    let facilitator = kind["extra"]["facilitatorAddress"]
        .as_str()
        .expect("an address")
        .to_owned();
    let signed = &payment.transfer;
    let digest = signed.upto_digest(&payment.domain, &facilitator);
    let payload = json!({
        "signature": hex0x(&sign(&payment.key, &digest)),
        "permit2Authorization": {
            "from": signed.from,
            "permitted": { "token": USDC, "amount": signed.value.to_string() },
            "spender": UPTO_PROXY,
            "nonce": hex0x(&signed.nonce),
            "deadline": signed.valid_before.to_string(),
            "witness": { "to": signed.to, "facilitator": facilitator, "validAfter": "0" },
        },
    });
    let requirements = json!({
        "scheme": "upto",
        "network": NETWORK,
        "amount": amount.to_string(),
        "asset": USDC,
        "payTo": payment.pay_to,
        "maxTimeoutSeconds": 60,
        "extra": { "name": "USDC", "version": "2", "assetTransferMethod": "permit2" },
    });
    body_v2(&requirements, &payload)
}

#[test]
fn one_permit_of_upto_is_settled_once() {
    let world = World::start();
    approve(&world, 2);
    let payment = world.payment(2);
    world.verify(&upto(&world, &payment, PRICE)).valid();
    world
        .verify(&upto(&world, &payment, 7_000))
        .refused("permit2_amount_mismatch");
    world
        .settle(&upto(&world, &payment, PRICE + 1))
        .refused("invalid_upto_evm_payload_settlement_exceeds_amount");
    let hash = world.settle(&upto(&world, &payment, 7_000)).paid();
    assert_eq!(
        world
            .settle(&upto(&world, &payment, 7_000))
            .failed(reason::DUPLICATE),
        hash
    );
    world.settle(&upto(&world, &payment, 9_000)).refused(NONCE);
    assert_eq!((world.earned(), world.sent()), (7_000, 1));
}

#[test]
fn t90_a_permit_that_was_settled_with_zero_is_not_settled_again() {
    let world = World::start();
    approve(&world, 2);
    let payment = world.payment(2);
    world.untouched(|| {
        let nothing = world.settle(&upto(&world, &payment, 0));
        assert!(nothing.is_success());
        assert_eq!((nothing.field("transaction"), nothing.field("amount")), ("", "0"));
        world.settle(&upto(&world, &payment, 5_000)).refused(NONCE);
    });
}

/// The golden payment, which every account may settle.
fn golden(world: &World) -> (Value, Value) {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../../docs/src/protocol/vectors.json")).expect("vectors");
    let vector = vectors["permit2_exact"].clone();
    let message = &vector["message"];
    assert_eq!(
        vector["signer"].as_str().map(str::to_lowercase),
        Some(world.chain.buyers[0].address.to_lowercase())
    );
    let requirements = json!({
        "scheme": "exact",
        "network": NETWORK,
        "amount": message["permitted"]["amount"],
        "asset": message["permitted"]["token"],
        "payTo": message["witness"]["to"],
        "maxTimeoutSeconds": 60,
        "extra": { "name": "USDC", "version": "2", "assetTransferMethod": "permit2" },
    });
    let body = body_v2(&requirements, &vector["payload"]);
    (body, vector)
}

#[test]
fn t33_a_permit_that_a_stranger_has_settled_before_is_a_replay() {
    let world = World::start();
    approve(&world, 0);
    let (body, vector) = golden(&world);
    world.verify(&body).valid();
    let calldata = vector["settleCalldata"].as_str().expect("calldata");
    let stranger = &world.chain.buyers[0].address;
    world
        .chain
        .send(stranger, PERMIT2_PROXY, calldata)
        .expect("the stranger settles it");
    world.verify(&body).refused(NONCE);
    world.settle(&body).refused(NONCE);
    assert_eq!(world.sent(), 0);
}
