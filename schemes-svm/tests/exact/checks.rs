//! Every reason, by a payment that is good but for one thing.

use std::collections::BTreeSet;

use schemes_svm::exact::config::{CreateAtaMode, Known, Layout};
use schemes_svm::exact::{Config, reason};
use schemes_svm::programs::{COMPUTE_BUDGET, SYSTEM, TOKEN_2022};
use schemes_svm::testkit::{Deal, Draft, Key, Part, guard, limit, memo, price};
use schemes_svm::token::associated_account;
use sdk_plugin::PaymentRequest;
use serde_json::json;
use solana_address::Address;

use crate::world::{Chain, World, changed, fee_payer, good, request};

/// A payment that is refused.
struct Case {
    reason: &'static str,
    name: &'static str,
    config: fn(&mut Config),
    chain: fn(&mut Chain),
    request: fn() -> PaymentRequest,
}

const NO_CONFIG: fn(&mut Config) = |_| {};
const NO_CHAIN: fn(&mut Chain) = |_| {};

const fn case(reason: &'static str, name: &'static str, request: fn() -> PaymentRequest) -> Case {
    configured(reason, name, NO_CONFIG, request)
}

const fn configured(
    reason: &'static str,
    name: &'static str,
    config: fn(&mut Config),
    request: fn() -> PaymentRequest,
) -> Case {
    Case {
        reason,
        name,
        config,
        chain: NO_CHAIN,
        request,
    }
}

/// A wallet's program that is on the default list.
pub fn wallet_program() -> Address {
    Address::from_str_const("SQDS4ep65T869zMMBKyuUq6aD6EgTu8psMjkvj52pCf")
}

/// A smart wallet's transaction: one call of its program.
pub fn wallet(extra: impl FnOnce(&mut Draft)) -> PaymentRequest {
    let deal = Deal::example();
    let call = Part {
        program: wallet_program(),
        accounts: vec![
            (deal.source(), true),
            (deal.mint, false),
            (deal.destination(), true),
            (deal.buyer.address(), false),
            (deal.token_program, false),
        ],
        data: vec![1, 2, 3],
    };
    let mut draft = deal.draft(vec![limit(100_000), price(1), call]);
    extra(&mut draft);
    request(&draft.sign(&deal.buyer))
}

/// An inner transfer as nodes write it when they parse.
pub fn inner_transfer(
    mint: Address,
    destination: Address,
    authority: Address,
    amount: u64,
) -> serde_json::Value {
    let deal = Deal::example();
    json!({"programId": deal.token_program.to_string(), "program": "spl-token", "stackHeight": 2, "parsed": {
        "type": "transferChecked", "info": {
            "source": deal.source().to_string(), "mint": mint.to_string(), "destination": destination.to_string(),
            "authority": authority.to_string(), "tokenAmount": {"amount": amount.to_string(), "decimals": 6}
        }
    }})
}

pub fn inner(transfers: &[serde_json::Value]) -> serde_json::Value {
    json!([{ "index": 2, "instructions": transfers }])
}

fn paying_inner(amount: u64) -> serde_json::Value {
    let deal = Deal::example();
    inner_transfer(deal.mint, deal.destination(), Key::of_seed(50).address(), amount)
}

pub fn positional(config: &mut Config) {
    config.layout = Layout::Positional;
}

pub fn wallets(config: &mut Config) {
    config.smart_wallets.enabled = true;
}

fn sponsor(config: &mut Config) {
    config.create_ata.mode = CreateAtaMode::Sponsor;
}

/// With the creation of the payee's account by the fee payer, changed.
fn creation(change: impl FnOnce(&mut Part)) -> PaymentRequest {
    changed(|draft| {
        let mut create = Deal::example().create(fee_payer());
        change(&mut create);
        draft.parts.insert(2, create);
    })
}

fn stranger() -> Part {
    Part {
        program: Key::of_seed(60).address(),
        accounts: vec![],
        data: vec![1],
    }
}

