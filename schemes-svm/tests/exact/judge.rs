//! What evidence proves.

use schemes_svm::exact::reason;
use schemes_svm::testkit::Deal;
use sdk_plugin::chain::{Delta, Evidence, GuardState, LogEntry, Shown};
use sdk_plugin::scheme::{Judgement, Plan};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{Amount, HexBytes, PaymentRequest, SchemeHandler, StepIndex};
use solana_address::Address;

use crate::checks::{inner, inner_transfer, wallet};
use crate::world::{World, good, mint_2022, v1};

fn plan(request: &PaymentRequest) -> (World, Plan) {
    let deal = Deal::example();
    let world = World::configured(|config| config.smart_wallets.enabled = true).with(|chain| {
        if request.payload != good().payload {
            chain.inner = inner(&[inner_transfer(
                deal.mint,
                deal.destination(),
                deal.buyer.address(),
                10_000,
            )]);
            chain.shows_balances = false;
            chain.accounts.insert(deal.mint, mint_2022(None));
        }
    });
    let plan = world.plan(request).expect("a plan");
    (world, plan)
}

fn transfer(amount: u64, destination: Address) -> LogEntry {
    let deal = Deal::example();
    let part = Deal {
        amount,
        ..deal.clone()
    }
    .transfer();
    let accounts = [deal.source(), deal.mint, destination, deal.buyer.address()];
    LogEntry {
        id: "tx/2".into(),
        emitter: part.program.to_string(),
        topics: accounts
            .map(|account| HexBytes(account.to_bytes().to_vec()))
            .to_vec(),
        data: HexBytes(part.data),
    }
}

fn delta(account: Address, received: u64) -> Delta {
    Delta {
        id: format!("tx/balance/{account}"),
        account: account.to_string(),
        asset: Deal::example().mint.to_string(),
        received: Amount::from(received),
        sent: Amount::ZERO,
    }
}

fn landed(logs: Vec<LogEntry>, deltas: Vec<Delta>) -> Evidence {
    Evidence {
        step: StepIndex::FIRST,
        shown: Shown::Landed { height: 5 },
        tx_id: "tx".into(),
        head_height: 6,
        logs,
        deltas,
        reads: vec![],
        foreign: vec![],
        guard: GuardState::Absent,
        block_logs: vec![],
        shared: false,
    }
}

fn judged(request: &PaymentRequest, evidence: &Evidence) -> Judgement {
    let (world, plan) = plan(request);
    block_on(world.exact.judge(&world.cx(), &plan, evidence)).expect("no fault")
}

/// `Ok` with the items of proof, `Err` with the reason, or with the word `unproven`.
fn outcome(request: &PaymentRequest, evidence: &Evidence) -> Result<Vec<String>, String> {
    match judged(request, evidence) {
        Judgement::Paid(paid) => {
            assert_eq!(paid.tx_id, "tx");
            assert_eq!(paid.reply.payer, Deal::example().buyer.address().to_string());
            assert_eq!(paid.reply.amount, Some(request.requirements.amount));
            Ok(paid.items)
        }
        Judgement::NotPaid(refusal) => Err(refusal.reason),
        Judgement::Unproven { .. } => Err("unproven".into()),
        Judgement::Next => panic!("there is one step only"),
    }
}

#[test]
fn the_transfer_and_what_arrived_prove_a_payment() {
    let to = Deal::example().destination();
    let items = vec!["tx/2".to_owned(), format!("tx/balance/{to}")];
    assert_eq!(
        outcome(
            &good(),
            &landed(vec![transfer(10_000, to)], vec![delta(to, 10_000)])
        ),
        Ok(items)
    );
}

#[test]
fn a_landed_transaction_without_the_transfer_is_no_payment() {
    let to = Deal::example().destination();
    let elsewhere = Deal::example().source();
    for (logs, deltas) in [
        (vec![transfer(10_000, to)], vec![delta(to, 9_900)]),
        (vec![transfer(10_000, to)], vec![delta(to, 10_001)]),
        (vec![transfer(10_000, to)], vec![delta(elsewhere, 10_000)]),
        (vec![], vec![delta(to, 10_000)]),
        (vec![transfer(9_999, to)], vec![delta(to, 10_000)]),
        (vec![transfer(10_000, elsewhere)], vec![delta(to, 10_000)]),
    ] {
        let evidence = landed(logs, deltas);
        assert_eq!(
            outcome(&good(), &evidence),
            Err(reason::NOT_CONFIRMED.into()),
            "{evidence:?}"
        );
    }
    let mut other_asset = delta(to, 10_000);
    other_asset.asset = to.to_string();
    let evidence = landed(vec![transfer(10_000, to)], vec![other_asset]);
    assert_eq!(outcome(&good(), &evidence), Err(reason::NOT_CONFIRMED.into()));
    let evidence = landed(vec![transfer(10_000, to)], vec![]);
    assert_eq!(
        outcome(&good(), &evidence),
        Err("unproven".into()),
        "the node shows nothing"
    );
}

#[test]
fn t52_a_wallet_that_behaves_differently_on_chain_has_not_paid() {
    let to = Deal::example().destination();
    let request = wallet(|_| {});
    for enough in [10_000, 10_001] {
        let evidence = landed(vec![transfer(enough, to)], vec![delta(to, enough)]);
        assert_eq!(outcome(&request, &evidence).map(|items| items.len()), Ok(2));
    }
    let in_parts = landed(
        vec![transfer(5_000, to), transfer(5_000, to)],
        vec![delta(to, 10_000)],
    );
    assert_eq!(outcome(&request, &in_parts).map(|items| items.len()), Ok(1));
    for too_little in [
        landed(vec![], vec![delta(Deal::example().source(), 1)]),
        landed(vec![transfer(9_999, to)], vec![delta(to, 9_999)]),
        landed(vec![transfer(10_000, to)], vec![delta(to, 0)]),
    ] {
        assert_eq!(outcome(&request, &too_little), Err(reason::NOT_CONFIRMED.into()));
    }
}

#[test]
fn what_failed_or_can_not_land_has_not_paid() {
    for (request, expected) in [
        (good(), reason::TRANSACTION_FAILED),
        (v1(good()), "transaction_failed"),
    ] {
        for shown in [
            Shown::Reverted {
                height: 5,
                message: Some("{\"InstructionError\":[2,{\"Custom\":1}]}".into()),
            },
            Shown::Dead {
                why: "expired".into(),
            },
        ] {
            let evidence = Evidence {
                shown,
                ..landed(vec![], vec![])
            };
            assert_eq!(outcome(&request, &evidence), Err(expected.to_owned()));
        }
    }
}

#[test]
fn a_step_or_memo_of_another_payment_is_a_fault() {
    let (world, mut plan) = plan(&good());
    let judge = |plan: &Plan, evidence: &Evidence| block_on(world.exact.judge(&world.cx(), plan, evidence));
    let mut evidence = landed(vec![], vec![]);
    evidence.step = StepIndex::new(1);
    assert!(judge(&plan, &evidence).is_err());
    plan.steps[0].memo = sdk_plugin::Value::Null;
    assert!(judge(&plan, &landed(vec![], vec![])).is_err());
}
