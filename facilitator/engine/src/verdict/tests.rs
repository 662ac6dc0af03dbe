//! What follows from a poll of a slot in an unordered lane; some cases compare it with an ordered one.

use crate::decide::plan_check_tests::{kind, plan, settings};
use crate::decide::steps::Decided;
use crate::registry::NetworkSettings;
use crate::state::settlement::{Phase, Settlement};
use crate::state::slot::OpenSlot;
use crate::verdict::{Verdict, VerdictInput, View, verdict};
use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::chain::{BlockStands, GuardState, Lane, Observation, Shown, TxState};
use sdk_plugin::scheme::Plan;
use sdk_plugin::{Amount, HexBytes, ProtocolVersion, StepIndex, Value};
use tokio::time::{Instant, advance};

use journal::memory::MemoryJournal;
use journal::{
    AttemptKind, AttemptRow, CLIENT_SIGNED_FROM, GroundAt, NewAttempt, Outcome, SettlementRow, StepRow,
    StepState, record_attempt,
};

pub(crate) const NOW_S: u64 = 1_800_000_000;
/// The head when the transaction was made.
pub(crate) const SINCE: u64 = 10;

fn lane(ordered: bool) -> Lane {
    Lane {
        network: settings().id,
        signer: "payer".into(),
        key: "hot".into(),
        ordered,
    }
}

fn settlement(plan: Plan) -> Arc<Settlement> {
    let kind = kind();
    let row = SettlementRow {
        id: 7,
        claim: "c".into(),
        generation: 0,
        plugin: "test".into(),
        scheme: kind.scheme.clone(),
        version: ProtocolVersion::V2,
        network: settings().id,
        tenant: None,
        fingerprint: "f".into(),
        digest: "d".into(),
        request: "r".into(),
        payload: String::new(),
        replay_reason: "used".into(),
        replayable_until_s: None,
        payer: "p".into(),
        conflict_keys: Vec::new(),
        reference: String::new(),
        pay_to: String::new(),
        asset: String::new(),
        amount: None,
        idempotency_key: None,
        expires_at_s: None,
        home: None,
        handed_over: false,
        opened_at_ms: 0,
        updated_at_ms: 0,
        second_source: false,
        steps: vec![StepRow {
            state: StepState::Waiting,
            pays: true,
            is_final: false,
            ground: None,
        }],
        outcome: Outcome::Open,
        release: None,
        tx_id: None,
        finished: false,
        withheld: false,
        costs: Vec::new(),
    };
    let network = Arc::clone(&kind.network);
    let settlement = Settlement::new(row, Phase::Committed, network, Some(Arc::new(kind)), None);
    let _ = settlement.plan.set(Some(Arc::new(plan)));
    Arc::new(settlement)
}

/// A slot with this many attempts, sent just now.
pub(crate) async fn slot(ordered: bool, attempts: u64, plan: Plan) -> OpenSlot {
    slot_at(3, ordered, attempts, plan).await
}

async fn slot_at(sequence: u64, ordered: bool, attempts: u64, plan: Plan) -> OpenSlot {
    let journal = MemoryJournal::default();
    let mut recorded = Vec::new();
    for id in 1..=attempts {
        let row = AttemptRow {
            id,
            lane: lane(ordered),
            sequence,
            tx_id: format!("tx{id}"),
            kind: AttemptKind::Steps,
            covers: Vec::new(),
            max_cost: Amount::ZERO,
            bid: Value::Null,
            since_height: SINCE,
            prepared_at_ms: 0,
            sent: true,
        };
        let attempt = NewAttempt::new(row, HexBytes(vec![1]));
        recorded.push(record_attempt(&journal, Vec::new(), attempt).await.unwrap());
    }
    OpenSlot::new(
        recorded,
        lane(ordered),
        sequence,
        vec![(settlement(plan), StepIndex::FIRST)],
    )
}

