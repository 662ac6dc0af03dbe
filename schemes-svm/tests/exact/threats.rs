//! Threats T-45 to T-59, as far as they are the scheme's. T-46 is the driver's, T-52's second half is in `judge`.

use schemes_svm::exact::config::{CreateAtaMode, Layout};
use schemes_svm::exact::reason;
use schemes_svm::programs::{SYSTEM, TOKEN_2022};
use schemes_svm::testkit::{Deal, Key, Part, guard, limit, memo, price, sign};
use schemes_svm::text;
use schemes_svm::token::associated_account;
use schemes_svm::wire::Transaction;
use sdk_plugin::HostServices;
use sdk_plugin::host::StoreRequest;
use sdk_plugin::testkit::block_on;
use serde_json::json;
use solana_address::Address;
use solana_message::v0::MessageAddressTableLookup;

use crate::world::{World, changed, fee_payer, good, mint_2022, request, request_of, retained, table};

#[test]
fn t45_one_message_is_one_claim_whatever_its_encoding_and_the_fee_payers_slot() {
    let world = World::new();
    let first = world.identify(&good()).expect("a key");
    assert_eq!(first.replay_reason, "duplicate_settlement");
    assert_eq!(first.payer, Deal::example().buyer.address().to_string());

    let text = good().payload["transaction"].as_str().unwrap().to_owned();
    let bytes = text::transaction_bytes(&text).unwrap();
    let mut unpadded = good();
    unpadded.payload["transaction"] = json!(text.trim_end_matches('='));
    let transaction = Transaction::decode(&bytes).unwrap();
    let signature = Key::of_seed(1).sign(transaction.message_bytes());
    let filled = request(&transaction.clone().with_fee_payer_signature(signature).to_bytes());
    let garbage = request(&transaction.with_fee_payer_signature([5; 64].into()).to_bytes());
    for same in [unpadded, filled, garbage, crate::world::v1(good())] {
        assert_eq!(world.identify(&same), Ok(first.clone()));
        assert_eq!(
            world.plan(&same).map(|plan| plan.steps[0].call.data.clone()).ok(),
            world
                .plan(&good())
                .map(|plan| plan.steps[0].call.data.clone())
                .ok()
        );
    }
    let other = changed(|draft| draft.parts[3] = memo("another"));
    assert_ne!(world.identify(&other).expect("a key").claim_key, first.claim_key);
    let mut other_terms = good();
    other_terms.requirements.amount = 9_999u64.into();
    let other_terms = world.identify(&other_terms).expect("a key");
    assert_eq!(other_terms.claim_key, first.claim_key);
    assert_ne!(other_terms.fingerprint, first.fingerprint);
}

#[test]
fn t47_the_fee_payer_is_named_by_nothing_but_guards_that_read() {
    let authority = changed(|draft| draft.parts[2].accounts[3].0 = fee_payer());
    assert_eq!(World::new().refused(&authority), reason::FEE_PAYER_TRANSFERRING);
    let ours = World::new().with(|chain| chain.source_owner = Some(fee_payer()));
    assert_eq!(
        ours.refused(&good()),
        reason::SIMULATION_FAILED,
        "a delegate of the fee payer"
    );
    let ours = World::new().with(|chain| chain.source_owner = Some(retained()));
    assert_eq!(ours.refused(&good()), reason::SIMULATION_FAILED);
    for layout in [Layout::Identity, Layout::Positional] {
        let world = || World::configured(|config| config.layout = layout);
        let extra_signer = changed(|draft| draft.parts[2].accounts.push((fee_payer(), false)));
        assert_eq!(world().refused(&extra_signer), reason::UNKNOWN_INSTRUCTION);
        let signs_memo = changed(|draft| draft.parts[3].accounts.push((fee_payer(), false)));
        assert_eq!(world().refused(&signs_memo), reason::UNKNOWN_INSTRUCTION);
        for layer in [0, 1] {
            let budget = changed(|draft| draft.parts[layer].accounts.push((fee_payer(), true)));
            assert!(world().verify(&budget).is_err(), "{layout:?} {layer}");
        }
        let looked_at = changed(|draft| draft.parts.push(guard(6, vec![(fee_payer(), false)])));
        assert!(world().verify(&looked_at).is_ok());
    }
}

#[test]
fn t48_a_guard_that_writes_is_refused() {
    for first_byte in [0, 1] {
        for account in [fee_payer(), Deal::example().buyer.address()] {
            let request = changed(|draft| draft.parts.push(guard(first_byte, vec![(account, true)])));
            assert_eq!(World::new().refused(&request), reason::UNKNOWN_INSTRUCTION);
        }
    }
    let empty = changed(|draft| {
        let mut part = guard(0, vec![]);
        part.data.clear();
        draft.parts.push(part);
    });
    assert_eq!(World::new().refused(&empty), reason::UNKNOWN_INSTRUCTION);
}

