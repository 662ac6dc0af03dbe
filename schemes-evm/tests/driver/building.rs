//! build and fill.

use alloy_consensus::{SignableTransaction as _, Transaction, TxEnvelope};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, U256, address, keccak256};
use alloy_sol_types::SolCall;
use schemes_evm::abi::{AuthorizedToken, MULTICALL3, Multicall};
use sdk_plugin::chain::{Bid, Built};
use sdk_plugin::host::Suite;
use sdk_plugin::scheme::{Call, EvidenceWanted, Gate, LaneChoice, OnFail, Step};
use sdk_plugin::testkit::{Recorded, block_on};
use sdk_plugin::{Amount, ChainDriver, Fault, FaultKind, HexBytes, Value};
use serde_json::json;

use crate::node::{ASSET, SIGNER, World, sign, slot};

pub fn bid() -> Bid {
    Bid {
        terms: json!({
            "fees": {"type": "eip1559", "maxFee": "3000", "maxPriorityFee": "1000"},
            "l1FeePerUnit": "7",
        }),
        head_height: 100,
    }
}

fn legacy_bid() -> Bid {
    Bid {
        terms: json!({"fees": {"type": "legacy", "gasPrice": "2000"}}),
        head_height: 100,
    }
}

pub fn step() -> Step {
    Step {
        call: Call {
            target: ASSET.into(),
            operation: "0xe3ee160e".into(),
            data: HexBytes([&[0xe3, 0xee, 0x16, 0x0e][..], &[0xaa; 96]].concat()),
            native_value: Amount::ZERO,
            compute_limit: Some(100_000),
        },
        lane: LaneChoice::Any,
        gate: Gate::None,
        on_fail: OnFail::Stop,
        batchable: true,
        one_per_payer: false,
        renewable: false,
        max_cost: None,
        expires_at_s: None,
        evidence: EvidenceWanted::default(),
        pays: true,
        memo: Value::Null,
    }
}

pub fn build(world: &World, bid: &Bid, steps: &[Step]) -> Result<Built, Fault> {
    block_on(world.driver.build(&world.cx(), &slot(7), bid, steps))
}

pub fn decode(built: &Built) -> TxEnvelope {
    let envelope = TxEnvelope::decode_2718_exact(built.bytes.as_ref()).expect("decodes");
    assert_eq!(envelope.tx_hash().to_string(), built.tx_id);
    let signer = envelope
        .signature()
        .recover_address_from_prehash(&envelope.signature_hash());
    assert_eq!(signer.expect("recovers").to_string().to_lowercase(), SIGNER);
    envelope
}

#[test]
fn a_step_becomes_a_signed_transaction_without_any_read() {
    let world = World::new();
    let built = build(&world, &bid(), &[step()]).expect("built");
    let envelope = decode(&built);
    let TxEnvelope::Eip1559(signed) = &envelope else {
        panic!("type 2: {envelope:?}")
    };
    let tx = signed.tx();
    assert_eq!((tx.chain_id, tx.nonce, tx.gas_limit), (84_532, 7, 100_000));
    assert_eq!((tx.max_fee_per_gas, tx.max_priority_fee_per_gas), (3_000, 1_000));
    assert_eq!(
        tx.to.to().map(|to| to.to_string().to_lowercase()).as_deref(),
        Some(ASSET)
    );
    assert_eq!(tx.value, U256::ZERO);
    assert_eq!(tx.input.as_ref(), step().call.data.as_ref());
    // All the gas, and one unit of data fee: the transaction has less than 512 bytes.
    assert_eq!(built.max_cost, (100_000 * 3_000 + 7u64).into());
    assert!(built.left_out.is_empty());

    let recorded = world.host.recorded();
    let [Recorded::Sign { request, .. }] = recorded.as_slice() else {
        panic!("one signature: {recorded:?}")
    };
    assert_eq!(
        (request.key.as_str(), request.suite, request.message.len()),
        ("main", Suite::Secp256k1, 32)
    );
    // A signer elsewhere decodes what it is to sign.
    let unsigned = request.unsigned.as_ref();
    assert_eq!(unsigned.first(), Some(&2), "EIP-1559");
    assert_eq!(request.message.as_ref(), keccak256(unsigned).as_slice());
    assert_eq!(unsigned, signed.tx().encoded_for_signing());
}

