//! Contract operators (section 12, T-65 to T-67): such a contract's own statements are not trusted, in the sandbox and
//! afterwards.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolEvent;
use schemes_evm::abi::AuthorizedToken;
use schemes_evm::auth_capture::abi::{Escrow, EscrowV11};
use sdk_plugin::chain::LogEntry;
use sdk_plugin::host::{RpcError, RpcResult};
use sdk_plugin::scheme::LaneChoice;
use sdk_plugin::{HexBytes, Value};
use serde_json::json;

use super::offer::{ASSET_ADDRESS, CONTRACT, FACILITATOR, OTHER, Offer, PAYEE, PAYER, PAYER_ADDRESS, UNITS};
use super::order::Draft;
use super::world::{STORE, Sandbox, internal_error};

/// A log from any emitter.
pub fn log(emitter: Address, event: &impl SolEvent) -> LogEntry {
    let data = event.encode_log_data();
    LogEntry {
        id: String::new(),
        emitter: format!("{emitter:#x}"),
        topics: data
            .topics()
            .iter()
            .map(|topic| HexBytes(topic.to_vec()))
            .collect(),
        data: HexBytes(data.data.to_vec()),
    }
}

/// As nodes show it in the sandbox.
fn simulated(log: &LogEntry) -> Value {
    json!({ "address": log.emitter, "topics": log.topics, "data": log.data })
}

pub fn transfer(token: Address, from: Address, to: Address, units: u64) -> LogEntry {
    let value = U256::from(units);
    log(token, &AuthorizedToken::Transfer { from, to, value })
}

pub fn authorized(offer: &Offer, amount: u64) -> LogEntry {
    log(
        offer.deployment.escrow,
        &Escrow::PaymentAuthorized {
            paymentInfoHash: offer.hash(),
            paymentInfo: offer.info(),
            amount: U256::from(amount),
            tokenCollector: offer.collector(),
        },
    )
}

pub fn charged(offer: &Offer) -> LogEntry {
    let (amount, fee) = offer.completion.unwrap();
    log(
        offer.deployment.escrow,
        &EscrowV11::PaymentCharged {
            paymentInfoHash: offer.hash(),
            paymentInfo: offer.info(),
            amount: U256::from(amount),
            tokenCollector: offer.collector(),
            feeAmount: U256::from(fee),
            feeReceiver: offer.recipient,
        },
    )
}

pub fn custom_charge() -> Offer {
    Offer {
        completion: Some((750_000, 7_500)),
        charge: true,
        ..Offer::custom()
    }
}

pub fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// Every transfer of an honest call, in order.
pub fn honest_transfers(offer: &Offer) -> Vec<LogEntry> {
    let collector = offer.collector();
    let token = ASSET_ADDRESS;
    match offer.completion {
        None => vec![
            transfer(token, PAYER_ADDRESS, collector, UNITS),
            transfer(token, collector, STORE, UNITS),
        ],
        Some((amount, fee)) => vec![
            transfer(token, PAYER_ADDRESS, collector, UNITS),
            transfer(token, collector, PAYER_ADDRESS, UNITS - amount),
            transfer(token, collector, STORE, amount),
            transfer(token, STORE, offer.recipient, fee),
            transfer(token, STORE, address(PAYEE), amount - fee),
        ],
    }
}

fn honest(offer: &Offer) -> Sandbox {
    let change = |account: &str, units: i64| (account.to_lowercase(), units);
    let (event, after, changes) = match offer.completion {
        None => (
            authorized(offer, UNITS),
            (true, UNITS, 0),
            vec![change(PAYER, -1_000_000), change(&STORE.to_string(), 1_000_000)],
        ),
        Some(_) => (
            charged(offer),
            (true, 0, 750_000),
            vec![
                change(PAYER, -750_000),
                change(PAYEE, 742_500),
                change(OTHER, 7_500),
            ],
        ),
    };
    let mut logs = vec![event];
    logs.extend(honest_transfers(offer));
    Sandbox {
        after,
        changes: changes.into_iter().collect(),
        logs: logs.iter().map(simulated).collect(),
        ..Sandbox::default()
    }
}

pub fn draft(offer: Offer) -> Draft {
    let mut draft = Draft::of(offer);
    draft.chain.sandbox = honest(&draft.offer);
    draft
}

#[test]
fn an_honest_contract_is_called_by_any_signer() {
    for offer in [Offer::custom(), custom_charge()] {
        let draft = draft(offer);
        let request = draft.request();
        assert!(draft.world().verify(&request).is_ok());
        let plan = draft.world().plan(&request).expect("planned");
        let step = &plan.steps[0];
        assert_eq!(step.call.target, CONTRACT);
        assert_eq!(step.lane, LaneChoice::Any);
        assert!(plan.holds.is_empty(), "no key of ours is the operator");
        assert_eq!(step.call.native_value, sdk_plugin::Amount::ZERO);
        // Any account could have relayed it: the escrow's event is searched for.
        let [search] = step.evidence.foreign.as_slice() else {
            panic!("one search");
        };
        assert_eq!(search.topics[1].as_ref().unwrap().0, draft.offer.hash().to_vec());
        assert_eq!(step.evidence.logs.len(), 2);
    }
}

