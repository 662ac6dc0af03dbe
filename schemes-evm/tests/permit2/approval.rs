//! The extension `erc20ApprovalGasSponsoring`: its checks, its limits, and what is planned.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256};
use alloy_sol_types::SolCall;
use k256::ecdsa::SigningKey;
use schemes_evm::abi::AuthorizedToken::approveCall;
use schemes_evm::abi::PERMIT2;
use schemes_evm::permit2::Proxy;
use schemes_evm::permit2::approval::{EXTENSION, Limits};
use sdk_plugin::chain::{Evidence, GuardState, Shown};
use sdk_plugin::host::{StoreCondition, StoreRequest, StoreWrite};
use sdk_plugin::scheme::{Gate, Judgement, LaneChoice, OnFail, Plan, Verdict};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{Amount, PaymentRequest, StepIndex, Value};
use serde_json::json;

use crate::world::{
    ASSET, BOTH, Chain, FACILITATOR, Findings, NOW_S, OTHER, Offer, PAYER, World, good, hex_result, revert,
    sponsored, word_result,
};

const GWEI: u64 = 1_000_000_000;
/// What an approval costs at most with the members of [`transaction`].
const COST_WEI: u64 = 70_000 * GWEI;
const LIMITS: Limits = Limits {
    max_funding_wei: Amount(U256::from_limbs([COST_WEI, 0, 0, 0])),
    max_funding_per_day_wei: Amount(U256::from_limbs([COST_WEI * 2, 0, 0, 0])),
};

/// The approval as an official buyer makes it where it knows no price.
fn transaction() -> TxEip1559 {
    TxEip1559 {
        chain_id: 84_532,
        nonce: 7,
        gas_limit: 70_000,
        max_fee_per_gas: u128::from(GWEI),
        max_priority_fee_per_gas: u128::from(GWEI) / 10,
        to: TxKind::Call(token()),
        value: U256::ZERO,
        access_list: Default::default(),
        input: approve(PERMIT2, U256::MAX),
    }
}

fn token() -> Address {
    ASSET.parse().expect("an address")
}

fn approve(spender: Address, value: U256) -> Bytes {
    approveCall { spender, value }.abi_encode().into()
}

fn signed_by<T: SignableTransaction<Signature>>(key: u8, transaction: T) -> String
where
    TxEnvelope: From<alloy_consensus::Signed<T>>,
{
    let key = SigningKey::from_slice(&[key; 32]).expect("a key");
    let hash = transaction.signature_hash();
    let (signature, recovery) = key.sign_prehash_recoverable(hash.as_slice()).expect("signs");
    let signature = Signature::from_bytes_and_parity(&signature.to_bytes(), recovery.to_byte() == 1);
    let envelope = TxEnvelope::from(transaction.into_signed(signature));
    format!("0x{}", hex::encode(envelope.encoded_2718()))
}

/// Signed by the payer.
fn signed<T: SignableTransaction<Signature>>(transaction: T) -> String
where
    TxEnvelope: From<alloy_consensus::Signed<T>>,
{
    signed_by(0x11, transaction)
}

fn info() -> Value {
    json!({
        "from": PAYER,
        "asset": ASSET,
        "spender": PERMIT2.to_string(),
        "amount": U256::MAX.to_string(),
        "signedTransaction": signed(transaction()),
        "version": "1",
    })
}

fn changed(name: &str, value: Value) -> Value {
    let mut info = info();
    info[name] = value;
    info
}

fn with(mut request: PaymentRequest, info: Value) -> PaymentRequest {
    request
        .extensions
        .insert(EXTENSION.into(), json!({ "info": info }));
    request
}

/// With the approval that this changes.
fn approving(proxy: Proxy, change: impl Fn(&mut TxEip1559)) -> PaymentRequest {
    let mut transaction = transaction();
    change(&mut transaction);
    with(
        good(proxy),
        changed("signedTransaction", json!(signed(transaction))),
    )
}

/// A payer without an allowance.
fn unapproved() -> Chain {
    Chain::failing(&Findings {
        allowance: Some(0),
        ..Findings::default()
    })
}

