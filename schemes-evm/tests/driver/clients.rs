//! Transactions that clients have signed, and plain transfers of native currency.

use alloy_consensus::{SignableTransaction, Transaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Bytes, Signature, TxKind, U256};
use k256::ecdsa::SigningKey;
use sdk_plugin::chain::{Built, Lane, Slot};
use sdk_plugin::scheme::{Call, LaneChoice, Step};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{Amount, ChainDriver, Fault, FaultKind, HexBytes};

use crate::building::{bid, build, decode, step};
use crate::node::{ASSET, World, slot};

const PAYER: &str = "0x2222222222222222222222222222222222222222";
/// `approve(address,uint256)`.
const APPROVE: [u8; 4] = [0x09, 0x5e, 0xa7, 0xb3];

fn transaction() -> TxEip1559 {
    TxEip1559 {
        chain_id: 84_532,
        nonce: 3,
        gas_limit: 70_000,
        max_fee_per_gas: 10,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(ASSET.parse().expect("an address")),
        value: U256::ZERO,
        access_list: Default::default(),
        input: Bytes::from([&APPROVE[..], &[0; 64]].concat()),
    }
}

fn signed(transaction: TxEip1559) -> Vec<u8> {
    let key = SigningKey::from_slice(&[0x11; 32]).expect("a key");
    let hash = transaction.signature_hash();
    let (signature, recovery) = key.sign_prehash_recoverable(hash.as_slice()).expect("signs");
    let signature = Signature::from_bytes_and_parity(&signature.to_bytes(), recovery.to_byte() == 1);
    TxEnvelope::from(transaction.into_signed(signature)).encoded_2718()
}

fn approval(transaction: TxEip1559) -> Step {
    Step {
        call: Call {
            target: ASSET.into(),
            operation: "0x095ea7b3".into(),
            data: HexBytes(signed(transaction)),
            native_value: Amount::ZERO,
            compute_limit: Some(70_000),
        },
        lane: LaneChoice::Foreign,
        ..step()
    }
}

/// The slot beside those of the signer.
fn beside() -> Slot {
    let own = slot((1 << 52) + 1);
    Slot {
        lane: Lane {
            ordered: false,
            ..own.lane.clone()
        },
        ..own
    }
}

fn built(world: &World, step: Step) -> Result<Built, Fault> {
    block_on(world.driver.build(&world.cx(), &beside(), &bid(), &[step]))
}

#[test]
fn a_client_s_transaction_goes_as_it_is_and_nothing_is_signed_or_read() {
    let world = World::new();
    let step = approval(transaction());
    let built = built(&world, step.clone()).expect("built");
    assert_eq!(built.bytes, step.call.data);
    assert_eq!(built.max_cost, Amount::ZERO, "the client pays for it");
    let hash = alloy_primitives::keccak256(step.call.data.as_ref());
    assert_eq!(built.tx_id, hash.to_string());
    assert!(world.host.recorded().is_empty());
}

#[test]
fn t62_a_client_s_transaction_that_is_not_what_it_declares_is_denied() {
    type Change = fn(&mut TxEip1559);
    let world = World::new();
    let changes: [(&str, Change); 5] = [
        ("chain", |tx| tx.chain_id = 1),
        ("target", |tx| {
            tx.to = TxKind::Call(PAYER.parse().expect("an address"))
        }),
        ("creation", |tx| tx.to = TxKind::Create),
        ("call", |tx| {
            tx.input = Bytes::from_static(&[0xa9, 0x05, 0x9c, 0xbb])
        }),
        ("value", |tx| tx.value = U256::from(1)),
    ];
    for (what, change) in changes {
        let mut transaction = transaction();
        change(&mut transaction);
        let fault = built(&world, approval(transaction)).expect_err(what);
        assert_eq!(fault.kind, FaultKind::Denied, "{what}");
    }
    let mut bytes = signed(transaction());
    bytes.push(0);
    for bytes in [bytes, Vec::new(), vec![2], vec![0xc0], vec![0xff; 40]] {
        let mut step = approval(transaction());
        step.call.data = HexBytes(bytes);
        let fault = built(&world, step).expect_err("no transaction");
        assert_eq!(fault.kind, FaultKind::Denied);
    }
    // Not in a slot of our signer's own, and not beside other steps.
    let own = build(&world, &bid(), &[approval(transaction())]).expect_err("an own slot");
    assert_eq!(own.kind, FaultKind::Denied);
    let both = [step(), approval(transaction())];
    assert!(build(&world, &bid(), &both).is_err());
    assert!(world.host.recorded().is_empty());
}

#[test]
fn native_currency_is_moved_to_an_account_without_calldata() {
    let world = World::new();
    let transfer = |change: fn(&mut Call)| {
        let mut call = Call {
            target: PAYER.into(),
            operation: "transfer".into(),
            data: HexBytes::default(),
            native_value: 70u64.into(),
            compute_limit: Some(51_000),
        };
        change(&mut call);
        build(&world, &bid(), &[Step { call, ..step() }])
    };
    let built = transfer(|_| {}).expect("built");
    let envelope = decode(&built);
    assert_eq!((envelope.value(), envelope.gas_limit()), (U256::from(70), 51_000));
    assert!(envelope.input().is_empty());
    assert_eq!(built.max_cost, (51_000 * 3_000 + 7u64 + 70).into());
    for change in [
        (|call| call.native_value = Amount::ZERO) as fn(&mut Call),
        |call| call.data = HexBytes(vec![1, 2, 3, 4]),
        |call| call.target = "payer".into(),
        |call| call.compute_limit = None,
    ] {
        let fault = transfer(change).expect_err("not what it declares");
        assert_eq!(fault.kind, FaultKind::Denied);
    }
}
