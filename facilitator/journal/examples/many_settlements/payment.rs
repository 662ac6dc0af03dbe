//! Payments as the service records them. Plans are what the schemes made for payments of their tests; what differs between two
//! payments (addresses, nonces, signatures, hashes) is replaced by numbers that can't be guessed, so that they can't be compressed
//! either.

use journal::testkit::{opened_with, prepared};
use journal::{AttemptRow, Event, Ground, GroundAt, NewAttempt, NewSettlement, Release};
use sdk_plugin::chain::Lane;
use sdk_plugin::scheme::{PaidReply, Plan};
use sdk_plugin::wire::SettleReply;
use sdk_plugin::{Amount, HexBytes, StepIndex};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::Failure;

/// When the first one was opened, milliseconds since the epoch.
const BEGAN_MS: u64 = 1_700_000_000_000;
/// Milliseconds from one payment to the next, each of which uses two numbers: a million in 30 days.
const EVERY_MS: u64 = 2_592 / 2;
/// Milliseconds from its start to its end.
const LASTS_MS: u64 = 40_000;
/// Numbers of payments from which a dictionary is made: none of them is among those that are measured.
pub(crate) const SAMPLES_FROM: u64 = 1 << 32;
const PAYERS: u64 = 5_000;
const PAYEES: u64 = 50;
const TENANTS: u64 = 20;
/// Bytes of a signed transaction that are not in its call: fields, fees and the signature.
const AROUND_CALL: usize = 75;

/// A way of paying.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scheme {
    ExactEvm,
    AuthCapture,
    ExactSvm,
}

/// A plan, and which texts in it belong to its payer, its payee and its payment.
struct Template {
    plan: &'static str,
    payer: &'static [&'static str],
    payee: &'static [&'static str],
    payment: &'static [&'static str],
}

impl Scheme {
    pub(crate) const ALL: [Self; 3] = [Self::ExactEvm, Self::AuthCapture, Self::ExactSvm];

    pub(crate) fn named(name: &str) -> Result<Self, Failure> {
        match name {
            "exact" => Ok(Self::ExactEvm),
            "auth-capture" => Ok(Self::AuthCapture),
            "solana" => Ok(Self::ExactSvm),
            _ => Err("the scheme is exact, auth-capture or solana".into()),
        }
    }

    fn template(self) -> Template {
        match self {
            Self::ExactEvm => Template {
                plan: include_str!("plans/exact_evm.json"),
                payer: &[
                    "19e7e376e7c213b7e7e7e46cc70a5dd086daff2a",
                    "19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A",
                ],
                payee: &["2222222222222222222222222222222222222222"],
                // The nonce and the signature.
                payment: &[
                    "abababababababababababababababababababababababababababababababab",
                    "5bd5558d7ac91515584e6a6afadc38bff086c5d5d3a4795c0e1c3b252b30a9ac",
                    "37ecba449cfcfe9d243f515ba78a01a1d81bbd31095eb27fb79bbe75bfc95d03",
                ],
            },
            Self::AuthCapture => Template {
                plan: include_str!("plans/auth_capture_evm.json"),
                payer: &[
                    "19e7e376e7c213b7e7e7e46cc70a5dd086daff2a",
                    "19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A",
                ],
                payee: &["2222222222222222222222222222222222222222"],
                // The hash of the payment, the salt and the signature.
                payment: &[
                    "62bb6aeb60bde8f5c95e44bbfec0424abdbfeadbbb060b79265d555e4fc4174d",
                    "73e25bba186a6d911e5fa788d63e2b1d1fc04dfc0fe17bd3c118ddd0dd7ac220",
                    "7ec571b831ed7ad2f1517317804830aa5133ad0a9f32e62863049e144a717e87",
                    "3ee5ceade6b4101dbfab5b7a7127e2504bac8ac5f1df21ae1372dc2e302d20c9",
                ],
            },
            Self::ExactSvm => Template {
                plan: include_str!("plans/exact_svm.json"),
                payer: &[
                    "9hSR6S7WPtxmTojgo6GG3k4yDPecgJY292j7xrsUGWBu",
                    "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394",
                    "GzpVTWkyGGfBXRaprnrhV3JtGj3TT52z5w2CrEJsTfjm",
                    "edaf1b9c161f6d698a46b9b07809a4a18dbf53c432b6a24bf1b10883fccb2298",
                ],
                payee: &[
                    "6ndWAgFxMAVLobD8WrdBj5w41GrDeJYiQX91nNSrwkZp",
                    "55fad8503c1c4cc233d6b6a3725aa5514feeab789eaf22966f72a2d94331c95b",
                ],
                // The signature, the blockhash and the memo.
                payment: &[
                    "bd30776703d5322d97c002f7c23116d21a72ba3234c60662dc13a3b615885b3f334705c335eb79ff616b3ed70220c98f55f7da49faa65b1468876e378cf00402",
                    "0707070707070707070707070707070707070707070707070707070707070707",
                    "US517G5965aydkZ46HS38QLi7UQiSojurfbQfKCELFx",
                    "3031323334353637383961626364656630313233343536373839616263646566",
                ],
            },
        }
    }