fn world(proxy: Proxy) -> World {
    World::on(proxy, unapproved()).sponsoring(LIMITS)
}

/// The reason of verify and plan, and that no plan was made.
fn refused(world: &World, request: &PaymentRequest) -> String {
    let verified = world.verify(request).expect_err("verify refuses");
    let planned = world.plan(request).expect_err("plan refuses");
    assert_eq!(planned, verified);
    // Callers learn by its reason whether the extension is at fault.
    let is_of_extension = verified.reason.contains("erc20_approval");
    let extension = is_of_extension.then_some(EXTENSION);
    assert_eq!(verified.extension.as_deref(), extension, "{}", verified.reason);
    verified.reason
}

#[test]
fn each_check_of_the_extension_has_its_reason() {
    let format = "invalid_erc20_approval_extension_format";
    let parse = "erc20_approval_tx_parse_failed";
    let mut cut = signed(transaction());
    cut.truncate(cut.len() - 2);
    let tx = |change: fn(&mut TxEip1559)| {
        let mut transaction = transaction();
        change(&mut transaction);
        json!(signed(transaction))
    };
    for (name, value, reason) in [
        ("from", json!("0x12"), format),
        ("asset", json!("USDC"), format),
        ("spender", json!("permit2"), format),
        ("amount", json!("1e4"), format),
        ("amount", json!(7), format),
        ("version", json!("v1"), format),
        ("signedTransaction", json!("0x1"), format),
        ("signedTransaction", json!("text"), format),
        (
            "signedTransaction",
            json!(format!("0x{}", "02".repeat(5_000))),
            format,
        ),
        ("from", json!(OTHER), "erc20_approval_from_mismatch"),
        ("asset", json!(OTHER), "erc20_approval_asset_mismatch"),
        ("spender", json!(OTHER), "erc20_approval_spender_not_permit2"),
        ("signedTransaction", json!("0x02"), parse),
        ("signedTransaction", json!("0xc0"), parse),
        ("signedTransaction", json!(cut), parse),
        ("signedTransaction", json!(signed(transaction()) + "00"), parse),
        (
            "signedTransaction",
            tx(|tx| tx.to = TxKind::Call(PERMIT2)),
            "erc20_approval_tx_wrong_target",
        ),
        (
            "signedTransaction",
            tx(|tx| tx.to = TxKind::Create),
            "erc20_approval_tx_wrong_target",
        ),
        (
            "signedTransaction",
            tx(|tx| tx.input = Bytes::from_static(&[0xa9, 0x05, 0x9c, 0xbb])),
            "erc20_approval_tx_wrong_selector",
        ),
        (
            "signedTransaction",
            tx(|tx| tx.input = Bytes::new()),
            "erc20_approval_tx_wrong_selector",
        ),
        (
            "signedTransaction",
            tx(|tx| tx.input = tx.input.slice(..67)),
            "erc20_approval_tx_invalid_calldata",
        ),
        (
            "signedTransaction",
            tx(|tx| tx.input = approve(token(), U256::MAX)),
            "erc20_approval_tx_wrong_spender",
        ),
        (
            "signedTransaction",
            json!(signed_by(0x12, transaction())),
            "erc20_approval_tx_signer_mismatch",
        ),
    ] {
        for proxy in BOTH {
            let request = with(good(proxy), changed(name, value.clone()));
            assert_eq!(refused(&world(proxy), &request), reason, "{name} {value}");
            // An allowance makes a bad extension no better.
            let allowed = World::new(proxy).sponsoring(LIMITS);
            assert_eq!(refused(&allowed, &request), reason, "{name} {value}");
        }
    }
}

#[test]
fn a_signature_with_a_high_s_is_none() {
    let key = SigningKey::from_slice(&[0x11; 32]).expect("a key");
    let hash = transaction().signature_hash();
    let (signature, recovery) = key.sign_prehash_recoverable(hash.as_slice()).expect("signs");
    let low = Signature::from_bytes_and_parity(&signature.to_bytes(), recovery.to_byte() == 1);
    let order = U256::from_str_radix(
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
        16,
    )
    .expect("a number");
    let high = Signature::new(low.r(), order - low.s(), !low.v());
    let envelope = TxEnvelope::from(transaction().into_signed(high));
    let bytes = format!("0x{}", hex::encode(envelope.encoded_2718()));
    let request = with(good(Proxy::Exact), changed("signedTransaction", json!(bytes)));
    assert_eq!(
        refused(&world(Proxy::Exact), &request),
        "erc20_approval_tx_invalid_signature"
    );
}

