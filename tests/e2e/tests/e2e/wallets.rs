//! Who signed: accounts, contract wallets, delegated accounts, and signatures in every wrong shape.

use devnet::{Arg, MOCK_WALLET, Npm, REFUSING_DELEGATE, WALLET, WALLET_FACTORY, WRAPPING_FACTORY};
use e2e::payment::PRICE;
use e2e::shop::{Generation, Seller, buy_with_wallet};
use e2e::sign::{self, hex0x};
use e2e::{Payment, World};
use serde_json::{Value, json};

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
    let mut wrapped = wrap(devnet::USDC, &[0xa9, 0x05, 0x9c, 0xbb], &payment.signature());
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

/// Calls of the factories that the operator of [`deploying`] allows.
const CREATE: &str = "create(address,bytes32)";
const CREATE_OF_TWO: &str = "create(address,address,bytes32)";
const REFUSE: &str = "refuse()";

fn selector(function: &str) -> String {
    hex0x(&sign::keccak(function.as_bytes())[..4])
}

/// A facilitator that deploys the wallets of the test factories.
fn deploying() -> World {
    let plain = json!([selector(CREATE)]);
    let wrapping = json!([selector(CREATE_OF_TWO), selector(REFUSE)]);
    let factories = format!("{{ {WALLET_FACTORY:?} = {plain}, {WRAPPING_FACTORY:?} = {wrapping} }}");
    World::builder()
        .network(&format!(
            "options = {{ max_clock_skew_s = 0, wallet_factories = {factories} }}"
        ))
        .start()
}

/// An ERC-6492 wrapper.
fn wrap(factory: &str, calldata: &[u8], inner: &[u8]) -> Vec<u8> {
    let word = |number: usize| devnet::word_of_u128(number as u128).to_vec();
    let padded = |bytes: &[u8]| {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(32), 0);
        padded
    };
    let factory = devnet::word_of_address(factory).expect("an address").to_vec();
    let (calldata, length) = (padded(calldata), calldata.len());
    let parts = [
        factory,
        word(96),
        word(128 + calldata.len()),
        word(length),
        calldata,
        word(inner.len()),
        padded(inner),
        [0x64, 0x92].repeat(16),
    ];
    parts.concat()
}

/// A wallet that is not deployed, with money; the key of `buyer` owns it.
struct Counterfactual {
    wallet: String,
    factory: &'static str,
    /// That deploys it.
    calldata: String,
    buyer: usize,
    wraps: bool,
}

impl Counterfactual {
    /// What makes the official buyer sign for it.
    fn environment(&self) -> [(&str, &str); 2] {
        let index = if self.wraps { "1" } else { "" };
        [("WALLET", self.wallet.as_str()), ("OWNER_INDEX", index)]
    }

    fn new(world: &World, buyer: usize, wraps: bool) -> Self {
        let (factory, contract, create, wallet_of) = if wraps {
            let wallet_of = "walletOf(address,address,bytes32)";
            (
                WRAPPING_FACTORY,
                "WrappingWalletFactory",
                CREATE_OF_TWO,
                wallet_of,
            )
        } else {
            (
                WALLET_FACTORY,
                "WalletFactory",
                CREATE,
                "walletOf(address,bytes32)",
            )
        };
        let owner = Arg::address(&world.chain.buyers[buyer].address).expect("an address");
        let other = Arg::address(&world.chain.merchant.address).expect("an address");
        let args = if wraps {
            vec![other, owner, Arg::uint(1)]
        } else {
            vec![owner, Arg::uint(1)]
        };
        let artifact = world.chain.artifact(contract).expect("an artefact");
        let wallet_of = artifact.call(wallet_of, &args).expect("encodes");
        let answer = world
            .chain
            .rpc()
            .eth_call(None, factory, &wallet_of)
            .expect("an address");
        let wallet = hex0x(&answer[12..]);
        world
            .chain
            .mint(devnet::USDC, &wallet, 10 * PRICE)
            .expect("money");
        Self {
            wallet,
            factory,
            calldata: artifact.call(create, &args).expect("encodes"),
            buyer,
            wraps,
        }
    }