#[test]
fn the_token_store_is_requested_once() {
    let draft = draft(Offer::custom());
    let world = draft.world();
    world.verify(&draft.request()).expect("good");
    assert_eq!(world.batches().len(), 2);
    world.verify(&draft.request()).expect("good");
    assert_eq!(world.batches().len(), 3);
}

#[test]
fn t65_every_lie_is_seen_before_anything_is_sent() {
    let rob = |sandbox: &mut Sandbox, account: &str| {
        *sandbox.changes.entry(account.to_lowercase()).or_default() -= 1;
    };
    let other_token = Address::repeat_byte(0x70);
    type Lie = Box<dyn Fn(&Offer, &mut Sandbox)>;
    let lies: Vec<(&str, Lie)> = vec![
        (
            "does nothing",
            Box::new(|_, sandbox| *sandbox = Sandbox::default()),
        ),
        (
            "collects half",
            Box::new(|offer, sandbox| {
                sandbox.after = (true, UNITS / 2, 0);
                sandbox.logs[0] = simulated(&authorized(offer, UNITS / 2));
            }),
        ),
        (
            "emits the event itself",
            Box::new(|offer, sandbox| {
                let mut fake = authorized(offer, UNITS);
                fake.emitter = CONTRACT.into();
                sandbox.logs[0] = simulated(&fake);
            }),
        ),
        (
            "makes the escrow report twice",
            Box::new(|offer, sandbox| sandbox.logs.push(simulated(&authorized(offer, UNITS)))),
        ),
        (
            "undoes it",
            Box::new(|offer, sandbox| {
                sandbox.after = (true, 0, 0);
                sandbox.logs.push(simulated(&log(
                    offer.deployment.escrow,
                    &Escrow::PaymentVoided {
                        paymentInfoHash: offer.hash(),
                        amount: U256::from(UNITS),
                    },
                )));
            }),
        ),
        (
            "captures at once",
            Box::new(|_, sandbox| sandbox.after = (true, 0, UNITS)),
        ),
        (
            "charges instead of holding",
            Box::new(|_, sandbox| {
                let charge = custom_charge();
                *sandbox = honest(&charge);
            }),
        ),
        (
            "collects with a collector of its own",
            Box::new(|offer, sandbox| {
                let other = Offer {
                    collector: Some(address(CONTRACT)),
                    ..offer.clone()
                };
                sandbox.logs[0] = simulated(&authorized(&other, UNITS));
            }),
        ),
        (
            "takes its own money",
            Box::new(|_, sandbox| {
                sandbox.changes.remove(&PAYER.to_lowercase());
            }),
        ),
        ("robs the payer", Box::new(move |_, sandbox| rob(sandbox, PAYER))),
        (
            "robs the receiver",
            Box::new(move |_, sandbox| rob(sandbox, PAYEE)),
        ),
        (
            "robs the fee's receiver",
            Box::new(move |_, sandbox| rob(sandbox, OTHER)),
        ),
        (
            "keeps some of it",
            Box::new(move |_, sandbox| rob(sandbox, &STORE.to_string())),
        ),
        (
            "robs the signer",
            Box::new(move |_, sandbox| rob(sandbox, FACILITATOR)),
        ),
        (
            "robs a signer that is retained",
            Box::new(move |_, sandbox| rob(sandbox, super::world::RETAINED)),
        ),
        (
            "takes another token from the signer",
            Box::new(move |_, sandbox| {
                let stolen = transfer(other_token, address(FACILITATOR), address(CONTRACT), 1);
                sandbox.logs.push(simulated(&stolen));
            }),
        ),
        (
            "takes native currency",
            Box::new(|_, sandbox| sandbox.native_change = -1),
        ),
        (
            "reverts",
            Box::new(|_, sandbox| sandbox.reverts = Some("0xab143c06".into())),
        ),
        (
            "burns all the gas",
            Box::new(|_, sandbox| sandbox.reverts = Some("0x".into())),
        ),
        (
            "had money in the escrow before",
            Box::new(|_, sandbox| sandbox.before = (false, 1, 0)),
        ),
    ];
    for (name, lie) in lies {
        let mut draft = draft(Offer::custom());
        lie(&draft.offer, &mut draft.chain.sandbox);
        let refusal = draft.world().refused(&draft.request());
        assert_eq!(
            refusal.reason, "invalid_auth_capture_evm_simulation_failed",
            "{name}: {refusal:?}"
        );
    }
}