/// T-38: no native currency for a transaction that is not what it should be.
#[test]
fn t38_a_transaction_beyond_the_limits_is_refused_and_funds_nobody() {
    type Change = fn(&mut TxEip1559);
    let cases: [(&str, Change); 10] = [
        ("gas 10^7 x 1000 gwei", |tx| {
            tx.gas_limit = 10_000_000;
            tx.max_fee_per_gas = 1_000 * u128::from(GWEI);
        }),
        ("gas", |tx| tx.gas_limit = 100_001),
        ("price", |tx| tx.max_fee_per_gas = 5 * u128::from(GWEI) + 1),
        ("below the base fee", |tx| {
            tx.max_fee_per_gas = 499_999_999;
            tx.max_priority_fee_per_gas = 0;
        }),
        ("tip above the price", |tx| {
            tx.max_priority_fee_per_gas = u128::from(GWEI) + 1
        }),
        ("used nonce", |tx| tx.nonce = 6),
        ("later nonce", |tx| tx.nonce = 8),
        ("value", |tx| tx.value = U256::from(1)),
        ("chain", |tx| tx.chain_id = 8_453),
        ("amount", |tx| tx.input = approve(PERMIT2, U256::from(9_999))),
    ];
    for (what, change) in cases {
        for proxy in BOTH {
            let request = approving(proxy, change);
            assert_eq!(
                refused(&world(proxy), &request),
                "erc20_approval_tx_failed",
                "{what}"
            );
        }
    }
    let list = TxEip7702 {
        chain_id: 84_532,
        nonce: 7,
        gas_limit: 70_000,
        max_fee_per_gas: u128::from(GWEI),
        max_priority_fee_per_gas: 0,
        to: token(),
        value: U256::ZERO,
        access_list: Default::default(),
        authorization_list: Vec::new(),
        input: approve(PERMIT2, U256::MAX),
    };
    let unprotected = TxLegacy {
        chain_id: None,
        nonce: 7,
        gas_price: u128::from(GWEI),
        gas_limit: 70_000,
        to: TxKind::Call(token()),
        value: U256::ZERO,
        input: approve(PERMIT2, U256::MAX),
    };
    for (what, bytes) in [("7702 list", signed(list)), ("any chain", signed(unprotected))] {
        let request = with(good(Proxy::Exact), changed("signedTransaction", json!(bytes)));
        let reason = refused(&world(Proxy::Exact), &request);
        assert_eq!(reason, "erc20_approval_tx_failed", "{what}");
    }
}

#[test]
fn other_types_and_usual_prices_are_planned() {
    let legacy = TxLegacy {
        chain_id: Some(84_532),
        nonce: 7,
        gas_price: u128::from(GWEI),
        gas_limit: 70_000,
        to: TxKind::Call(token()),
        value: U256::ZERO,
        input: approve(PERMIT2, U256::from(10_000)),
    };
    let listed = TxEip2930 {
        chain_id: 84_532,
        nonce: 7,
        gas_price: u128::from(GWEI),
        gas_limit: 70_000,
        to: TxKind::Call(token()),
        value: U256::ZERO,
        access_list: Default::default(),
        input: approve(PERMIT2, U256::MAX),
    };
    for bytes in [signed(legacy), signed(listed)] {
        let request = with(good(Proxy::Exact), changed("signedTransaction", json!(bytes)));
        assert!(world(Proxy::Exact).plan(&request).is_ok());
    }
    // An official buyer's price where it knows none, far above the base fee.
    let mut cheap = unapproved();
    cheap.base_fee = Some(5_000_000);
    let world = World::on(Proxy::Exact, cheap).sponsoring(LIMITS);
    assert!(world.verify(&with(good(Proxy::Exact), info())).is_ok());
    // A chain without a base fee.
    let mut plain = unapproved();
    plain.base_fee = None;
    let world = World::on(Proxy::Exact, plain).sponsoring(LIMITS);
    assert!(world.verify(&with(good(Proxy::Exact), info())).is_ok());
}