    /// Of the wallet's own form.
    fn signature(&self, payment: &Payment) -> Vec<u8> {
        if !self.wraps {
            return payment.signature().to_vec();
        }
        let digest = payment.transfer.digest(&payment.domain);
        let message = [
            sign::keccak(b"WalletMessage(address wallet,bytes32 hash)"),
            devnet::word_of_address(&self.wallet).expect("an address"),
            digest,
        ];
        let signature = sign::sign(&payment.key, &sign::keccak(&message.concat()));
        let word = devnet::word_of_u128;
        [&word(1)[..], &word(64), &word(65), &signature, &[0; 31]].concat()
    }

    fn payment(&self, world: &World) -> Payment {
        world.payment(self.buyer).from_wallet(&self.wallet)
    }

    /// A fresh payment in a wrapper that calls the factory like this.
    fn body_with(&self, world: &World, calldata: &str) -> Value {
        let payment = self.payment(world);
        let calldata = hex::decode(calldata.trim_start_matches("0x")).expect("hex");
        with_signature(
            &payment,
            &wrap(self.factory, &calldata, &self.signature(&payment)),
        )
    }

    fn body(&self, world: &World) -> Value {
        self.body_with(world, &self.calldata)
    }

    fn exists(&self, world: &World) -> bool {
        let code = world
            .chain
            .rpc()
            .call("eth_getCode", json!([self.wallet, "latest"]));
        code.expect("code") != json!("0x")
    }
}

#[test]
fn t28_a_wallet_is_deployed_in_the_transaction_of_its_first_payment() {
    let world = deploying();
    for wraps in [false, true] {
        let wallet = Counterfactual::new(&world, 2, wraps);
        let first = wallet.body(&world);
        world.verify(&first).valid();
        assert!(!wallet.exists(&world));
        let hash = world.settle(&first).paid();
        let receipt = world
            .chain
            .receipt(&hash)
            .expect("the node answers")
            .expect("a receipt");
        assert_eq!(
            receipt["to"].as_str().map(str::to_lowercase),
            Some(devnet::MULTICALL3.to_lowercase())
        );
        assert!(wallet.exists(&world));
        // In the same wrapper, a wallet that exists pays like any other.
        let second = wallet.body(&world);
        world.verify(&second).valid();
        let hash = world.settle(&second).paid();
        let receipt = world
            .chain
            .receipt(&hash)
            .expect("the node answers")
            .expect("a receipt");
        assert_eq!(
            receipt["to"].as_str().map(str::to_lowercase),
            Some(devnet::USDC.to_lowercase())
        );
        // And without a wrapper.
        let payment = wallet.payment(&world);
        let _ = world
            .settle(&with_signature(&payment, &wallet.signature(&payment)))
            .paid();
        let _ = world.settle(&first).failed(reason::DUPLICATE);
    }
    assert_eq!((world.sent(), world.transfers()), (6, 6));
}

#[test]
fn t28_a_deployment_without_a_payment_costs_nothing() {
    let world = deploying();
    for wraps in [false, true] {
        let wallet = Counterfactual::new(&world, 2, wraps);
        let stranger = Payment {
            key: world.chain.buyers[3].key.clone(),
            ..wallet.payment(&world)
        };
        let calldata = hex::decode(wallet.calldata.trim_start_matches("0x")).expect("hex");
        let forged = with_signature(
            &stranger,
            &wrap(wallet.factory, &calldata, &wallet.signature(&stranger)),
        );
        let poor = wallet.payment(&world).of(11 * PRICE);
        let poor = with_signature(&poor, &wrap(wallet.factory, &calldata, &wallet.signature(&poor)));
        world.untouched(|| {
            world.verify(&forged).refused(reason::SIMULATION);
            world.settle(&forged).refused(reason::SIMULATION);
            world.verify(&poor).refused(reason::BALANCE);
            world.settle(&poor).refused(reason::BALANCE);
            if wraps {
                let failing = wallet.body_with(&world, &selector(REFUSE));
                world.verify(&failing).refused(reason::SIMULATION);
                world.settle(&failing).refused("smart_wallet_deployment_failed");
            }
            let unlisted = wallet.body_with(&world, &selector("walletOf(address,bytes32)"));
            world.verify(&unlisted).refused("eip6492_factory_not_allowed");
            world.settle(&unlisted).refused("eip6492_factory_not_allowed");
        });
        assert!(!wallet.exists(&world));
    }
}