    pub(crate) fn lane(self) -> Lane {
        let (network, signer, ordered) = match self {
            Self::ExactEvm | Self::AuthCapture => {
                ("eip155:84532", "0x9c0ef3d1a7b24e58f6a1d0c93b7e5f2468ac13bd", true)
            }
            Self::ExactSvm => (
                "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1",
                "4vJ9JU1bJJE96FWSJKvHsmmFADCg4gpZQff4P3bkLKi7",
                false,
            ),
        };
        Lane {
            network: network.into(),
            signer: signer.into(),
            key: "hot".into(),
            ordered,
        }
    }

    fn names(self) -> [&'static str; 3] {
        match self {
            Self::ExactEvm => ["evm", "exact", "invalid_exact_evm_nonce_already_used"],
            Self::AuthCapture => [
                "evm-auth-capture",
                "auth-capture",
                "invalid_auth_capture_evm_payment_already_collected",
            ],
            Self::ExactSvm => ["svm", "exact", "duplicate_settlement"],
        }
    }
}

/// The commits of a payment: opened with its first transaction, paid and released, finished; and the mark between the
/// first and the second one.
pub(crate) struct Payment {
    pub(crate) opened: Vec<Event>,
    pub(crate) sent: Event,
    pub(crate) paid: Vec<Event>,
    pub(crate) finished: Vec<Event>,
}

/// The settlement, its attempt, and the slot's number in its lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    pub(crate) settlement: u64,
    pub(crate) attempt: u64,
    pub(crate) sequence: u64,
}

fn opened_at_ms(settlement: u64) -> u64 {
    BEGAN_MS + settlement % SAMPLES_FROM * EVERY_MS
}

/// A payer or payee of a settlement. Those of samples are others than those that are measured.
fn one_of(many: u64, what: &str, settlement: u64) -> String {
    format!("{what} {} {}", settlement / SAMPLES_FROM, settlement % many)
}

/// Hex digits that follow from this name alone.
fn digits(name: &str, length: usize) -> String {
    let block = |number: usize| hex::encode(Sha256::digest(format!("{name} {number}")));
    let mut text: String = (0..length.div_ceil(64)).map(block).collect();
    text.truncate(length);
    text
}

/// As long as the text, and of its alphabet: hex digits, or those of Bitcoin's base 58.
fn in_place_of(text: &str, name: &str) -> String {
    const BASE_58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return digits(name, text.len());
    }
    let numbers = hex::decode(digits(name, text.len() * 2)).unwrap_or_default();
    let letter = |byte: u8| char::from(BASE_58[usize::from(byte) % BASE_58.len()]);
    numbers.into_iter().map(letter).collect()
}

