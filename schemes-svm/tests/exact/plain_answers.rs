//! Threats T-120 to T-122, T-158 and T-159: refusals that name their cause, and payments of today's wallets.

use schemes_svm::exact::config::{Known, Layout};
use schemes_svm::exact::reason;
use schemes_svm::testkit::{Deal, Key, Part, limit, memo, price};
use schemes_svm::text;
use schemes_svm::token::associated_account;
use sdk_plugin::scheme::Refusal;
use sdk_plugin::testkit::block_on;
use sdk_plugin::{PaymentRequest, SchemeHandler, Value};
use serde_json::json;

use crate::world::{World, changed, fee_payer, good, request, request_of, v1};

const LAYOUTS: [Layout; 2] = [Layout::Identity, Layout::Positional];

fn message(refusal: &Refusal) -> &str {
    refusal.message.as_deref().unwrap_or_default()
}

/// The buyer pays itself.
fn self_payment() -> PaymentRequest {
    let deal = Deal {
        pay_to: Deal::example().buyer.address(),
        ..Deal::example()
    };
    request_of(&deal, &deal.official().sign(&deal.buyer))
}

#[test]
fn t120_a_payment_to_oneself_is_refused_with_its_sentence_on_every_kind_of_node() {
    for layout in LAYOUTS {
        for shows_balances in [true, false] {
            let world = World::configured(|config| config.layout = layout)
                .with(|chain| chain.shows_balances = shows_balances);
            let refusal = world.refusal(&self_payment());
            assert_eq!(refusal.reason, reason::SIMULATION_FAILED);
            assert_eq!(
                message(&refusal),
                "payer and payTo are the same account: no balance would change"
            );
            assert_eq!(refusal.payer, Deal::example().buyer.address().to_string());
            assert!(world.batches().is_empty(), "before the simulation");
            assert_eq!(
                world.refused(&v1(self_payment())),
                "transaction_simulation_failed"
            );
        }
    }
}

/// A case of the version 1 vectors.
fn version_1(name: &str) -> Vec<u8> {
    let vectors: Value =
        serde_json::from_str(include_str!("../vectors/solana_v1.json")).expect("vectors parse");
    let case = &vectors["cases"][name];
    assert_eq!(
        case["expect_versions_0"],
        json!("unsupported_transaction_version"),
        "{name}"
    );
    text::transaction_bytes(case["transaction"].as_str().expect("a case")).expect("base64")
}

#[test]
fn t121_a_version_1_transaction_is_named_as_such_whatever_its_size() {
    // 900 bytes of which only the first is meaningful.
    let mut other = vec![0xff; 900];
    other[0] = 0x81;
    let mut all = vec![other];
    all.extend(
        [
            "v1_small",
            "v1_no_compute_limit",
            "v1_no_data_size_limit",
            "v1_fee_at_cap",
            "v1_fee_above_cap",
            "v1_3900_bytes",
            "v1_message_in_v0_envelope",
        ]
        .map(version_1),
    );
    for bytes in all {
        for request in [request(&bytes), v1(request(&bytes))] {
            let world = World::new();
            let refusal = world.refusal(&request);
            assert_eq!(
                refusal.reason,
                "unsupported_transaction_version",
                "{} bytes",
                bytes.len()
            );
            assert_eq!(
                message(&refusal),
                "unsupported transaction version 1; accepted: legacy, 0"
            );
            assert_eq!(refusal.payer, "");
            assert_eq!(
                world.identify(&request),
                Err(refusal),
                "before the duplicate look-up"
            );
            assert!(world.batches().is_empty());
        }
    }
    let mut second = version_1("v1_message_in_v0_envelope");
    second[1 + 2 * 64] = 0x82;
    assert!(message(&World::new().refusal(&request(&second))).contains("version 2"));
}

#[test]
fn t121_what_is_no_format_or_too_long_for_its_version_can_not_be_decoded() {
    let deal = Deal::example();
    let long = |length: usize| {
        let mut draft = deal.official();
        draft.parts[3] = memo(&"m".repeat(length));
        draft.sign(&deal.buyer)
    };
    let most = 1_232 - long(128).len() + 128;
    assert_eq!(long(most).len(), 1_232);
    assert!(World::new().verify(&request(&long(most))).is_ok());
    let mut no_format = long(0);
    no_format[0] = 0x82;
    for bytes in [
        long(most + 1),
        long(3_000),
        no_format,
        vec![0x80],
        vec![1],
        vec![2; 128],
        vec![0xff; 4_096],
    ] {
        assert_eq!(
            World::new().refused(&request(&bytes)),
            reason::UNDECODABLE,
            "{} bytes",
            bytes.len()
        );
    }
    let mut beyond = vec![0x81; 4_097];
    assert_eq!(World::new().refused(&request(&beyond)), reason::UNDECODABLE);
    beyond.pop();
    assert_eq!(
        World::new().refused(&request(&beyond)),
        "unsupported_transaction_version"
    );
}

