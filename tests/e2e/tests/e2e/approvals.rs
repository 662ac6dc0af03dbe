//! Payers without native currency whose approval of Permit2 the facilitator sends (extension `erc20ApprovalGasSponsoring`).

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, TxKind, U256, hex};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use devnet::{Arg, Mining, PERMIT2, USDC, WALLET};
use e2e::payment::{NETWORK, PRICE};
use e2e::shop::buy_reading;
use e2e::world::Builder;
use e2e::{Payment, Reply, World, wait};
use serde_json::{Value, json};

use crate::permit2::{exact, npm, pays, seller, upto};
use crate::reason;

const GWEI: u128 = 1_000_000_000;
const ALLOWED: &str = "0x000000000022D473030F116dDEE9F6B43aC78BA3";
const NOT_SENT: &str = "erc20_approval_tx_failed";

/// A facilitator that gives a payer up to 0.001 of native currency, and ten times that in a day.
fn world() -> Builder {
    World::builder().plugin(&format!(
        "[plugin.evm.config.approvals.{NETWORK:?}]\nmax_funding_wei = \"1000000000000000\"\nmax_funding_per_day_wei = \
         \"10000000000000000\"\n"
    ))
}

/// The approval that a payer signs, which a test may change.
fn approval(world: &World, buyer: usize) -> TxEip1559 {
    let allow = [Arg::address(PERMIT2).expect("an address"), Arg::uint(u128::MAX)];
    let token = world.chain.artifact("DollarToken").expect("the artefact");
    let call = token.call("approve(address,uint256)", &allow).expect("encodes");
    let nonce = world
        .chain
        .transaction_count(&world.chain.buyers[buyer].address)
        .expect("the node answers");
    TxEip1559 {
        chain_id: 84_532,
        nonce: u64::try_from(nonce).expect("a nonce"),
        gas_limit: 70_000,
        max_fee_per_gas: 2 * GWEI,
        max_priority_fee_per_gas: GWEI / 10,
        to: TxKind::Call(address(USDC)),
        value: U256::ZERO,
        access_list: Default::default(),
        input: hex::decode(call).expect("hex").into(),
    }
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

fn sign(world: &World, buyer: usize, transaction: TxEip1559) -> String {
    let key: PrivateKeySigner = world.chain.buyers[buyer].key.parse().expect("a key");
    let signature = key.sign_hash_sync(&transaction.signature_hash()).expect("signs");
    hex::encode_prefixed(transaction.into_signed(signature).encoded_2718())
}

/// The body with the payer's signed transaction.
fn with(world: &World, buyer: usize, transaction: TxEip1559, mut body: Value) -> Value {
    body["paymentPayload"]["extensions"]["erc20ApprovalGasSponsoring"]["info"] = json!({
        "from": world.chain.buyers[buyer].address,
        "asset": USDC,
        "spender": ALLOWED,
        "amount": U256::MAX.to_string(),
        "signedTransaction": sign(world, buyer, transaction),
        "version": "1",
    });
    body
}

/// A payment by Permit2 of a payer that has nothing but dollars.
fn body(world: &World, buyer: usize) -> Value {
    without_gas(world, buyer);
    with(world, buyer, approval(world, buyer), exact(&world.payment(buyer)))
}

fn without_gas(world: &World, buyer: usize) {
    let payer = &world.chain.buyers[buyer].address;
    world.chain.set_wei(payer, 0).expect("the node answers");
}

/// Transactions of a payer at the node, mined or waiting.
fn sent_by(world: &World, buyer: usize) -> u128 {
    let payer = &world.chain.buyers[buyer].address;
    world.chain.pending_count(payer).expect("the node answers")
}

fn wait_sent_by(world: &World, buyer: usize) {
    wait::until("the payer's transaction at the node", wait::LONG, || {
        (sent_by(world, buyer) == 1).then_some(())
    });
}

/// The header that tells what became of the extensions.
fn extension_results(answer: &Reply) -> Value {
    let header = answer.header("extension-responses").expect("the header");
    let bytes = STANDARD.decode(header).expect("base64");
    serde_json::from_slice(&bytes).expect("an object")
}

#[test]
fn the_official_client_pays_exact_after_an_approval_without_native_currency() {
    let (world, npm) = (world().start(), npm());
    without_gas(&world, 2);
    let environment = [("TRANSFER_METHOD", "permit2"), ("GAS_SPONSORING", "erc20")];
    let seller = seller(&world, &npm, &environment);
    let key = &world.chain.buyers[2].key;
    let report = buy_reading(&npm, key, world.chain.url(), &seller.resource).expect("an answer");
    pays(&world, &report, 2, PRICE);
    assert_eq!(
        (world.sent(), sent_by(&world, 2)),
        (2, 1),
        "funds, approval, payment"
    );
    // The next payment needs no approval, and its client sends none.
    let report = buy_reading(&npm, key, world.chain.url(), &seller.resource).expect("an answer");
    pays(&world, &report, 2, 2 * PRICE);
    assert_eq!((world.sent(), sent_by(&world, 2)), (3, 1));
}

#[test]
fn the_official_client_pays_upto_after_an_approval_without_native_currency() {
    let (world, npm) = (world().signers(2).start(), npm());
    without_gas(&world, 2);
    let environment = [
        ("SCHEME", "upto"),
        ("SETTLE_AMOUNT", "7000"),
        ("GAS_SPONSORING", "erc20"),
    ];
    let seller = seller(&world, &npm, &environment);
    let key = &world.chain.buyers[2].key;
    let report = buy_reading(&npm, key, world.chain.url(), &seller.resource).expect("an answer");
    pays(&world, &report, 2, 7_000);
    assert_eq!((world.sent(), sent_by(&world, 2)), (2, 1));
}

#[test]
fn a_payer_with_gas_gets_none() {
    let world = world().start();
    let payer = world.chain.buyers[2].address.clone();
    world
        .chain
        .set_wei(&payer, 1_000_000_000_000_000)
        .expect("the node answers");
    let body = with(&world, 2, approval(&world, 2), exact(&world.payment(2)));
    let used = json!({ "erc20ApprovalGasSponsoring": { "status": "success" } });
    let verified = world.verify(&body);
    verified.valid();
    assert_eq!(extension_results(&verified), used);
    let settled = world.settle(&body);
    assert_eq!(extension_results(&settled), used);
    let _ = settled.paid();
    assert_eq!((world.sent(), world.earned()), (1, PRICE));
}

/// T-38: a buyer whose approval may cost more than it needs gets nothing.
#[test]
fn t38_an_expensive_approval_is_refused_and_nobody_is_funded() {
    let world = world().start();
    without_gas(&world, 2);
    let refused = |change: fn(&mut TxEip1559)| {
        let mut transaction = approval(&world, 2);
        change(&mut transaction);
        let body = with(&world, 2, transaction, exact(&world.payment(2)));
        let answer = world.verify(&body);
        answer.refused(NOT_SENT);
        let rejected = json!({ "status": "rejected", "rejectedReason": NOT_SENT });
        assert_eq!(
            extension_results(&answer),
            json!({ "erc20ApprovalGasSponsoring": rejected })
        );
        world.settle(&body).refused(NOT_SENT);
        assert_eq!(
            world.chain.wei_of(&world.chain.buyers[2].address).expect("wei"),
            0
        );
    };
    world.untouched(|| {
        refused(|tx| {
            tx.gas_limit = 10_000_000;
            tx.max_fee_per_gas = 1_000 * GWEI;
        });
        refused(|tx| tx.nonce = 1);
        refused(|tx| tx.value = U256::from(1));
        refused(|tx| tx.chain_id = 8_453);
        // The approval is cheap enough, and the payment's own terms are not met.
        let late = Payment {
            transfer: e2e::sign::Transfer {
                value: PRICE - 1,
                ..world.payment(2).transfer
            },
            ..world.payment(2)
        };
        let body = with(&world, 2, approval(&world, 2), exact(&late));
        world.settle(&body).refused("permit2_amount_mismatch");
    });
}

#[test]
fn two_payments_with_one_approval_are_both_paid_and_funded_once() {
    let world = world().start();
    without_gas(&world, 2);
    let signed = approval(&world, 2);
    let bodies: Vec<Value> = (0..2)
        .map(|_| with(&world, 2, signed.clone(), exact(&world.payment(2))))
        .collect();
    for answer in world.settle_all(&bodies) {
        let _ = answer.paid();
    }
    assert_eq!(
        (world.sent(), sent_by(&world, 2), world.earned()),
        (3, 1, 2 * PRICE)
    );
}

/// The process dies after each of the three transactions was sent, and none of them is sent or paid twice.
#[test]
fn kills_between_funding_approval_and_payment_lose_nothing() {
    let mut world = world()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 1")
        .start();
    let body = body(&world, 2);
    let _ = world.settle(&body).pending();
    for step in ["funds", "approval", "payment"] {
        match step {
            "funds" => world.wait_sent(1),
            "approval" => wait_sent_by(&world, 2),
            _ => world.wait_sent(2),
        }
        world.facilitator.kill();
        if step == "approval" {
            // The node forgets it too.
            world.chain.drop_all_transactions().expect("the pool is emptied");
        }
        world.facilitator.restart();
        if step == "approval" {
            wait_sent_by(&world, 2);
        }
        world.chain.mine(1).expect("mines");
    }
    let hash = world.settle(&body).paid();
    assert_eq!(world.settle(&body).failed(reason::DUPLICATE), hash);
    assert_eq!(
        (
            world.sent(),
            sent_by(&world, 2),
            world.transfers(),
            world.earned()
        ),
        (2, 1, 1, PRICE)
    );
    world.mine_until_slots_closed();
}

/// A buyer takes the native currency and uses its nonce for something else: the payment fails, nothing is paid, and the same
/// payment can be made once the allowance is there.
#[test]
fn an_approval_that_its_payer_replaces_fails_the_payment_and_no_more() {
    let world = world()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 40")
        .start();
    without_gas(&world, 2);
    let mut payment = world.payment(2);
    payment.transfer.valid_before = e2e::payment::now_s() + 25;
    let body = with(&world, 2, approval(&world, 2), exact(&payment));
    let client = world.facilitator.client().clone();
    let text = body.to_string();
    let caller = std::thread::spawn(move || client.post("/settle", text.as_bytes(), &[]));
    world.wait_sent(1);
    world.chain.mine(1).expect("mines");
    wait_sent_by(&world, 2);
    world.chain.drop_all_transactions().expect("the pool is emptied");
    let mut other = approval(&world, 2);
    other.max_fee_per_gas = 4 * GWEI;
    other.input = Default::default();
    other.to = TxKind::Call(address(&world.chain.buyers[2].address));
    other.gas_limit = 21_000;
    let raw = sign(&world, 2, other);
    world
        .chain
        .rpc()
        .call("eth_sendRawTransaction", json!([raw]))
        .expect("the node takes it");
    world.chain.mine(1).expect("mines");
    let answer = caller.join().expect("joins").expect("an answer");
    assert!(!answer.is_success(), "{answer:?}");
    assert_eq!(answer.field("errorReason"), "erc20_approval_broadcast_failed");
    assert_eq!((world.sent(), world.earned()), (1, 0));
    // It was funded once today.
    without_gas(&world, 2);
    let again = with(&world, 2, approval(&world, 2), exact(&world.payment(2)));
    world.untouched(|| world.settle(&again).refused(NOT_SENT));
    world.mine_until_slots_closed();
}

#[test]
fn a_reorganisation_that_takes_the_approval_back_pays_once() {
    let world = world().network("confirmations = 1\nfinality = 6").start();
    let body = body(&world, 2);
    let hash = world.settle(&body).paid();
    world.chain.reorg(3).expect("reorganises");
    wait::until("the payment to be back", wait::LONG, || {
        (world.earned() == PRICE).then_some(())
    });
    world.chain.mine(8).expect("mines");
    assert_eq!(world.settle(&body).failed(reason::DUPLICATE), hash);
    assert_eq!((world.earned(), world.transfers()), (PRICE, 1));
    world.mine_until_slots_closed();
}

#[test]
fn upto_is_paid_by_the_signer_of_its_permit_after_an_approval() {
    let world = world().signers(3).start();
    without_gas(&world, 2);
    let body = with(
        &world,
        2,
        approval(&world, 2),
        upto(&world, &world.payment(2), 7_000),
    );
    let _ = world.settle(&body).paid();
    assert_eq!((world.sent(), world.earned()), (2, 7_000));
}

#[test]
fn a_network_without_limits_neither_advertises_nor_sends_approvals() {
    let without = World::start();
    let has = |world: &World| {
        let supported = world.facilitator.get("/supported");
        let extensions = supported.json["extensions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        extensions.contains(&"erc20ApprovalGasSponsoring".into())
    };
    assert!(!has(&without));
    let body = body(&without, 2);
    without.untouched(|| without.settle(&body).refused("permit2_allowance_required"));
    assert!(has(&world().start()));
}

/// A stranger settles the permit as soon as the approval has landed: the reason is that of a used nonce.
#[test]
fn t33_a_permit_that_a_stranger_settles_after_its_approval_is_a_replay() {
    let world = world()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 60")
        .start();
    let payment = world.payment(2);
    without_gas(&world, 2);
    let body = with(&world, 2, approval(&world, 2), exact(&payment));
    let client = world.facilitator.client().clone();
    let text = body.to_string();
    let caller = std::thread::spawn(move || client.post("/settle", text.as_bytes(), &[]));
    world.wait_sent(1);
    world.chain.mine(1).expect("mines");
    wait_sent_by(&world, 2);
    // The stranger's transaction is in the block of the approval.
    let stranger = &world.chain.buyers[0].address;
    let calldata = crate::permit2::settle_calldata(&world, &payment);
    world
        .chain
        .set_wei(stranger, 1_000_000_000_000_000_000)
        .expect("the node answers");
    // It offers less than the approval, and comes after it in the block.
    let rpc = world.chain.rpc();
    rpc.call("anvil_impersonateAccount", json!([stranger]))
        .expect("impersonates");
    let settle = json!({
        "from": stranger,
        "to": devnet::PERMIT2_PROXY,
        "data": calldata,
        "gas": "0x493e0",
        "maxFeePerGas": format!("{:#x}", GWEI * 3 / 2),
        "maxPriorityFeePerGas": "0x1",
    });
    rpc.call("eth_sendTransaction", json!([settle]))
        .expect("the node takes it");
    world.chain.mine(1).expect("mines");
    let answer = caller.join().expect("joins").expect("an answer");
    assert!(!answer.is_success(), "{answer:?}");
    assert_eq!(answer.field("errorReason"), "permit2_invalid_nonce", "{answer:?}");
    assert_eq!((world.sent(), world.earned()), (1, PRICE));
    world.mine_until_slots_closed();
}

/// An account with a delegation (EIP-7702) signs transactions with its own key too, and its code receives what it is given.
#[test]
fn an_account_with_a_delegation_pays_after_its_own_approval() {
    let world = world().start();
    let payer = &world.chain.buyers[3].address;
    world.chain.delegate(payer, WALLET).expect("delegated");
    let body = body(&world, 3);
    world.verify(&body).valid();
    let _ = world.settle(&body).paid();
    assert_eq!((world.sent(), world.earned()), (2, PRICE));
}