fn cases() -> Vec<Case> {
    vec![
        case(reason::UNSUPPORTED_SCHEME, "the payload's scheme", || {
            let mut request = good();
            request.accepted.scheme = "upto".into();
            request
        }),
        case(reason::UNSUPPORTED_SCHEME, "the requirements' scheme", || {
            let mut request = good();
            request.requirements.scheme = "upto".into();
            request
        }),
        case(reason::NETWORK_MISMATCH, "the payload's network", || {
            let mut request = good();
            request.accepted.network = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp".into();
            request
        }),
        case(reason::MISSING_FEE_PAYER, "no fee payer", || {
            let mut request = good();
            request.requirements.extra.remove("feePayer");
            request
        }),
        case(reason::MISSING_FEE_PAYER, "an empty fee payer", || {
            let mut request = good();
            request.requirements.extra["feePayer"] = json!("");
            request
        }),
        case(reason::FEE_PAYER_NOT_MANAGED, "a stranger's fee payer", || {
            let mut request = good();
            request.requirements.extra["feePayer"] = json!(Key::of_seed(9).address().to_string());
            request
        }),
        case(reason::UNDECODABLE, "no transaction", || {
            let mut request = good();
            request.payload.remove("transaction");
            request
        }),
        case(reason::UNSUPPORTED_VERSION, "a version 1 message", || {
            let deal = Deal::example();
            let mut bytes = deal.official().sign(&deal.buyer);
            bytes[1 + 2 * 64] = 0x81;
            request(&bytes)
        }),
        case(reason::UNDECODABLE, "a byte after it", || {
            let deal = Deal::example();
            let mut bytes = deal.official().sign(&deal.buyer);
            bytes.push(0);
            request(&bytes)
        }),
        case(reason::EXCESSIVE_SIGNERS, "a third signer", || {
            changed(|draft| draft.signers.push(Key::of_seed(4).address()))
        }),
        case(
            reason::FEE_PAYER_MISMATCH,
            "another fee payer in the transaction",
            || changed(|draft| draft.fee_payer = Key::of_seed(9).address()),
        ),
        case(reason::SIGNATURE_INVALID, "not signed by the buyer", || {
            request(&Deal::example().official().sign(&Key::of_seed(9)))
        }),
        configured(
            reason::LOOKUP_NOT_AVAILABLE,
            "a look-up table where there are none",
            |config| config.lookup_tables = false,
            with_table,
        ),
        case(
            reason::LOOKUP_FAILED,
            "a look-up table that does not exist",
            with_table,
        ),
        configured(
            reason::INSTRUCTIONS_LENGTH,
            "two instructions",
            positional,
            || changed(|draft| draft.parts.truncate(2)),
        ),
        case(reason::COMPUTE_LIMIT, "a limit of four bytes", || {
            changed(|draft| draft.parts[0].data.truncate(4))
        }),
        configured(
            reason::COMPUTE_LIMIT,
            "a memo instead of the limit",
            positional,
            || changed(|draft| draft.parts[0] = memo("x")),
        ),
        case(reason::COMPUTE_LIMIT_TOO_HIGH, "one unit too many", || {
            changed(|draft| draft.parts[0] = limit(200_001))
        }),
        case(reason::COMPUTE_PRICE, "a price of eight bytes", || {
            changed(|draft| draft.parts[1].data.truncate(8))
        }),
        configured(
            reason::COMPUTE_PRICE,
            "a memo instead of the price",
            positional,
            || changed(|draft| draft.parts[1] = memo("x")),
        ),
        case(
            reason::COMPUTE_PRICE_TOO_HIGH,
            "one micro-lamport too many",
            || changed(|draft| draft.parts[1] = price(5_000_001)),
        ),
        case(reason::COMPUTE_PRICE_TOO_HIGH, "a fee above the budget", || {
            changed(|draft| {
                draft.parts[0] = limit(100_000);
                draft.parts[1] = price(1_100_001);
            })
        }),
        case(reason::NO_TRANSFER, "no transfer", || {
            changed(|draft| {
                draft.parts.remove(2);
            })
        }),
        case(reason::COMPUTE_PRICE, "no price", || {
            changed(|draft| {
                draft.parts.remove(1);
            })
        }),
        configured(
            reason::NO_TRANSFER,
            "a memo before the transfer",
            positional,
            || changed(|draft| draft.parts.swap(2, 3)),
        ),
        case(
            reason::FEE_PAYER_TRANSFERRING,
            "the fee payer as authority",
            || changed(|draft| draft.parts[2].accounts[3].0 = fee_payer()),
        ),
        case(reason::MINT_MISMATCH, "another mint", || {
            changed(|draft| draft.parts[2].accounts[1].0 = Key::of_seed(60).address())
        }),
        case(reason::RECIPIENT_MISMATCH, "another account of the payee", || {
            changed(|draft| {
                let deal = Deal::example();
                draft.parts[2].accounts[2].0 = associated_account(&deal.pay_to, &deal.mint, &TOKEN_2022);
            })
        }),
        case(reason::RECIPIENT_MISMATCH, "a payTo that is no address", || {
            let mut request = good();
            request.requirements.pay_to = "nobody".into();
            request
        }),
        case(reason::AMOUNT_MISMATCH, "one unit less", || {
            changed(|draft| draft.parts[2].data[1] -= 1)
        }),
        case(reason::AMOUNT_MISMATCH, "one unit more", || {
            changed(|draft| draft.parts[2].data[1] += 1)
        }),
        configured(
            reason::UNKNOWN_FOURTH,
            "a stranger in the fourth position",
            positional,
            || changed(|draft| draft.parts[3] = stranger()),
        ),
        configured(
            reason::UNKNOWN_FIFTH,
            "a stranger in the fifth position",
            positional,
            || changed(|draft| draft.parts.push(stranger())),
        ),
        configured(
            reason::UNKNOWN_SIXTH,
            "a stranger in the sixth position",
            positional,
            || changed(|draft| draft.parts.extend([memo("x"), stranger()])),
        ),
        configured(
            reason::UNKNOWN_SEVENTH,
            "a stranger in the seventh position",
            positional,
            || changed(|draft| draft.parts.extend([memo("x"), memo("y"), stranger()])),
        ),
        configured(
            reason::UNKNOWN_OPTIONAL,
            "a stranger in the eighth position, where a creation makes room for it",
            |config| {
                positional(config);
                sponsor(config);
            },
            || {
                let deal = Deal::example();
                let mut parts = deal.official().parts;
                parts.insert(2, deal.create(fee_payer()));
                parts.extend([memo("x"), memo("y"), stranger()]);
                request(&deal.draft(parts).sign(&deal.buyer))
            },
        ),
        case(
            reason::MEMO_COUNT,
            "two memos where the seller requires one",
            || {
                let mut request = changed(|draft| draft.parts.push(memo("ref")));
                request.requirements.extra.insert("memo".into(), json!("ref"));
                request
            },
        ),
        case(
            reason::MEMO_COUNT,
            "no memo where the seller requires one",
            || {
                let mut request = changed(|draft| draft.parts.truncate(3));
                request.requirements.extra.insert("memo".into(), json!("ref"));
                request
            },
        ),
        case(reason::MEMO_MISMATCH, "another memo", || {
            let mut request = good();
            request.requirements.extra.insert("memo".into(), json!("ref"));
            request
        }),
        case(
            reason::MEMO_MISMATCH,
            "a memo longer than sellers may require",
            || {
                let long = "m".repeat(257);
                let mut request = changed(|draft| draft.parts[3] = memo(&long));
                request.requirements.extra.insert("memo".into(), json!(long));
                request
            },
        ),
        Case {
            chain: |chain| chain.error = json!({"InstructionError": [2, {"Custom": 1}]}),
            ..case(reason::SIMULATION_FAILED, "not enough tokens", good)
        },
        configured(
            reason::NOT_ISOLATED,
            "an allowed block that names the fee payer",
            |config| config.preflight = vec![vec![known()]],
            || {
                changed(|draft| {
                    draft.parts.insert(
                        0,
                        Part {
                            accounts: vec![(fee_payer(), true)],
                            ..stranger()
                        },
                    )
                })
            },
        ),
        case(reason::UNKNOWN_INSTRUCTION, "a stranger", || {
            changed(|draft| draft.parts.push(stranger()))
        }),
        case(reason::UNKNOWN_INSTRUCTION, "nine guards", || {
            changed(|draft| draft.parts.extend(vec![guard(2, vec![]); 9]))
        }),
        configured(
            reason::UNKNOWN_INSTRUCTION,
            "a guard that writes",
            positional,
            || changed(|draft| draft.parts.push(guard(0, vec![(fee_payer(), true)]))),
        ),
        case(reason::INSTRUCTIONS_ORDER, "the price first", || {
            changed(|draft| draft.parts.swap(0, 1))
        }),
        case(reason::INSTRUCTIONS_ORDER, "two transfers", || {
            changed(|draft| {
                let transfer = draft.parts[2].clone();
                draft.parts.insert(3, transfer);
            })
        }),
        configured(reason::CREATE_NOT_IDEMPOTENT, "a plain creation", sponsor, || {
            creation(|create| create.data = vec![0])
        }),
        configured(reason::CREATE_ACCOUNT_COUNT, "seven accounts", sponsor, || {
            creation(|create| create.accounts.push((SYSTEM, false)))
        }),
        configured(reason::CREATE_FUNDER, "paid for by the buyer", sponsor, || {
            creation(|create| create.accounts[0].0 = Deal::example().buyer.address())
        }),
        configured(
            reason::CREATE_FUNDER,
            "paid for by the fee payer",
            |config| config.create_ata.mode = CreateAtaMode::Client,
            || creation(|_| {}),
        ),
        configured(reason::CREATE_OWNER, "for another owner", sponsor, || {
            creation(|create| create.accounts[2].0 = Key::of_seed(60).address())
        }),
        configured(reason::CREATE_MINT, "of another mint", sponsor, || {
            creation(|create| create.accounts[3].0 = Key::of_seed(60).address())
        }),
        configured(
            reason::CREATE_SYSTEM,
            "by another system program",
            sponsor,
            || creation(|create| create.accounts[4].0 = Key::of_seed(60).address()),
        ),
        configured(
            reason::CREATE_TOKEN_PROGRAM,
            "by the other token program",
            sponsor,
            || creation(|create| create.accounts[5].0 = TOKEN_2022),
        ),
        configured(reason::CREATE_DESTINATION, "of another account", sponsor, || {
            creation(|create| create.accounts[1].0 = Key::of_seed(60).address())
        }),
        configured(
            reason::WALLET_PROGRAM,
            "a program that is not listed",
            wallets,
            || wallet(|draft| draft.parts[2].program = Key::of_seed(60).address()),
        ),
        configured(
            reason::WALLET_NOT_ISOLATED,
            "the fee payer handed to the wallet",
            wallets,
            || wallet(|draft| draft.parts[2].accounts.push((fee_payer(), true))),
        ),
        configured(
            reason::WALLET_BUDGET,
            "a budget instruction without data",
            wallets,
            || wallet(|draft| draft.parts[0].data.clear()),
        ),
        configured(reason::WALLET_LIMIT, "a limit of six bytes", wallets, || {
            wallet(|draft| draft.parts[0].data.push(0))
        }),
        configured(reason::WALLET_PRICE, "a price of ten bytes", wallets, || {
            wallet(|draft| draft.parts[1].data.push(0))
        }),
        configured(
            reason::WALLET_UNITS_TOO_HIGH,
            "one unit too many",
            wallets,
            || wallet(|draft| draft.parts[0] = limit(400_001)),
        ),
        configured(
            reason::WALLET_FEE_TOO_HIGH,
            "one micro-lamport too many",
            wallets,
            || wallet(|draft| draft.parts[1] = price(50_001)),
        ),
        configured(reason::WALLET_BUDGET_UNSUPPORTED, "a heap frame", wallets, || {
            wallet(|draft| {
                draft.parts[1] = Part {
                    program: COMPUTE_BUDGET,
                    accounts: vec![],
                    data: vec![1, 0, 0, 0, 0],
                }
            })
        }),
        Case {
            chain: |chain| chain.error = json!("ProgramFailedToComplete"),
            ..configured(
                reason::WALLET_SIMULATION,
                "a wallet that says no",
                wallets,
                || wallet(|_| {}),
            )
        },
        configured(
            reason::WALLET_NO_TRANSFER,
            "a wallet that moves nothing",
            wallets,
            || wallet(|_| {}),
        ),
        Case {
            chain: |chain| chain.inner = inner(&[paying_inner(9_999)]),
            ..configured(
                reason::WALLET_MISMATCH,
                "a wallet that pays too little",
                wallets,
                || wallet(|_| {}),
            )
        },
        Case {
            chain: |chain| chain.inner = inner(&[paying_inner(10_000), paying_inner(10_000)]),
            ..configured(
                reason::WALLET_SEVERAL,
                "a wallet that pays twice",
                wallets,
                || wallet(|_| {}),
            )
        },
        Case {
            chain: |chain| chain.inner = inner(&[paying_inner(10_000)]),
            ..configured(
                reason::WALLET_DESTINATION,
                "a payTo that is no address",
                wallets,
                || {
                    let mut request = wallet(|_| {});
                    request.requirements.pay_to = "nobody".into();
                    request
                },
            )
        },
    ]
}