#[test]
fn t49_fees_have_a_budget_for_each_payment() {
    let greedy = changed(|draft| {
        draft.parts[0] = limit(1_400_000);
        draft.parts[1] = price(5_000_000);
    });
    assert_eq!(World::new().refused(&greedy), reason::COMPUTE_LIMIT_TOO_HIGH);
    let most = |units: u32, micro: u64| {
        changed(|draft| {
            draft.parts[0] = limit(units);
            draft.parts[1] = price(micro);
        })
    };
    // 10,000 for two signatures and 110,000 for 22,000 units at the highest price.
    let paid = World::new().with(|chain| chain.cost = Some(120_000));
    assert!(paid.verify(&most(22_000, 5_000_000)).is_ok());
    assert_eq!(
        World::new().refused(&most(22_001, 5_000_000)),
        reason::COMPUTE_PRICE_TOO_HIGH
    );
    assert_eq!(
        World::new().refused(&most(200_000, 5_000_000)),
        reason::COMPUTE_PRICE_TOO_HIGH
    );
}

#[test]
fn t50_the_third_account_for_one_payee_is_not_paid_for() {
    let world = World::configured(|config| config.create_ata.mode = CreateAtaMode::Sponsor).with(|chain| {
        chain.destination_exists = false;
        chain.cost = Some(10_001 + 2_039_280);
    });
    let creation = |text: &str| {
        changed(|draft| {
            draft.parts.insert(2, Deal::example().create(fee_payer()));
            draft.parts[4] = memo(text);
        })
    };
    for round in 0..2 {
        let plan = world
            .plan(&creation(&round.to_string()))
            .expect("within the limit");
        assert_eq!(plan.steps[0].call.operation, "createAndTransferChecked");
        assert_eq!(plan.writes.len(), 2, "one for the payee, one for the tenant");
        let write = StoreRequest::Write { writes: plan.writes };
        assert!(matches!(
            block_on(world.host.store(0, write)),
            Ok(sdk_plugin::host::StoreResponse::Written)
        ));
    }
    assert_eq!(
        world.plan(&creation("third")).expect_err("over the limit").reason,
        reason::UNKNOWN_INSTRUCTION
    );
    // An account that exists already costs nothing and counts nothing.
    world.chain().destination_exists = true;
    world.chain().cost = Some(10_001);
    assert_eq!(
        world
            .plan(&creation("fourth"))
            .expect("nothing is created")
            .writes,
        []
    );

    // The rent has a bound too.
    let dear = World::configured(|config| config.create_ata.mode = CreateAtaMode::Sponsor).with(|chain| {
        chain.destination_exists = false;
        chain.cost = Some(10_001 + 2_500_001);
    });
    assert_eq!(dear.refused(&creation("dear")), reason::SIMULATION_FAILED);
    let off = World::configured(|config| config.layout = Layout::Positional);
    assert_eq!(off.refused(&creation("off")), reason::NO_TRANSFER);
    assert_eq!(
        World::new().refused(&creation("off")),
        reason::UNKNOWN_INSTRUCTION
    );
}

#[test]
fn t51_a_look_up_table_hides_nobody() {
    let deal = Deal::example();
    let tables = Key::of_seed(70).address();
    let naming = |hidden: Address| {
        let mut message = deal.official().message();
        // The last instruction, a memo, names what the table holds.
        message.lookups.push(MessageAddressTableLookup {
            account_key: tables,
            writable_indexes: vec![0],
            readonly_indexes: vec![],
        });
        let index = message.keys.len() as u8;
        message.instructions[3].accounts.push(index);
        let world = World::new().with(|chain| {
            chain.accounts.insert(tables, table(&[hidden]));
        });
        world.refused(&request(&sign(&message, &[&deal.buyer])))
    };
    assert_eq!(naming(fee_payer()), reason::LOOKUP_FAILED, "an account twice");
    assert_eq!(
        naming(retained()),
        reason::UNKNOWN_INSTRUCTION,
        "another fee payer of ours"
    );
}

