//! Transactions as wallets shape them: each is valid, settles, moves the money once, and costs the fee payer the
//! signatures and the priority fee and nothing else.

use e2e::solana::{LAMPORTS_PER_SIGNATURE, PRICE, key};
use e2e::{Fault, SolanaWorld};
use schemes_svm::programs::TOKEN;
use schemes_svm::testkit::{Deal, Part, guard, limit, memo, price};
use schemes_svm::text;
use schemes_svm::token;
use schemes_svm::wire::Version;
use serde_json::{Value, json};

/// Two signatures, and one lamport of priority fee for 20,000 units at a price of 1.
const FEE_LAMPORTS: u64 = 2 * LAMPORTS_PER_SIGNATURE + 1;

/// Verifies and settles, and checks what it moved and cost.
#[track_caller]
fn pays(world: &SolanaWorld, body: &Value) {
    let (lamports, earned, landed) = (world.lamports(), world.earned(), world.landed().len());
    world.verify(body).valid();
    let reply = world.settle(body);
    let signature = reply.paid();
    assert_eq!(world.settle(body).failed(super::DUPLICATE), signature);
    assert_eq!(
        (world.earned() - earned, lamports - world.lamports()),
        (PRICE, FEE_LAMPORTS)
    );
    let all = world.landed();
    assert_eq!(all.len(), landed + 1);
    assert_eq!(all.last().map(|last| &last.signature), Some(&signature));
}

#[test]
fn payments_in_the_forms_of_current_wallets_are_accepted() {
    let world = SolanaWorld::start();
    let deal = world.deal(0);
    let official = deal.official();
    pays(&world, &world.body(&deal, &official.sign(&deal.buyer)));

    let deal = world.deal(2);
    let mut legacy = deal.official();
    legacy.version = Version::Legacy;
    pays(&world, &world.body(&deal, &legacy.sign(&deal.buyer)));

    // Eight instructions, guards before and after the transfer.
    let deal = world.deal(3);
    pays(&world, &world.body(&deal, &deal.guarded().sign(&deal.buyer)));

    // Guards after the payment, as another wallet puts them.
    let deal = world.deal(7);
    let assertion = guard(6, vec![(deal.source(), false)]);
    let guards_after = deal.draft(vec![
        limit(20_000),
        price(1),
        deal.transfer(),
        memo("x"),
        assertion.clone(),
        assertion,
    ]);
    pays(&world, &world.body(&deal, &guards_after.sign(&deal.buyer)));

    // Guards first.
    let deal = world.deal(4);
    let assertion = guard(6, vec![(deal.source(), false)]);
    let first = deal.draft(vec![
        assertion.clone(),
        assertion,
        limit(20_000),
        price(1),
        deal.transfer(),
        memo("x"),
    ]);
    pays(&world, &world.body(&deal, &first.sign(&deal.buyer)));

    // The seller's memo, exactly once.
    let deal = world.deal(5);
    let with_memo = e2e::solana::with_memo(&deal, "order 17");
    pays(
        &world,
        &world.body_with(&deal, &with_memo.sign(&deal.buyer), json!({ "memo": "order 17" })),
    );

    // Protocol v1.
    let deal = world.deal(6);
    pays(&world, &world.body_v1(&deal, &deal.official().sign(&deal.buyer)));
}

#[test]
fn a_message_with_an_address_lookup_table_is_resolved() {
    let world = SolanaWorld::start();
    let address = |text: &String| text::address(text).expect("an address");
    let table = &world.chain.lookup_table;
    let deal = world.deal(0);
    let mut draft = deal.official();
    draft.tables = vec![(
        address(&table.address),
        table.addresses.iter().map(address).collect(),
    )];
    let message = draft.message();
    assert!(
        !message.lookups.is_empty(),
        "the table holds accounts of the transfer"
    );
    pays(&world, &world.body(&deal, &draft.sign(&deal.buyer)));
}