#[test]
fn legacy_transactions_are_bound_to_the_chain() {
    let world = World::new();
    let built = build(&world, &legacy_bid(), &[step()]).expect("built");
    let envelope = decode(&built);
    assert!(envelope.is_legacy());
    assert_eq!(
        (envelope.chain_id(), envelope.gas_price()),
        (Some(84_532), Some(2_000))
    );
    assert_eq!(built.max_cost, 200_000_000u64.into());
}

#[test]
fn value_is_sent_and_counted() {
    let world = World::new();
    let mut paying = step();
    paying.call.native_value = 55u64.into();
    let built = build(&world, &legacy_bid(), &[paying]).expect("built");
    assert_eq!(decode(&built).value(), U256::from(55));
    assert_eq!(built.max_cost, 200_000_055u64.into());
}

#[test]
fn nothing_is_built_of_no_steps() {
    let fault = build(&World::new(), &bid(), &[]).expect_err("nothing");
    assert_eq!(fault.kind, FaultKind::Invalid);
}

#[test]
fn t62_a_call_that_is_not_what_it_declares_is_denied() {
    type Change = fn(&mut Step);
    let world = World::new();
    let changes: [(&str, Change); 10] = [
        ("target", |step| step.call.target = "asset".into()),
        ("target of 19 bytes", |step| drop(step.call.target.split_off(40))),
        ("upper case", |step| {
            step.call.target = step.call.target.to_uppercase().replace("0X", "0x")
        }),
        ("operation", |step| step.call.operation = "0xa9059cbb".into()),
        ("operation in upper case", |step| {
            step.call.operation = "0xE3EE160E".into()
        }),
        ("short data", |step| step.call.data = HexBytes(vec![0xe3, 0xee])),
        ("no limit", |step| step.call.compute_limit = None),
        ("limit 0", |step| step.call.compute_limit = Some(0)),
        ("other signer", |step| {
            step.lane = LaneChoice::Signer {
                address: ASSET.into(),
            }
        }),
        ("foreign", |step| step.lane = LaneChoice::Foreign),
    ];
    for (name, change) in changes {
        let mut changed = step();
        change(&mut changed);
        let fault = build(&world, &bid(), &[changed]).expect_err(name);
        assert_eq!(fault.kind, FaultKind::Denied, "{name}");
    }
    assert!(world.host.recorded().is_empty(), "nothing was signed");
    let mut named = step();
    named.lane = LaneChoice::Signer {
        address: SIGNER.to_uppercase().replace("0X", "0x"),
    };
    assert!(build(&world, &bid(), &[named]).is_ok());
}

/// A plan's call of Multicall3 with these two calls.
fn multicall(deployment: (Address, bool, Vec<u8>), transfer: (Address, bool, Vec<u8>)) -> Step {
    let calls = [deployment, transfer].map(|(target, may_fail, data)| Multicall::Call3 {
        target,
        allowFailure: may_fail,
        callData: data.into(),
    });
    let data = Multicall::aggregate3Call { calls: calls.into() }.abi_encode();
    let mut step = step();
    step.call.target = MULTICALL3.to_string().to_lowercase();
    step.call.operation = "0x82ad56cb".into();
    step.call.data = HexBytes(data);
    step
}