fn known() -> Known {
    Known {
        program: stranger().program,
        data_prefix: vec![1],
    }
}

/// The destination comes from a table that does not exist.
pub fn with_table() -> PaymentRequest {
    changed(|draft| draft.tables = vec![(Key::of_seed(70).address(), vec![Deal::example().destination()])])
}

#[test]
fn every_reason_is_given_for_its_own_fault() {
    for Case {
        reason,
        name,
        config,
        chain,
        request,
    } in cases()
    {
        let world = World::configured(config).with(chain);
        let given = world.refused(&request());
        let matches = given == reason
            || given
                .strip_prefix(reason)
                .is_some_and(|rest| rest.starts_with(": "));
        assert!(matches, "{name}: {given}, not {reason}");
        assert!(
            world.batches().len() <= 2,
            "{name}: more than one read for each of verify and plan"
        );
    }
}

#[test]
fn no_reason_is_without_a_test() {
    let tested: BTreeSet<&str> = cases().iter().map(|case| case.reason).collect();
    // These two are judgements about landed transactions: see `judge`.
    let judged = BTreeSet::from([reason::TRANSACTION_FAILED, reason::NOT_CONFIRMED]);
    let all: BTreeSet<&str> = reason::ALL.iter().copied().collect();
    assert_eq!(all.len(), reason::ALL.len(), "a reason is listed twice");
    let missing: Vec<&&str> = all
        .iter()
        .filter(|one| !tested.contains(**one) && !judged.contains(**one))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