#[test]
fn token_2022_is_taken_and_t53_a_mint_that_keeps_a_fee_is_refused() {
    let world = SolanaWorld::builder().network("allow_any_asset = true").start();
    let plain = world.chain.tokens[1].clone();
    let deal = world.deal_in(0, &plain);
    let body = world.body(&deal, &deal.official().sign(&deal.buyer));
    world.verify(&body).valid();
    let _ = world.settle(&body).paid();
    assert_eq!(world.earned_in(&plain), PRICE);

    let with_fee = world.chain.tokens[2].clone();
    assert!(with_fee.fee_basis_points > 0);
    let deal = world.deal_in(0, &with_fee);
    let body = world.body(&deal, &deal.official().sign(&deal.buyer));
    world.untouched(|| {
        let reason = schemes_svm::exact::reason::SIMULATION_FAILED;
        world.verify(&body).refused(reason);
        world.settle(&body).refused(reason);
    });
    assert_eq!(world.earned_in(&with_fee), 0);
}

#[test]
fn the_buyer_may_open_the_payees_account_where_the_operator_allows_it() {
    let world = SolanaWorld::builder()
        .config("create_ata = { mode = \"client\" }")
        .start();
    let newcomer = world.chain.newcomer.clone();
    let buyer = &world.chain.buyers[0];
    world
        .chain
        .set_lamports(&buyer.address, 1_000_000_000)
        .expect("the buyer has SOL for the rent");
    let deal = Deal {
        pay_to: text::address(&newcomer.address).expect("an address"),
        ..world.deal(0)
    };
    let creates = deal.draft(vec![
        limit(60_000),
        price(1),
        deal.create(deal.buyer.address()),
        deal.transfer(),
        memo("x"),
    ]);
    let body = world.body(&deal, &creates.sign(&deal.buyer));
    let lamports = world.lamports();
    world.verify(&body).valid();
    let _ = world.settle(&body).paid();
    let account = &newcomer.token_accounts[&world.chain.tokens[0].mint];
    assert_eq!(
        world.chain.token_account_balance(account).expect("it exists"),
        PRICE
    );
    assert_eq!(
        lamports - world.lamports(),
        FEE_LAMPORTS,
        "the rent is the buyer's"
    );
}

#[test]
fn t50_rent_is_paid_for_a_payee_only_as_often_as_the_operator_allows() {
    let world = SolanaWorld::builder()
        .config("create_ata = { mode = \"sponsor\", max_per_pay_to = 2 }")
        .start();
    let newcomer = world.chain.newcomer.clone();
    let account = newcomer.token_accounts[&world.chain.tokens[0].mint].clone();
    let settle = |text: &str| {
        let deal = Deal {
            pay_to: text::address(&newcomer.address).expect("an address"),
            ..world.deal(0)
        };
        let creates = deal.draft(vec![
            limit(60_000),
            price(1),
            deal.create(deal.fee_payer),
            deal.transfer(),
            memo(text),
        ]);
        world.settle(&world.body(&deal, &creates.sign(&deal.buyer)))
    };
    for round in ["first", "second"] {
        let _ = settle(round).paid();
        // The payee closes its account and keeps the rent.
        world
            .chain
            .set_lamports(&account, 0)
            .expect("the account is gone");
    }
    world.untouched(|| {
        let third = settle("third");
        assert!(!third.is_success(), "{third:?}");
        assert_eq!(third.field("transaction"), "");
    });
}

/// A wallet program's call of a transfer out of the wallet.
fn wallet_call(world: &SolanaWorld, wallet: usize, deal: &Deal, prefix: &[u8]) -> Part {
    let wallet = &world.chain.wallets[wallet];
    let address = |text: &str| text::address(text).expect("an address");
    let vault = address(&wallet.address);
    let mint = world.chain.tokens[0].mint.as_str();
    let mut data = prefix.to_vec();
    data.extend(deal.transfer().data);
    Part {
        program: address(&wallet.program),
        accounts: vec![
            (address(&wallet.owner), false),
            (vault, false),
            (TOKEN, false),
            (address(&wallet.token_accounts[mint]), true),
            (deal.mint, false),
            (deal.destination(), true),
            (vault, false),
        ],
        data,
    }
}