async fn unordered() -> OpenSlot {
    slot(false, 1, plan()).await
}

pub(crate) fn seen(attempt: u64, state: TxState, head_height: u64) -> Observation {
    Observation {
        foreign_searched: true,
        ..Observation::of(attempt.to_string(), state, head_height)
    }
}

fn expired() -> TxState {
    TxState::Expired {
        proof: "block 161 is final".into(),
    }
}

fn landed(block: &str, depth: u64) -> TxState {
    TxState::Landed {
        height: 20,
        block: block.into(),
        depth,
    }
}

pub(crate) fn terms() -> NetworkSettings {
    NetworkSettings {
        confirmations: 2,
        finality: 5,
        ..settings()
    }
}

pub(crate) fn verdict_of_all(slot: &OpenSlot, seen: &[Observation]) -> Verdict {
    {
        let mut state = slot.lock();
        state.bids.head.get_or_insert(SINCE);
    }
    verdict(&VerdictInput {
        slot,
        state: &slot.lock(),
        seen,
        settings: &terms(),
        now_s: NOW_S,
    })
}

/// One poll, at a much higher head.
fn verdict_of(slot: &OpenSlot, state: TxState) -> Verdict {
    verdict_of_all(slot, &[seen(1, state, 1_000)])
}

pub(crate) fn judged(verdict: Verdict) -> View {
    match verdict {
        Verdict::Judge(view) => *view,
        other => panic!("nothing to judge: {other:?}"),
    }
}

fn decide(slot: &OpenSlot, state: TxState) -> Decided {
    match verdict_of(slot, state) {
        Verdict::Judge(view) => {
            slot.record_decision(view.decided.clone(), &view.shown);
            view.decided
        }
        other => panic!("nothing to judge: {other:?}"),
    }
}