#[test]
fn the_official_client_buys_with_every_kind_of_wallet() {
    let (world, npm) = (deploying(), Npm::ensure().expect("the packages are installed"));
    let merchant = world.chain.merchant.address.clone();
    let seller = Seller::start(&npm, Generation::V2, &world.facilitator.url(), &merchant, &[])
        .expect("the seller starts");
    let buys = |buyer: usize, wallet: &[(&str, &str)]| {
        let key = &world.chain.buyers[buyer].key;
        let report = buy_with_wallet(&npm, key, wallet, &seller.resource).expect("the buyer gets an answer");
        assert_eq!(report["status"].as_u64(), Some(200), "{report}");
        assert_eq!(report["payment"]["success"], json!(true), "{report}");
    };
    buys(1, &[("WALLET", WALLET)]);
    world
        .chain
        .delegate(&world.chain.buyers[4].address, WALLET)
        .expect("delegated");
    buys(4, &[]);
    for wraps in [false, true] {
        let wallet = Counterfactual::new(&world, 2, wraps);
        let kind = wallet.environment();
        let factory = [
            ("FACTORY", wallet.factory),
            ("FACTORY_CALLDATA", wallet.calldata.as_str()),
        ];
        buys(2, &[kind, factory].concat());
        assert!(wallet.exists(&world));
        buys(2, &kind);
    }
    assert_eq!(world.transfers(), 6);
}

/// A deployed wallet pays by Permit2 as an account does, once Permit2 may move its tokens.
#[test]
fn the_official_client_pays_by_permit2_with_every_kind_of_deployed_wallet() {
    let (world, npm) = (deploying(), Npm::ensure().expect("the packages are installed"));
    let merchant = world.chain.merchant.address.clone();
    let start = |environment: &[(&str, &str)]| {
        Seller::start(
            &npm,
            Generation::V2,
            &world.facilitator.url(),
            &merchant,
            environment,
        )
        .expect("the seller starts")
    };
    let by_authorization = start(&[]);
    let sellers = [
        start(&[("TRANSFER_METHOD", "permit2")]),
        start(&[("SCHEME", "upto"), ("SETTLE_AMOUNT", "7000")]),
    ];
    let buys = |buyer: usize, wallet: &[(&str, &str)], seller: &Seller| {
        let key = &world.chain.buyers[buyer].key;
        let report = buy_with_wallet(&npm, key, wallet, &seller.resource).expect("the buyer gets an answer");
        assert_eq!(report["status"].as_u64(), Some(200), "{wallet:?} {report}");
        assert_eq!(report["payment"]["success"], json!(true), "{wallet:?} {report}");
    };
    let delegated = &world.chain.buyers[4].address;
    world.chain.delegate(delegated, WALLET).expect("delegated");
    let wallets = [false, true].map(|wraps| Counterfactual::new(&world, 2, wraps));
    for wallet in &wallets {
        // Permit2 moves nothing of a wallet that is not there: a payment by authorization deploys it.
        let kind = wallet.environment();
        let factory = [
            ("FACTORY", wallet.factory),
            ("FACTORY_CALLDATA", wallet.calldata.as_str()),
        ];
        buys(2, &[kind, factory].concat(), &by_authorization);
    }
    let kinds = [
        (1, WALLET, vec![("WALLET", WALLET)]),
        (4, delegated.as_str(), Vec::new()),
        (2, wallets[0].wallet.as_str(), wallets[0].environment().to_vec()),
        (2, wallets[1].wallet.as_str(), wallets[1].environment().to_vec()),
    ];
    for (buyer, account, environment) in kinds {
        crate::permit2::approve_as(&world, account);
        for seller in &sellers {
            buys(buyer, &environment, seller);
        }
    }
    assert_eq!(world.earned(), 2 * PRICE + 4 * (PRICE + 7_000));
}