#[test]
fn t65_a_charge_must_pay_the_receiver_and_the_fee() {
    for account in [PAYEE, OTHER, &STORE.to_string()] {
        let mut draft = draft(custom_charge());
        *draft
            .chain
            .sandbox
            .changes
            .entry(account.to_lowercase())
            .or_default() -= 1;
        let refusal = draft.world().refused(&draft.request());
        assert_eq!(
            refusal.reason, "invalid_auth_capture_evm_simulation_failed",
            "{account}"
        );
    }
    // The highest fee instead of the agreed one, reported in the event.
    let mut draft = draft(custom_charge());
    let more = Offer {
        completion: Some((750_000, 7_501)),
        ..custom_charge()
    };
    draft.chain.sandbox.logs[0] = simulated(&charged(&more));
    assert_eq!(
        draft.world().refused(&draft.request()).reason,
        "invalid_auth_capture_evm_simulation_failed"
    );
}

#[test]
fn a_look_alike_event_of_the_contract_is_noise() {
    let mut draft = draft(Offer::custom());
    let mut echo = authorized(&draft.offer, UNITS);
    echo.emitter = CONTRACT.into();
    draft.chain.sandbox.logs.push(simulated(&echo));
    assert!(draft.world().verify(&draft.request()).is_ok());
}

#[test]
fn typed_errors_and_old_payments_keep_their_names() {
    let mut reverts = draft(Offer::custom());
    reverts.chain.sandbox.reverts = Some("0xc46cf60f".into());
    assert_eq!(
        reverts.world().refused(&reverts.request()).reason,
        "invalid_auth_capture_evm_authorization_expired"
    );
    let mut old = draft(Offer::custom());
    old.chain.sandbox.before = (true, UNITS, 0);
    assert_eq!(
        old.world().refused(&old.request()).reason,
        "invalid_auth_capture_evm_payment_already_collected"
    );
    // A short balance explains what has no name.
    let mut short = draft(Offer::custom());
    short.chain.sandbox.reverts = Some("0x".into());
    short.chain.balance = super::world::word_result(UNITS - 1);
    assert_eq!(
        short.world().refused(&short.request()).reason,
        "invalid_auth_capture_evm_insufficient_balance"
    );
}

#[test]
fn t66_a_contract_that_changed_is_refused_the_next_time() {
    let draft = draft(Offer::custom());
    let world = draft.world();
    assert!(world.verify(&draft.request()).is_ok());
    world.chain().sandbox.after = (true, 0, 0);
    let refusal = world.verify(&draft.request()).expect_err("refused");
    assert_eq!(refusal.reason, "invalid_auth_capture_evm_simulation_failed");
}

#[test]
fn nodes_that_can_not_simulate_admit_no_contract() {
    let error = |code, message: &str| {
        RpcResult::Error(RpcError {
            code,
            message: message.into(),
            data: Value::Null,
        })
    };
    for (code, message) in [
        (-32601, "Method not found"),
        (
            -32000,
            "the method eth_simulateV1 does not exist/is not available",
        ),
        (-32600, "Unsupported method: eth_simulateV1"),
    ] {
        let mut draft = draft(Offer::custom());
        draft.chain.sandbox.instead = Some(error(code, message));
        assert_eq!(
            draft.world().refused(&draft.request()).reason,
            "invalid_auth_capture_evm_operator_not_admitted",
            "{message}"
        );
    }
    // Errors of nodes and nonsense are faults.
    for answer in [
        internal_error(),
        RpcResult::Ok(Value::Null),
        RpcResult::Ok(json!([])),
        RpcResult::Ok(json!([{ "calls": [] }])),
        RpcResult::Ok(json!([{ "calls": vec![json!({}); 15] }])),
    ] {
        let mut draft = draft(Offer::custom());
        draft.chain.sandbox.instead = Some(answer.clone());
        assert!(draft.world().try_verify(&draft.request()).is_err(), "{answer:?}");
    }
}

#[test]
fn t80_a_store_without_code_is_nothing_special() {
    // Its balance is the token's answer; the scripted chain knows no code of it at all.
    let draft = draft(Offer::custom());
    let world = draft.world();
    assert!(world.plan(&draft.request()).is_ok());
    let asked = world.batches().concat();
    assert!(
        !asked
            .iter()
            .any(|call| call.method == "eth_getCode" && call.params[0] == json!(format!("{STORE:#x}")))
    );
    assert_ne!(B256::left_padding_from(STORE.as_slice()), B256::ZERO);
}

/// Makes the contract of a draft an honest one.
pub fn make_honest(draft: &mut Draft) {
    draft.chain.sandbox = honest(&draft.offer);
}