#[test]
fn t62_multicall3_is_called_for_an_allowed_deployment_and_its_transfer_only() {
    let factory = address!("0x64920000000000000000000000000000000000fa");
    let asset: Address = ASSET.parse().expect("an address");
    let other = address!("0x4444444444444444444444444444444444444444");
    let create = [0x3f, 0xfb, 0xa3, 0x6f, 1].to_vec();
    let paid = AuthorizedToken::transferWithAuthorization_1Call {
        from: other,
        to: factory,
        value: U256::from(1),
        validAfter: U256::ZERO,
        validBefore: U256::MAX,
        nonce: B256::ZERO,
        signature: vec![7; 130].into(),
    }
    .abi_encode();
    let good = || multicall((factory, true, create.clone()), (asset, false, paid.clone()));
    let mut world = World::with_options(json!({"wallet_factories": {factory.to_string(): ["0x3ffba36f"]}}));
    world.assets = Some(vec![ASSET.into()]);
    let built = build(&world, &bid(), &[good()]).expect("built");
    assert_eq!(decode(&built).input().as_ref(), good().call.data.as_ref());

    let changed = |deployment: (Address, bool, &[u8]), transfer: (Address, bool, &[u8])| {
        multicall(
            (deployment.0, deployment.1, deployment.2.to_vec()),
            (transfer.0, transfer.1, transfer.2.to_vec()),
        )
    };
    let approve = [&[0x09, 0x5e, 0xa7, 0xb3][..], &[0; 64]].concat();
    let mut longer = paid.clone();
    longer.push(0);
    let mut three = good();
    let mut calls = Multicall::aggregate3Call::abi_decode(three.call.data.as_ref()).expect("decodes");
    calls.calls.push(calls.calls[1].clone());
    three.call.data = HexBytes(calls.abi_encode());
    let mut trailing = good();
    trailing.call.data.0.push(0);
    let mut rehearsal = good();
    rehearsal.call.operation = "0xbce38bd7".into();
    rehearsal.call.data = HexBytes([&[0xbc, 0xe3, 0x8b, 0xd7][..], &good().call.data.as_ref()[4..]].concat());
    let bad = [
        (
            "another factory",
            changed((other, true, &create), (asset, false, &paid)),
        ),
        (
            "another function",
            changed((factory, true, &approve), (asset, false, &paid)),
        ),
        (
            "a deployment that may not fail",
            changed((factory, false, &create), (asset, false, &paid)),
        ),
        (
            "a transfer that may fail",
            changed((factory, true, &create), (asset, true, &paid)),
        ),
        (
            "another asset",
            changed((factory, true, &create), (other, false, &paid)),
        ),
        (
            "another call of the asset",
            changed((factory, true, &create), (asset, false, &approve)),
        ),
        (
            "more after the transfer",
            changed((factory, true, &create), (asset, false, &longer)),
        ),
        (
            "two transfers",
            multicall((asset, true, paid.clone()), (asset, false, paid.clone())),
        ),
        ("three calls", three),
        ("more after the calls", trailing),
        ("another operation", rehearsal),
    ];
    let signed = world.host.recorded().len();
    for (name, step) in bad {
        let fault = build(&world, &bid(), &[step]).expect_err(name);
        assert_eq!(fault.kind, FaultKind::Denied, "{name}");
    }
    assert_eq!(world.host.recorded().len(), signed, "nothing was signed");
    // Without a list there are no deployments.
    let fault = build(&World::new(), &bid(), &[good()]).expect_err("no factories");
    assert_eq!(fault.kind, FaultKind::Denied);
}

#[test]
fn t106_a_signer_that_signs_otherwise_is_found_out() {
    type Signer = fn(&[u8]) -> Vec<u8>;
    let signatures: [(&str, Signer); 6] = [
        ("another key", |digest| sign(&[0x44; 32], digest)),
        ("another digest", |_| sign(&[0x33; 32], &[9; 32])),
        ("64 bytes", |digest| sign(&[0x33; 32], digest)[..64].to_vec()),
        ("recovery id 27", |digest| {
            let mut signature = sign(&[0x33; 32], digest);
            signature[64] += 27;
            signature
        }),
        ("nothing", |_| vec![]),
        ("zeros", |_| vec![0; 65]),
    ];
    for (name, signature) in signatures {
        let world = World::new();
        world
            .host
            .answer_sign(move |request| Ok(HexBytes(signature(request.message.as_ref()))));
        let fault = build(&world, &bid(), &[step()]).expect_err(name);
        assert!(
            matches!(fault.kind, FaultKind::Denied | FaultKind::Internal),
            "{name}: {fault}"
        );
        assert!(
            block_on(world.driver.fill(&world.cx(), &slot(7), &bid())).is_err(),
            "{name}"
        );
    }
}

#[test]
fn a_fill_moves_nothing_to_the_signer_itself() {
    let world = World::new();
    let built = block_on(world.driver.fill(&world.cx(), &slot(9), &bid())).expect("built");
    let envelope = decode(&built);
    assert_eq!(
        envelope.to().map(|to| to.to_string().to_lowercase()).as_deref(),
        Some(SIGNER)
    );
    assert_eq!(
        (envelope.nonce(), envelope.gas_limit(), envelope.value()),
        (9, 21_000, U256::ZERO)
    );
    assert!(envelope.input().is_empty());
    let world = World::with_options(json!({"fill_gas": 500_000}));
    let built = block_on(world.driver.fill(&world.cx(), &slot(9), &bid())).expect("built");
    assert_eq!(decode(&built).gas_limit(), 500_000);
    assert_eq!(world.host.round_trips(), 0);
}