#[test]
fn what_the_chain_shows_refuses_with_the_reason_of_the_payment() {
    type Change = fn(&mut Chain);
    let cases: [(&str, Change); 9] = [
        ("erc20_approval_tx_failed", |chain| {
            chain.receives = revert("no");
        }),
        ("erc20_approval_tx_failed", |chain| {
            chain.approves = word_result(0)
        }),
        ("erc20_approval_tx_failed", |chain| chain.pending_nonce = 8),
        ("erc20_approval_tx_failed", |chain| chain.next_nonce = 6),
        ("erc20_approval_tx_failed", |chain| {
            chain.approves = revert("paused")
        }),
        ("permit2_simulation_failed", |chain| {
            chain.transfers = revert("Blacklistable: account is blacklisted");
        }),
        ("permit2_invalid_nonce", |chain| {
            chain.nonces = hex_result(&[0xff; 32]);
        }),
        ("permit2_insufficient_balance", |chain| {
            chain.balance = word_result(9_999)
        }),
        ("permit2_simulation_failed", |chain| {
            chain.balance = hex_result(&[])
        }),
    ];
    for (reason, change) in cases {
        for proxy in BOTH {
            let mut chain = unapproved();
            change(&mut chain);
            let world = World::on(proxy, chain).sponsoring(LIMITS);
            assert_eq!(refused(&world, &with(good(proxy), info())), reason);
        }
    }
    // Checks that come before it keep their position.
    let short = Chain::failing(&Findings {
        allowance: Some(0),
        balance: Some(1),
        ..Findings::default()
    });
    let world = World::on(Proxy::Exact, short).sponsoring(LIMITS);
    assert_eq!(
        refused(&world, &with(good(Proxy::Exact), info())),
        "permit2_insufficient_balance"
    );
}

fn steps(plan: &Plan) -> Vec<(&str, &LaneChoice, Amount, Gate, bool)> {
    let of = |step: &'_ sdk_plugin::scheme::Step| {
        assert!(!step.batchable && step.on_fail == OnFail::Stop);
    };
    plan.steps.iter().for_each(of);
    let each = plan.steps.iter().map(|step| {
        (
            step.call.operation.as_str(),
            &step.lane,
            step.call.native_value,
            step.gate,
            step.pays,
        )
    });
    each.collect()
}

#[test]
fn the_payer_is_funded_its_approval_sent_and_the_payment_made_one_after_the_other() {
    for (proxy, settle, lane) in [
        (Proxy::Exact, "0x13cd3b53", LaneChoice::Any),
        (
            Proxy::Upto,
            "0xff11e7b4",
            LaneChoice::Signer {
                address: FACILITATOR.into(),
            },
        ),
    ] {
        let world = world(proxy);
        let request = with(good(proxy), info());
        assert!(world.verify(&request).is_ok());
        let used = json!({ EXTENSION: { "status": "success" } });
        let Verdict::Valid(valid) = world.try_verify(&request).expect("no fault") else {
            panic!("it is valid");
        };
        assert_eq!(valid.extensions, used.as_object().cloned());
        let plan = world.plan(&request).expect("a plan");
        let wei = Amount::from(COST_WEI);
        assert_eq!(
            steps(&plan),
            [
                ("transfer", &lane, wei, Gate::None, false),
                (
                    "0x095ea7b3",
                    &LaneChoice::Foreign,
                    Amount::ZERO,
                    Gate::Confirmed,
                    false
                ),
                (settle, &lane, Amount::ZERO, Gate::Confirmed, true),
            ]
        );
        let [fund, approval, _] = plan.steps.as_slice() else {
            unreachable!()
        };
        assert_eq!(fund.call.target, PAYER.to_lowercase());
        assert!(fund.call.data.as_ref().is_empty());
        assert_eq!(approval.call.target, ASSET);
        assert_eq!(
            json!(approval.call.data),
            info()["signedTransaction"],
            "the payer's bytes go as they are"
        );
        // A minute and a quarter for each of them, at one confirmation.
        assert_eq!(
            (fund.expires_at_s, approval.expires_at_s),
            (Some(NOW_S + 75), Some(NOW_S + 150))
        );
        assert_eq!((plan.writes.len(), plan.reserves.len()), (2, 1));
    }
}