#[test]
fn t53_what_extensions_keep_back_is_seen_in_the_simulation() {
    let deal = Deal {
        token_program: TOKEN_2022,
        ..Deal::example()
    };
    let request = request_of(&deal, &deal.official().sign(&deal.buyer));
    // Transfer fee, confidential transfer, default state, non-transferable, permanent delegate, hook, pausable, unknown.
    for (kind, length) in [
        (1, 108),
        (4, 65),
        (6, 1),
        (9, 0),
        (12, 32),
        (14, 64),
        (26, 33),
        (9_999, 4),
    ] {
        let with_extension = |config: fn(&mut schemes_svm::exact::Config)| {
            World::configured(config).with(|chain| {
                chain.accounts.insert(deal.mint, mint_2022(Some((kind, length))));
            })
        };
        assert!(
            with_extension(|_| {}).verify(&request).is_ok(),
            "all of it arrives"
        );
        let fee = with_extension(|_| {}).with(|chain| chain.arrives = Some(9_900));
        assert_eq!(
            fee.refused(&request),
            reason::SIMULATION_FAILED,
            "extension {kind}"
        );
        let silent = with_extension(|_| {}).with(|chain| chain.shows_balances = false);
        assert_eq!(
            silent.refused(&request),
            reason::SIMULATION_FAILED,
            "extension {kind}"
        );
        let listed = with_extension(|config| config.extension_mints = vec![Deal::example().mint]);
        assert!(
            listed
                .with(|chain| chain.shows_balances = false)
                .verify(&request)
                .is_ok()
        );
    }
    let no_mint = World::new();
    assert_eq!(no_mint.refused(&request), reason::SIMULATION_FAILED);
}

#[test]
fn t54_only_the_derived_account_of_the_payee_is_paid() {
    let deal = Deal::example();
    for other in [
        deal.pay_to,
        deal.source(),
        Key::of_seed(60).address(),
        associated_account(&deal.pay_to, &deal.mint, &TOKEN_2022),
    ] {
        let request = changed(|draft| draft.parts[2].accounts[2].0 = other);
        assert_eq!(World::new().refused(&request), reason::RECIPIENT_MISMATCH);
    }
}

#[test]
fn t55_a_durable_nonce_is_refused() {
    let buyer = Deal::example().buyer.address();
    let advance = Part {
        program: SYSTEM,
        accounts: vec![(Key::of_seed(60).address(), true), (buyer, false)],
        data: vec![4, 0, 0, 0],
    };
    let request = changed(|draft| draft.parts.insert(0, advance));
    assert_eq!(World::new().refused(&request), reason::UNKNOWN_INSTRUCTION);
    let wallets = World::configured(|config| config.smart_wallets.enabled = true);
    let expected = format!("{}: {SYSTEM}", reason::WALLET_PROGRAM);
    assert_eq!(wallets.refused(&request), expected);
}

#[test]
fn t49_a_third_signature_is_for_wallets_alone() {
    let (deal, other) = (Deal::example(), Key::of_seed(4));
    let mut draft = deal.official();
    draft.signers.push(other.address());
    let request = request(&sign(&draft.message(), &[&deal.buyer, &other]));
    for enabled in [false, true] {
        let world = World::configured(|config| config.smart_wallets.enabled = enabled);
        assert_eq!(world.refused(&request), reason::EXCESSIVE_SIGNERS, "{enabled}");
    }
}

#[test]
fn t57_the_buyers_signature_is_checked_here() {
    let deal = Deal::example();
    let message = deal.official().message();
    let missing = request(&sign(&message, &[]));
    assert_eq!(World::new().refused(&missing), reason::SIGNATURE_INVALID);
    let mut bytes = sign(&message, &[&deal.buyer]);
    bytes[1 + 64] ^= 1;
    assert_eq!(World::new().refused(&request(&bytes)), reason::SIGNATURE_INVALID);
    assert!(World::new().batches().is_empty());
}

#[test]
fn t58_the_sellers_memo_stands_alone() {
    let asking = |memos: &[&str]| {
        let mut request = changed(|draft| {
            draft.parts.truncate(3);
            draft.parts.extend(memos.iter().map(|text| memo(text)));
        });
        request.requirements.extra.insert("memo".into(), json!("order 7"));
        request
    };
    for layout in [Layout::Identity, Layout::Positional] {
        let world = World::configured(|config| config.layout = layout);
        assert!(world.verify(&asking(&["order 7"])).is_ok());
        assert_eq!(
            world.refused(&asking(&["order 7", "order 7"])),
            reason::MEMO_COUNT
        );
        assert_eq!(world.refused(&asking(&["order 8"])), reason::MEMO_MISMATCH);
        assert_eq!(world.refused(&asking(&["order 7 "])), reason::MEMO_MISMATCH);
        let mut free = asking(&["order 7", "order 8"]);
        free.requirements.extra.remove("memo");
        assert!(world.verify(&free).is_ok(), "without a wish any memos are fine");
    }
}