/// Nothing landed, no node has shown it for long, and nodes have rejected it.
fn make_hopeless(slot: &OpenSlot) {
    slot.lock().sends.rejections = 100;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_transaction_is_resent_every_two_seconds() {
    let slot = unordered().await;
    advance(Duration::from_millis(1_999)).await;
    assert_eq!(verdict_of(&slot, TxState::Unknown), Verdict::Wait);
    advance(Duration::from_millis(1)).await;
    assert_eq!(verdict_of(&slot, TxState::Unknown), Verdict::Resend);
    slot.lock().command_pending = true;
    assert_eq!(
        verdict_of(&slot, TxState::Unknown),
        Verdict::Wait,
        "it is in flight"
    );
    {
        let mut state = slot.lock();
        state.command_pending = false;
        state.sends.last = Instant::now();
    }
    assert_eq!(verdict_of(&slot, TxState::Unknown), Verdict::Wait);
    advance(Duration::from_secs(2)).await;
    assert_eq!(verdict_of(&slot, TxState::Unknown), Verdict::Resend);
}

#[tokio::test(start_paused = true)]
async fn an_unordered_slot_is_never_replaced_or_filled() {
    let mut late = plan();
    late.steps[0].expires_at_s = Some(NOW_S - 1);
    for plan in [plan(), late] {
        let ours = slot(false, 1, plan.clone()).await;
        let ordered = slot(true, 1, plan).await;
        advance(Duration::from_secs(600)).await;
        // On an ordered lane the same requires an action.
        let stuck = verdict_of(&ordered, TxState::Pending);
        assert!(matches!(stuck, Verdict::Rebid | Verdict::Fill), "{stuck:?}");
        assert_eq!(verdict_of(&ours, TxState::Pending), Verdict::Wait);
        assert_eq!(verdict_of(&ours, TxState::Unknown), Verdict::Resend);
        make_hopeless(&ordered);
        assert_eq!(verdict_of(&ordered, TxState::Unknown), Verdict::Fill);
        make_hopeless(&ours);
        assert_eq!(verdict_of(&ours, TxState::Pending), Verdict::Wait);
        assert_eq!(verdict_of(&ours, TxState::Unknown), Verdict::Resend);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unordered_step_is_dead_only_with_a_proof_of_expiry() {
    let slot = unordered().await;
    advance(Duration::from_secs(600)).await;
    assert_eq!(
        verdict_of(&slot, TxState::Unknown),
        Verdict::Resend,
        "time is no proof"
    );
    let view = judged(verdict_of(&slot, expired()));
    let why = "block 161 is final".into();
    assert_eq!(view.shown, Shown::Dead { why });
    assert_eq!(view.decided.attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn one_attempt_that_has_not_expired_keeps_the_step_alive() {
    let slot = slot(false, 2, plan()).await;
    advance(Duration::from_secs(600)).await;
    let both = |first, second| verdict_of_all(&slot, &[seen(1, first, 1_000), seen(2, second, 1_000)]);
    assert_eq!(both(expired(), TxState::Unknown), Verdict::Resend);
    assert_eq!(both(TxState::Unknown, expired()), Verdict::Wait);
    assert_eq!(judged(both(expired(), expired())).decided.attempt, 2);
    let view = judged(both(landed("b", 2), expired()));
    assert_eq!(
        (view.decided.attempt, view.shown),
        (1, Shown::Landed { height: 20 })
    );
}

#[tokio::test(start_paused = true)]
async fn a_step_decided_as_dead_closes_its_slot() {
    for later in [expired(), TxState::Unknown, TxState::Pending] {
        let slot = unordered().await;
        decide(&slot, expired());
        assert!(matches!(verdict_of(&slot, later), Verdict::Close { .. }));
    }
}

/// A node has lied: either about the expiry, or now.
#[tokio::test(start_paused = true)]
async fn a_step_decided_as_dead_is_reopened_when_a_block_shows_it() {
    for block in ["b", "c"] {
        let slot = unordered().await;
        decide(&slot, expired());
        assert_eq!(verdict_of(&slot, landed(block, 1)), Verdict::Replaced);
        let reverted = TxState::Reverted {
            height: 20,
            block: block.into(),
            depth: 9,
            message: None,
        };
        assert_eq!(verdict_of(&slot, reverted), Verdict::Replaced);
        slot.lock().decision = None;
        assert_eq!(verdict_of(&slot, landed(block, 1)), Verdict::Wait);
        let again = decide(&slot, landed(block, 2));
        assert_eq!((again.at, again.height), (GroundAt::Block(block.into()), 20));
    }
}

#[tokio::test(start_paused = true)]
async fn a_landed_transaction_is_judged_at_confirmations_and_closed_at_finality() {
    let slot = unordered().await;
    assert_eq!(verdict_of(&slot, landed("b", 1)), Verdict::Wait);
    decide(&slot, landed("b", 2));
    assert_eq!(verdict_of(&slot, landed("b", 4)), Verdict::Stands { depth: 4 });
    assert_eq!(
        verdict_of(&slot, landed("b", 5)),
        Verdict::Close { by: "tx1".into() }
    );
}

#[tokio::test(start_paused = true)]
async fn a_decision_is_undone_by_another_block_and_not_by_absence() {
    let slot = unordered().await;
    decide(&slot, landed("b", 2));
    assert_eq!(
        verdict_of(&slot, landed("c", 1)),
        Verdict::Replaced,
        "in another block"
    );
    for gone in [
        TxState::Unknown,
        TxState::Pending,
        TxState::SlotUsed,
        TxState::Lapsed,
    ] {
        assert_eq!(
            verdict_of(&slot, gone.clone()),
            Verdict::Wait,
            "absence undoes nothing"
        );
        let stands = |block| {
            let observation = Observation {
                block: Some(block),
                ..seen(1, gone.clone(), 1_000)
            };
            verdict_of_all(&slot, &[observation])
        };
        assert_eq!(stands(BlockStands::Unknown), Verdict::Wait);
        assert_eq!(stands(BlockStands::Replaced), Verdict::Replaced);
        let deep = BlockStands::Canonical { depth: 4 };
        assert_eq!(stands(deep), Verdict::Stands { depth: 4 }, "its block is enough");
        let last = BlockStands::Canonical { depth: 5 };
        assert_eq!(stands(last), Verdict::Close { by: "tx1".into() });
    }
    assert_eq!(
        verdict_of(&slot, expired()),
        Verdict::Replaced,
        "proven not to have landed"
    );
    slot.lock().decision = None;
    advance(Duration::from_secs(2)).await;
    assert_eq!(
        verdict_of(&slot, TxState::Unknown),
        Verdict::Resend,
        "it may land again"
    );
    assert!(matches!(
        judged(verdict_of(&slot, expired())).shown,
        Shown::Dead { .. }
    ));
}

/// A client's own transaction beside a signer's, which ends at this second.
async fn client_signed(ends_s: u64) -> OpenSlot {
    let mut plan = plan();
    plan.steps[0].expires_at_s = Some(ends_s);
    slot_at(CLIENT_SIGNED_FROM + 3, false, 1, plan).await
}

/// It has no price and no nonce of ours: the same bytes are sent until its time is over, and what it did not do by then is no
/// ground for anything but not to continue.
#[tokio::test(start_paused = true)]
async fn a_client_s_transaction_is_resent_until_its_step_ends_and_then_given_up() {
    let slot = client_signed(NOW_S + 1).await;
    make_hopeless(&slot);
    advance(Duration::from_secs(3_600)).await;
    assert_eq!(verdict_of(&slot, TxState::Unknown), Verdict::Resend);
    assert_eq!(verdict_of(&slot, TxState::Pending), Verdict::Wait);

    let slot = client_signed(NOW_S).await;
    for state in [TxState::Unknown, TxState::Pending] {
        let view = judged(verdict_of(&slot, state));
        assert!(matches!(view.shown, Shown::Dead { .. }), "{:?}", view.shown);
        assert_eq!(view.guards, [GuardState::Absent]);
    }
    // A block that is not deep enough yet is waited for.
    assert_eq!(verdict_of(&slot, landed("b", 1)), Verdict::Wait);
    let view = judged(verdict_of(&slot, landed("b", 2)));
    assert_eq!(view.shown, Shown::Landed { height: 20 });
}

#[tokio::test(start_paused = true)]
async fn law4_a_signer_s_own_step_is_never_given_up_for_its_time() {
    let mut plan = plan();
    plan.steps[0].expires_at_s = Some(NOW_S);
    assert_eq!(
        verdict_of(&slot(false, 1, plan.clone()).await, TxState::Pending),
        Verdict::Wait
    );
    assert_eq!(
        verdict_of(&slot(true, 1, plan).await, TxState::Pending),
        Verdict::Fill
    );
}

/// A slot has one transaction: a confirmed fill shows that the step without a guard is not in it.
#[tokio::test(start_paused = true)]
async fn a_confirmed_fill_ends_a_step_without_a_guard() {
    let slot = slot(true, 1, plan()).await;
    {
        let mut state = slot.lock();
        let mut fill = (*state.attempts[0]).clone();
        fill.kind = AttemptKind::Fill;
        let recorded = NewAttempt::new(fill, HexBytes(vec![2]));
        let recorded = futures_util::FutureExt::now_or_never(record_attempt(
            &MemoryJournal::default(),
            Vec::new(),
            recorded,
        ));
        state.attempts[0] = recorded.expect("at once").expect("recorded");
    }
    assert_eq!(verdict_of(&slot, landed("b", 1)), Verdict::Wait);
    let view = judged(verdict_of(&slot, landed("b", 2)));
    assert!(matches!(view.shown, Shown::Dead { .. }), "{:?}", view.shown);
    assert_eq!(view.guards, [GuardState::Absent]);
}