#[test]
fn a_payer_gets_only_what_it_lacks() {
    let request = with(good(Proxy::Exact), info());
    for (native, data_fee, expected) in [
        (COST_WEI, 0, None),
        (COST_WEI + 1, 0, None),
        (COST_WEI - 1, 0, Some(1u64)),
        (COST_WEI - 10, 4, Some(18)),
    ] {
        let mut chain = unapproved();
        chain.native = native;
        chain.data_fee = word_result(data_fee);
        let world = World::on(Proxy::Exact, chain).sponsoring(LIMITS);
        let plan = world.plan(&request).expect("a plan");
        let funded = plan.steps.first().map(|step| step.call.native_value);
        match expected {
            Some(wei) => assert_eq!((plan.steps.len(), funded), (3, Some(Amount::from(wei)))),
            None => assert_eq!((plan.steps.len(), plan.writes.len()), (2, 0)),
        }
    }
}

/// T-38: the operator's limits hold for one payer, for all of them, and for a day.
#[test]
fn t38_funding_has_a_limit_for_each_payer_and_for_a_day() {
    let request = with(good(Proxy::Exact), info());
    let limits = |one: u64, day: u64| Limits {
        max_funding_wei: Amount::from(one),
        max_funding_per_day_wei: Amount::from(day),
    };
    for (limits, is_good) in [
        (limits(COST_WEI, COST_WEI), true),
        (limits(COST_WEI - 1, COST_WEI), false),
        (limits(COST_WEI, COST_WEI - 1), false),
        (limits(0, 0), false),
    ] {
        let world = World::on(Proxy::Exact, unapproved()).sponsoring(limits);
        if is_good {
            assert!(world.plan(&request).is_ok());
        } else {
            assert_eq!(refused(&world, &request), "erc20_approval_tx_failed");
        }
    }
    // What a plan writes is what the next one reads.
    let world = world(Proxy::Exact);
    let plan = world.plan(&request).expect("a plan");
    let write = |writes| block_on(world.cx().store(StoreRequest::Write { writes }));
    write(plan.writes.clone()).expect("a store");
    assert_eq!(
        refused(&world, &request),
        "erc20_approval_tx_failed",
        "once a day"
    );
    // Another payer uses another share of the day, and there are two.
    let shares = |plan: &Plan| {
        let keys = plan.writes.iter().map(|write| write.key.clone());
        keys.filter(|key| key.contains("/share/")).collect::<Vec<_>>()
    };
    assert_eq!(shares(&plan).len(), 1);
    let all = (0..2).map(|share| StoreWrite {
        key: shares(&plan)[0]
            .rsplit_once('/')
            .map(|(prefix, _)| format!("{prefix}/{share}"))
            .expect("a key"),
        value: json!({}),
        condition: StoreCondition::Always,
        expires_at_ms: None,
    });
    let used_up = self::world(Proxy::Exact);
    block_on(used_up.cx().store(StoreRequest::Write {
        writes: all.collect(),
    }))
    .expect("a store");
    assert_eq!(
        refused(&used_up, &request),
        "erc20_approval_tx_failed",
        "the day's budget"
    );
    world.host.advance_ms(24 * 60 * 60 * 1_000);
    assert!(world.plan(&request).is_ok(), "the next day");
}

/// The permit must outlive all transactions, and a node without pending transactions is as good as others.
#[test]
fn a_permit_that_ends_before_the_payment_can_be_made_funds_nobody() {
    let ending = |left_s: u64| {
        let offer = Offer {
            deadline: NOW_S + left_s,
            ..Offer::of(Proxy::Exact)
        };
        with(offer.signed(), info())
    };
    for (native, left_s) in [(0, 18), (COST_WEI, 12)] {
        let mut chain = unapproved();
        chain.native = native;
        let world = World::on(Proxy::Exact, chain).sponsoring(LIMITS);
        assert!(world.verify(&ending(left_s)).is_ok());
        assert_eq!(refused(&world, &ending(left_s - 1)), "erc20_approval_tx_failed");
    }
}

