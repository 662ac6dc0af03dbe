//! Who signed: accounts, contract wallets, delegated accounts, and signatures in every wrong shape.

use devnet::{MOCK_WALLET, REFUSING_DELEGATE, WALLET};
use e2e::sign::hex0x;
use e2e::{Payment, World};
use serde_json::Value;

use crate::reason;

fn with_signature(payment: &Payment, signature: &[u8]) -> Value {
    let mut body = payment.v2();
    body["paymentPayload"]["payload"]["signature"] = hex0x(signature).into();
    body
}

// n - s: the mirrored signature of the same digest, with the other v.
fn mirrored(signature: &[u8; 65]) -> [u8; 65] {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba,
        0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
    ];
    let mut other = *signature;
    let mut borrow = 0;
    for place in (0..32).rev() {
        let digit = i16::from(ORDER[place]) - i16::from(signature[32 + place]) - borrow;
        borrow = i16::from(digit < 0);
        other[32 + place] = u8::try_from(digit.rem_euclid(256)).expect("a byte");
    }
    other[64] = 27 + (28 - signature[64]);
    other
}

#[test]
fn t25_only_the_canonical_65_bytes_are_a_signature_of_an_account() {
    let world = World::start();
    let payment = world.payment(2);
    let good = payment.signature();
    let compact = {
        let mut compact = good[..64].to_vec();
        compact[32] |= (good[64] - 27) << 7;
        compact
    };
    let mut other_v = good;
    other_v[64] = 29;
    let mut forged = good;
    forged[5] ^= 1;
    let stranger = Payment {
        key: world.chain.buyers[3].key.clone(),
        ..payment.clone()
    };
    let over_long = [good.as_slice(), &[0]].concat();
    world.untouched(|| {
        let bad: [&[u8]; 9] = [
            &mirrored(&good),
            &compact,
            &good[..64],
            &over_long,
            &other_v,
            &forged,
            &stranger.signature(),
            &[0; 65],
            &[],
        ];
        for (case, signature) in bad.iter().enumerate() {
            let body = with_signature(&payment, signature);
            let (verify, settle) = (world.verify(&body), world.settle(&body));
            if signature.is_empty() {
                assert!(!verify.field("invalidReason").is_empty() && !settle.is_success());
                continue;
            }
            assert_eq!(
                verify.field("invalidReason"),
                reason::SIGNATURE,
                "case {case}: {verify:?}"
            );
            settle.refused(reason::SIGNATURE);
        }
    });
    let mut raw_v = good;
    raw_v[64] -= 27;
    let _ = world.settle(&with_signature(&payment, &raw_v)).paid();
    // The same signature in its other spelling is the same payment.
    let _ = world.settle(&payment.v2()).failed(reason::DUPLICATE);
    assert_eq!((world.sent(), world.transfers()), (1, 1));
}

#[test]
fn a_contract_wallet_pays_through_its_owners_signature() {
    let world = World::start();
    // The wallet belongs to buyer 1.
    let payment = world.payment(1).from_wallet(WALLET);
    world.verify(&payment.v2()).valid();
    let _ = world.settle(&payment.v2()).paid();
    let foreign = world.payment(2).from_wallet(WALLET);
    world.untouched(|| world.settle(&foreign.v2()).refused(reason::SIGNATURE));
}

#[test]
fn t26_an_account_with_a_delegation_is_verified_by_its_code_only() {
    let world = World::start();
    let buyers = &world.chain.buyers;
    world
        .chain
        .delegate(&buyers[2].address, REFUSING_DELEGATE)
        .expect("delegated");
    world.untouched(|| {
        world.verify(&world.payment(2).v2()).refused(reason::SIGNATURE);
        world.settle(&world.payment(2).v2()).refused(reason::SIGNATURE);
    });
    // A delegate that checks the account's own key lets it pay.
    world
        .chain
        .delegate(&buyers[3].address, WALLET)
        .expect("delegated");
    let _ = world.settle(&world.payment(3).v2()).paid();
}