#[test]
fn t121_the_kinds_of_both_versions_list_the_transaction_versions() {
    let world = World::new().with(|chain| {
        chain.lamports.insert(fee_payer(), 1_000_000_000);
    });
    let supported = block_on(world.exact.supported(&world.cx())).expect("no fault");
    assert_eq!(supported.kinds.len(), 2);
    for kind in supported.kinds {
        let extra = kind.extra.expect("extra");
        assert_eq!(extra["transactionVersions"], json!([0]), "v{}", kind.x402_version);
    }
}

#[test]
fn t122_a_missing_limit_or_price_is_named_with_smart_wallets_on_and_off() {
    for smart_wallets in [false, true] {
        for layout in LAYOUTS {
            let world = || {
                World::configured(|config| {
                    config.layout = layout;
                    config.smart_wallets.enabled = smart_wallets;
                })
            };
            let no_limit = changed(|draft| {
                draft.parts.remove(0);
            });
            assert_eq!(world().refused(&no_limit), reason::COMPUTE_LIMIT);
            let no_price = changed(|draft| {
                draft.parts.remove(1);
            });
            assert_eq!(world().refused(&no_price), reason::COMPUTE_PRICE);
            let malformed = changed(|draft| draft.parts[0].data.truncate(4));
            assert_eq!(world().refused(&malformed), reason::COMPUTE_LIMIT);
            assert!(
                world()
                    .verify(&changed(|draft| draft.parts[0] = limit(100_000)))
                    .is_ok()
            );
            let too_high = changed(|draft| draft.parts[0] = limit(200_001));
            assert_eq!(world().refused(&too_high), reason::COMPUTE_LIMIT_TOO_HIGH);
        }
        let neither = changed(|draft| {
            draft.parts.drain(0..2);
        });
        let world = World::configured(|config| config.smart_wallets.enabled = smart_wallets);
        let refusal = world.refusal(&neither);
        assert_eq!(refusal.reason, reason::COMPUTE_LIMIT);
        assert!(message(&refusal).contains("SetComputeUnitLimit"), "{refusal:?}");
        assert_eq!(refusal.payer, Deal::example().buyer.address().to_string());
    }
}

#[test]
fn t158_guards_of_todays_wallets_pass_and_a_foreign_tail_does_once_it_is_listed() {
    let deal = Deal::example();
    let guarded = request(&deal.guarded().sign(&deal.buyer));
    for smart_wallets in [false, true] {
        let world = World::configured(|config| config.smart_wallets.enabled = smart_wallets);
        assert!(world.verify(&guarded).is_ok());
    }
    let program = Key::of_seed(61).address();
    let with_tail = |accounts: Vec<(solana_address::Address, bool)>| {
        let mut draft = deal.guarded();
        draft.parts.push(Part {
            program,
            accounts,
            data: vec![9, 9],
        });
        request(&draft.sign(&deal.buyer))
    };
    let tail = with_tail(vec![(deal.buyer.address(), false)]);
    assert_eq!(World::new().refused(&tail), reason::UNKNOWN_INSTRUCTION);
    let listed = || {
        World::configured(|config| {
            config.postflight = vec![vec![Known {
                program,
                data_prefix: vec![9],
            }]];
        })
    };
    assert!(listed().verify(&tail).is_ok());
    let takes = with_tail(vec![(fee_payer(), false)]);
    assert_eq!(listed().refused(&takes), reason::NOT_ISOLATED);
}

#[test]
fn t159_an_empty_memo_of_the_seller_requests_none() {
    for layout in LAYOUTS {
        for version in [|request| request, v1] {
            let world = World::configured(|config| config.layout = layout);
            for nothing in [json!(""), Value::Null] {
                let mut free = version(good());
                free.requirements.extra.insert("memo".into(), nothing);
                assert!(world.verify(&free).is_ok());
            }
            let mut asking = version(good());
            asking.requirements.extra.insert("memo".into(), json!(" "));
            assert_eq!(world.refused(&asking), reason::MEMO_MISMATCH);
        }
    }
}

#[test]
fn t120_another_account_of_the_payer_is_no_payment_to_oneself() {
    let deal = Deal::example();
    let own = Deal {
        pay_to: deal.buyer.address(),
        ..deal.clone()
    };
    let mut draft = own.official();
    draft.parts[1] = price(1);
    draft.parts[2].accounts[0].0 =
        associated_account(&Key::of_seed(62).address(), &deal.mint, &deal.token_program);
    let from_elsewhere = request_of(&own, &draft.sign(&own.buyer));
    assert!(World::new().verify(&from_elsewhere).is_ok());
}