#[test]
fn without_limits_the_extension_is_not_served() {
    for proxy in BOTH {
        let without = World::on(proxy, unapproved());
        let request = with(good(proxy), info());
        assert_eq!(refused(&without, &request), "permit2_allowance_required");
        let malformed = with(good(proxy), changed("version", json!("x")));
        assert_eq!(refused(&without, &malformed), "permit2_allowance_required");
        let has = |world: &World| {
            world.check();
            let supported = world.supported().expect("kinds");
            supported.extensions.iter().any(|key| key == EXTENSION)
        };
        assert!(!has(&without));
        assert!(has(&world(proxy)));
    }
}

#[test]
fn nothing_is_sent_for_a_payer_that_needs_no_approval() {
    for proxy in BOTH {
        let allowed = World::new(proxy).sponsoring(LIMITS);
        let plan = allowed.plan(&with(good(proxy), info())).expect("a plan");
        assert_eq!((plan.steps.len(), plan.writes.len()), (1, 0));
        // A token's own permit needs one transaction less.
        let both = with(sponsored(proxy), info());
        let refusal = world(proxy).verify(&both).expect_err("refused");
        assert_eq!(refusal.reason, "permit2_allowance_required");
        assert_eq!(refusal.extension.as_deref(), Some("eip2612GasSponsoring"));
    }
    for empty in [json!(""), Value::Null] {
        let request = with(good(Proxy::Exact), changed("signedTransaction", empty));
        assert_eq!(
            refused(&world(Proxy::Exact), &request),
            "permit2_allowance_required"
        );
    }
}

#[test]
fn approvals_of_one_payer_go_one_after_the_other() {
    let world = world(Proxy::Exact);
    let keys = |request| world.identify(&request).expect("a key").conflict_keys;
    assert!(keys(good(Proxy::Exact)).is_empty());
    let key = format!("approval/{}", PAYER.to_lowercase());
    assert_eq!(keys(with(good(Proxy::Exact), info())), [key]);
    let digest = |request| world.identify(&request).expect("a key").payload_digest;
    let with_one = digest(with(good(Proxy::Exact), info()));
    assert_ne!(digest(good(Proxy::Exact)), with_one);
    let mut spelled = info();
    spelled["from"] = json!(PAYER.to_lowercase());
    assert_eq!(digest(with(good(Proxy::Exact), spelled)), with_one);
    let other = approving(Proxy::Exact, |tx| tx.nonce = 8);
    assert_ne!(digest(other), with_one);
}

#[test]
fn what_comes_before_the_payment_is_judged_by_whether_it_landed() {
    let world = world(Proxy::Exact);
    let plan = world.plan(&with(good(Proxy::Exact), info())).expect("a plan");
    let steps: Vec<StepIndex> = StepIndex::each(&plan.steps).map(|(step, _)| step).collect();
    for step in &steps[..2] {
        let judge = |shown: Shown| {
            let evidence = Evidence {
                step: *step,
                shown,
                tx_id: "0x01".into(),
                head_height: 101,
                logs: Vec::new(),
                deltas: Vec::new(),
                reads: Vec::new(),
                foreign: Vec::new(),
                guard: GuardState::Absent,
                block_logs: Vec::new(),
                shared: false,
            };
            block_on(world.scheme.judge(&world.cx(), &plan, &evidence)).expect("a judgement")
        };
        assert_eq!(judge(Shown::Landed { height: 100 }), Judgement::Next);
        for shown in [
            Shown::Reverted {
                height: 100,
                message: None,
            },
            Shown::Dead { why: "late".into() },
        ] {
            let Judgement::NotPaid(refusal) = judge(shown) else {
                panic!("it failed");
            };
            assert_eq!(refusal.reason, "erc20_approval_broadcast_failed");
        }
    }
}