fn replaced(mut plan: String, texts: &[&str], owner: &str) -> String {
    for (number, text) in texts.iter().enumerate() {
        plan = plan.replace(text, &in_place_of(text, &format!("{owner} {number}")));
    }
    plan
}

impl Payment {
    pub(crate) fn of(scheme: Scheme, numbers: Numbers, reference: String) -> Result<Self, Failure> {
        let (settlement, attempt) = (numbers.settlement, numbers.attempt);
        let template = scheme.template();
        let mut text = template.plan.trim().to_owned();
        text = replaced(text, template.payer, &one_of(PAYERS, "payer", settlement));
        text = replaced(text, template.payee, &one_of(PAYEES, "payee", settlement));
        text = replaced(text, template.payment, &format!("payment {settlement}"));
        let plan: Plan = serde_json::from_str(&text)?;
        let opened = opened(scheme, settlement, reference, &plan);
        let attempt_row = attempt_of(scheme, numbers);
        let tx_id = attempt_row.tx_id.clone();
        let call = plan
            .steps
            .first()
            .map(|step| step.call.data.0.clone())
            .unwrap_or_default();
        let around = hex::decode(digits(&format!("signature {attempt}"), AROUND_CALL * 2))?;
        let bytes = HexBytes(around.into_iter().chain(call).collect());
        let row = opened.clone();
        let (reserves, holds) = (plan.reserves, plan.holds);
        Ok(Self {
            opened: vec![
                Event::Opened(Box::new(NewSettlement::new(opened, text, reserves, holds))),
                Event::Prepared(Box::new(NewAttempt::new(attempt_row, bytes))),
            ],
            sent: Event::Sent { attempt },
            paid: paid(&row, attempt, &tx_id),
            finished: finished(scheme, &row, numbers.sequence, tx_id),
        })
    }
}

fn opened(scheme: Scheme, id: u64, reference: String, plan: &Plan) -> journal::SettlementRow {
    let hash = |of: &str| digits(&format!("{of} {id}"), 64);
    let [plugin, name, replay_reason] = scheme.names();
    let lane = scheme.lane();
    let asset = plan.steps.first().map_or("", |step| step.call.target.as_str());
    let claim = match scheme {
        Scheme::ExactEvm => format!(
            "{plugin}|{}|{asset}/{}/0x{}",
            lane.network,
            plan.payer.to_lowercase(),
            hash("claim")
        ),
        Scheme::AuthCapture => format!("{plugin}|{}|0x{}", lane.network, hash("claim")),
        Scheme::ExactSvm => format!("{plugin}|{}|{}", lane.network, hash("claim")),
    };
    let keys = match scheme {
        Scheme::ExactEvm | Scheme::ExactSvm => Vec::new(),
        Scheme::AuthCapture => vec![claim.clone()],
    };
    let event = opened_with(id, &claim, |row, _, _| {
        row.plugin = plugin.into();
        row.scheme = name.into();
        row.network = lane.network;
        row.payer.clone_from(&plan.payer);
        row.conflict_keys = keys;
        row.digest = hash("digest");
        row.fingerprint = hash("fingerprint");
        row.request = hash("request");
        row.reference = reference;
        row.replay_reason = replay_reason.into();
        row.replayable_until_s = Some(opened_at_ms(id) / 1_000 + 600);
        row.pay_to = in_place_of(&plan.payer, &one_of(PAYEES, "payee", id));
        row.asset = asset.into();
        row.amount = Some(Amount::from(10_000 + id % 900));
        row.tenant = Some(format!("shop{}", id % TENANTS));
        row.opened_at_ms = opened_at_ms(id);
        row.expires_at_s = row.replayable_until_s;
        let step = row.steps.first().cloned();
        row.steps = plan
            .steps
            .iter()
            .filter_map(|planned| {
                let mut step = step.clone()?;
                step.pays = planned.pays;
                Some(step)
            })
            .collect();
    });
    match event {
        Event::Opened(new) => new.row,
        _ => unreachable!("opened_with opens"),
    }
}