fn wallet_world() -> SolanaWorld {
    SolanaWorld::builder()
        .config("smart_wallets = { enabled = true }")
        .start()
}

/// A payment by what stands in for Squads; the wallet belongs to the second buyer.
fn wallet_payment(world: &SolanaWorld, prefix: &[u8]) -> (Deal, Vec<u8>) {
    let mut deal = world.deal(1);
    deal.buyer = key(&world.chain.buyers[1]);
    let call = wallet_call(world, 1, &deal, prefix);
    let draft = deal.draft(vec![limit(100_000), price(1), call]);
    let transaction = draft.sign(&deal.buyer);
    (deal, transaction)
}

#[test]
fn a_wallet_program_pays_by_an_inner_transfer_where_the_operator_allows_it() {
    let world = wallet_world();
    let (deal, transaction) = wallet_payment(&world, &[0]);
    let body = world.body(&deal, &transaction);
    world.verify(&body).valid();
    let reply = world.settle(&body);
    let _ = reply.paid();
    assert_eq!(
        reply.field("payer"),
        world.chain.wallets[1].address,
        "the transfer's authority"
    );
    assert_eq!(world.earned(), PRICE);

    // A program that is not on the list, and the same payment where wallets are not enabled.
    let deal = world.deal(1);
    let call = wallet_call(&world, 0, &deal, &[0]);
    let unlisted = deal.draft(vec![limit(100_000), price(1), call]).sign(&deal.buyer);
    let reply = world.untouched(|| world.settle(&world.body(&deal, &unlisted)));
    let reason = reply.field("errorReason");
    assert!(
        reason.starts_with(schemes_svm::exact::reason::WALLET_PROGRAM),
        "{reply:?}"
    );
    let closed = SolanaWorld::start();
    let (deal, transaction) = wallet_payment(&closed, &[0]);
    closed.untouched(|| {
        let unknown = schemes_svm::exact::reason::UNKNOWN_INSTRUCTION;
        closed.settle(&closed.body(&deal, &transaction)).refused(unknown);
    });
}

#[test]
fn t52_a_wallet_that_pays_only_in_the_simulation_is_not_answered_as_paid() {
    let world = wallet_world();
    // It pays in slots up to the next one, and only pretends afterwards.
    let slots = world.chain.freeze().expect("the clock stands");
    let mut prefix = vec![1];
    prefix.extend((slots.processed + 1).to_le_bytes());
    let (deal, transaction) = wallet_payment(&world, &prefix);
    let body = world.body(&deal, &transaction);
    world.verify(&body).valid();
    world.proxy.on("sendTransaction", Fault::HoldAnswer);
    world.chain.drop_incoming(true).expect("sends are lost for now");
    let client = world.facilitator.client().clone();
    let text = body.to_string();
    let caller = std::thread::spawn(move || client.post("/settle", text.as_bytes(), &[]).expect("an answer"));
    world.proxy.wait_for("sendTransaction");
    world.chain.advance(3).expect("time passes");
    world.chain.drop_incoming(false).expect("sends arrive again");
    world.proxy.heal();
    world.chain.resume().expect("the clock runs");
    let reply = caller.join().expect("joins");
    let signature = reply.failed(schemes_svm::exact::reason::NOT_CONFIRMED);
    assert!(!signature.is_empty());
    assert_eq!((world.earned(), world.landed().len()), (0, 1));
}

#[test]
fn t54_only_the_payees_own_associated_account_is_accepted() {
    let world = SolanaWorld::start();
    let deal = world.deal(0);
    let other = token::associated_account(
        &text::address(&world.chain.buyers[3].address).expect("an address"),
        &deal.mint,
        &TOKEN,
    );
    let mut draft = deal.official();
    draft.parts[2].accounts[2] = (other, true);
    let body = world.body(&deal, &draft.sign(&deal.buyer));
    world.untouched(|| {
        let reason = schemes_svm::exact::reason::RECIPIENT_MISMATCH;
        world.verify(&body).refused(reason);
        world.settle(&body).refused(reason);
    });
}