#[test]
fn t27_a_wrong_answer_of_a_wallet_is_an_invalid_signature() {
    let world = World::start();
    let payment = || world.payment(2).from_wallet(MOCK_WALLET);
    // Refuses, answers four bytes, nothing, reverts with the magic, burns all gas.
    for mood in [1, 3, 5, 6, 7] {
        world
            .chain
            .set_wallet_mood(mood)
            .expect("the wallet changes its mood");
        world.untouched(|| {
            world.verify(&payment().v2()).refused(reason::SIGNATURE);
            world.settle(&payment().v2()).refused(reason::SIGNATURE);
        });
    }
    // Magic with dirt after it is a yes to us and a no to the token.
    world
        .chain
        .set_wallet_mood(2)
        .expect("the wallet changes its mood");
    world.untouched(|| world.settle(&payment().v2()).refused(reason::SIMULATION));
    // Two megabytes of answer hurt nobody.
    world
        .chain
        .set_wallet_mood(8)
        .expect("the wallet changes its mood");
    world.untouched(|| {
        let reply = world.settle(&payment().v2());
        assert!(!reply.is_success(), "{reply:?}");
    });
    // Yes, and yes with more after it, pay.
    for mood in [0, 4] {
        world
            .chain
            .set_wallet_mood(mood)
            .expect("the wallet changes its mood");
        let _ = world.settle(&payment().v2()).paid();
    }
    assert_eq!((world.sent(), world.transfers()), (2, 2));
}

#[test]
fn t27_a_wallet_that_accepts_only_at_gas_price_zero_is_refused_without_cost() {
    let world = World::start();
    world
        .chain
        .set_wallet_mood(9)
        .expect("the wallet changes its mood");
    world.untouched(|| {
        for _ in 0..2 {
            let body = world.payment(2).from_wallet(MOCK_WALLET).v2();
            world.verify(&body).refused(reason::SIMULATION);
            world.settle(&body).refused(reason::SIMULATION);
        }
    });
}

#[test]
fn t27_a_wallet_that_changes_its_mind_when_mined_costs_gas_once() {
    let world = World::start();
    world
        .chain
        .set_wallet_mood(10)
        .expect("the wallet changes its mood");
    // Yes in every block there is, no in the next one.
    let turn = || {
        let (height, _) = world.chain.head().expect("the node answers");
        world.chain.set_wallet_turn(height + 1).expect("set");
    };
    turn();
    let body = world.payment(2).from_wallet(MOCK_WALLET).v2();
    world.verify(&body).valid();
    let first = world.settle(&body);
    assert!(
        !first.is_success() && first.field("transaction").len() == 66,
        "{first:?}"
    );
    let again = world.settle(&body);
    assert_eq!(
        (again.field("transaction"), again.field("errorReason")),
        (first.field("transaction"), first.field("errorReason"))
    );
    assert_eq!((world.sent(), world.transfers()), (1, 0));
}

#[test]
fn t28_nothing_is_deployed_for_a_wallet_that_does_not_exist() {
    let world = World::start();
    // The "factory" is the token, the "deployment" a transfer: it must never be called from our key.
    let payment = world
        .payment(2)
        .from_wallet("0x00000000000000000000000000000000006492aa");
    let word = |number: u64| devnet::word_of_u128(number.into());
    let inner = payment.signature();
    let mut wrapped = devnet::word_of_address(devnet::USDC)
        .expect("an address")
        .to_vec();
    for part in [
        word(96).as_slice(),
        &word(160),
        &word(4),
        &[0xa9, 0x05, 0x9c, 0xbb],
        &[0; 28],
        &word(65),
        &inner,
        &[0; 31],
    ] {
        wrapped.extend(part);
    }
    wrapped.extend([0x64, 0x92].repeat(16));
    let body = with_signature(&payment, &wrapped);
    world.untouched(|| {
        world.verify(&body).refused("eip6492_factory_not_allowed");
        world.settle(&body).refused("eip6492_factory_not_allowed");
    });
    // For a wallet that exists, the inner signature counts, and the wrapper is not called.
    let payment = world.payment(1).from_wallet(WALLET);
    let end = wrapped.len() - 32 - 31 - 65;
    wrapped[end..end + 65].copy_from_slice(&payment.signature());
    let _ = world.settle(&with_signature(&payment, &wrapped)).paid();
    assert_eq!((world.sent(), world.transfers()), (1, 1));
}