fn attempt_of(scheme: Scheme, numbers: Numbers) -> AttemptRow {
    let Event::Prepared(new) = prepared(numbers.attempt, numbers.settlement, numbers.sequence) else {
        unreachable!("prepared prepares")
    };
    let name = format!("transaction {}", numbers.attempt);
    let (tx_id, bid) = match scheme {
        Scheme::ExactEvm | Scheme::AuthCapture => {
            let fee = 1_000_000 + numbers.attempt * 7_919 % 100_000;
            let fees = json!({"type": "eip1559", "maxFee": fee.to_string(), "maxPriorityFee": "100000"});
            (
                format!("0x{}", digits(&name, 64)),
                json!({"fees": fees, "l1FeePerUnit": (fee * 31).to_string()}),
            )
        }
        Scheme::ExactSvm => (in_place_of(&"Z".repeat(88), &name), json!({})),
    };
    AttemptRow {
        lane: scheme.lane(),
        tx_id,
        bid,
        max_cost: Amount::from(150_000_000_000 + numbers.attempt * 7_919 % 100_000_000),
        since_height: 30_000_000 + numbers.settlement % SAMPLES_FROM,
        prepared_at_ms: opened_at_ms(numbers.settlement) + 120,
        ..new.row
    }
}

fn paid(row: &journal::SettlementRow, attempt: u64, tx_id: &str) -> Vec<Event> {
    let (settlement, step) = (row.id, StepIndex::FIRST);
    let height = 30_000_002 + settlement % SAMPLES_FROM;
    let logs = settlement % 90;
    let ground = Ground {
        attempt,
        at: GroundAt::Block(format!("0x{}", digits(&format!("block {settlement}"), 64))),
        height,
        foreign: None,
        reverted: false,
    };
    let extensions = json!({"settlement-status": {"id": row.reference}});
    let reply = SettleReply {
        success: true,
        error_reason: None,
        error_message: None,
        payer: row.payer.clone(),
        transaction: tx_id.to_owned(),
        network: row.network.clone(),
        amount: row.amount.map(|amount| amount.to_string()),
        extra: None,
        extensions: extensions.as_object().cloned(),
    };
    let release = Release {
        number: attempt + 1,
        tenant: row.tenant.clone(),
        idempotency_key: None,
        body: serde_json::to_string(&reply).unwrap_or_default(),
        at_ms: row.opened_at_ms + 4_100,
    };
    vec![
        Event::Paid {
            settlement,
            step,
            tx_id: tx_id.to_owned(),
            height,
            items: vec![format!("{tx_id}/{logs}"), format!("{tx_id}/{}", logs + 1)],
            reply: PaidReply {
                payer: row.payer.clone(),
                amount: row.amount,
                ..PaidReply::default()
            },
            repeatable: false,
        },
        Event::StepGrounded {
            settlement,
            step,
            ground,
        },
        Event::FeePaid {
            attempt,
            fee: Amount::from(90_000_000_000 + attempt * 7_919 % 10_000_000_000),
            node: Some("rpc.example".into()),
        },
        Event::Released { settlement, release },
        Event::KeysFreed { settlement },
    ]
}

fn finished(scheme: Scheme, row: &journal::SettlementRow, sequence: u64, by: String) -> Vec<Event> {
    let (lane, settlement) = (scheme.lane(), row.id);
    let closed = Event::SlotClosed {
        network: lane.network,
        signer: lane.signer,
        sequence,
        by,
    };
    let end = [
        Event::StepFinal {
            settlement,
            step: StepIndex::FIRST,
        },
        Event::KeysFreed { settlement },
        Event::Finished {
            settlement,
            at_ms: row.opened_at_ms + LASTS_MS,
        },
    ];
    std::iter::once(closed).chain(end).collect()
}
