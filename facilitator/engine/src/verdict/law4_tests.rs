//! Law 4 as a table: every row of proof.md section 1, as far as the engine decides it. How each scheme judges a row is
//! in the scheme's own table.

use super::tests::{NOW_S, SINCE, judged, seen, slot, terms, verdict_of_all};
use crate::decide::plan_check_tests::{plan, settings};
use crate::state::slot::{OpenSlot, Search};
use crate::verdict::watches::watches_of;
use crate::verdict::{Source, Verdict};
use std::time::Duration;

use sdk_plugin::HexBytes;
use sdk_plugin::chain::{Anchor, BlockRef, BlockStands, ForeignTx, GuardState, Observation, Shown, TxState};
use sdk_plugin::scheme::{Guard, LogFilter, Plan, ReadAt, ReadWanted};
use tokio::time::{Instant, advance};

use journal::{Ground, GroundAt};

/// A plan whose only step names a guard and logs that foreign transactions could leave.
fn guarded() -> Plan {
    let mut plan = plan();
    let evidence = &mut plan.steps[0].evidence;
    evidence.guard = Some(Guard {
        read: ReadWanted {
            name: "used".into(),
            target: "token".into(),
            data: HexBytes(vec![1]),
            required: false,
            at: ReadAt::Block,
        },
        mask: HexBytes(vec![1]),
        unchanged: HexBytes(vec![0]),
    });
    evidence.foreign = vec![LogFilter {
        emitter: "token".into(),
        topics: Vec::new(),
    }];
    plan
}

fn anchor(guard: GuardState, next_sequence: u64) -> Anchor {
    Anchor {
        block: BlockRef {
            id: "u".into(),
            height: 30,
            time_s: NOW_S,
        },
        next_sequence,
        guards: vec![guard],
        reads: Vec::new(),
    }
}

fn foreign(tx_id: &str, height: u64, depth: u64) -> ForeignTx {
    ForeignTx {
        tx_id: tx_id.into(),
        height,
        block: format!("b{height}"),
        earlier: false,
        in_slot: false,
        call: None,
        depth,
        logs: Vec::new(),
    }
}

/// What a node shows of a slot that is used without a receipt of ours.
fn used(block: Option<BlockStands>) -> Observation {
    Observation {
        block,
        ..seen(1, TxState::SlotUsed, 1_000)
    }
}

/// A slot that was found used, with the state of its guard there.
async fn found_used(guard: GuardState) -> OpenSlot {
    let slot = slot(true, 1, guarded()).await;
    slot.lock().anchor = Some(anchor(guard, 4));
    slot.lock().reads.search = Search::On;
    slot
}

const DEEP: BlockStands = BlockStands::Canonical { depth: 5 };
const SHALLOW: BlockStands = BlockStands::Canonical { depth: 4 };

#[tokio::test(start_paused = true)]
async fn law4_our_own_success_is_judged_at_confirmations_whatever_else_is_shown() {
    let slot = slot(true, 2, guarded()).await;
    let landed = |depth| TxState::Landed {
        height: 20,
        block: "b".into(),
        depth,
    };
    let both =
        |first: TxState| verdict_of_all(&slot, &[seen(1, first, 1_000), seen(2, TxState::SlotUsed, 1_000)]);
    assert_eq!(both(landed(1)), Verdict::Wait);
    let view = judged(both(landed(2)));
    assert_eq!(view.shown, Shown::Landed { height: 20 });
    assert_eq!(view.decided.at, GroundAt::Block("b".into()));
}

#[tokio::test(start_paused = true)]
async fn law4_a_receipt_that_lacks_the_events_is_compared_with_the_guard_and_other_logs() {
    let slot = slot(true, 2, guarded()).await;
    let landed = |guard| Observation {
        anchor: Some(anchor(guard, 4)),
        ..seen(
            1,
            TxState::Landed {
                height: 20,
                block: "b".into(),
                depth: 2,
            },
            1_000,
        )
    };
    let verdict_of = |guard, found: Vec<ForeignTx>| {
        let newest = Observation {
            foreign: found,
            ..seen(2, TxState::SlotUsed, 1_000)
        };
        judged(verdict_of_all(&slot, &[landed(guard), newest]))
    };
    let unchanged = verdict_of(GuardState::Unchanged, vec![]);
    assert_eq!(
        (unchanged.guards, unchanged.source),
        (vec![GuardState::Unchanged], Source::Receipt)
    );
    slot.lock().reads.search = Search::On;
    // Nothing is found: the scheme gets the receipt and the changed guard, which together decide nothing.
    let nothing = verdict_of(GuardState::Changed, vec![]);
    assert_eq!(
        (nothing.guards, nothing.source),
        (vec![GuardState::Changed], Source::Receipt)
    );
    // Its own logs show more than its receipt. They may prove the effect, but nothing against it.
    let own = verdict_of(GuardState::Changed, vec![foreign("TX1", 20, 2)]);
    assert_eq!((own.decided.attempt, own.source), (1, Source::Logs));
    // T-111: another transaction used the authorization before.
    let other = verdict_of(GuardState::Changed, vec![foreign("theirs", 19, 2)]);
    assert_eq!(other.decided.attempt, 1);
    assert_eq!(other.foreign.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn law4_a_reverted_receipt_is_a_failure_only_with_the_guard_unchanged() {
    let reverted = |depth| TxState::Reverted {
        height: 20,
        block: "b".into(),
        depth,
        message: None,
    };
    let shown = |guard: Option<GuardState>, depth| Observation {
        anchor: guard.map(|guard| anchor(guard, 4)),
        ..seen(1, reverted(depth), 1_000)
    };
    let slot = slot(true, 1, guarded()).await;
    assert_eq!(
        verdict_of_all(&slot, &[shown(Some(GuardState::Unchanged), 1)]),
        Verdict::Wait
    );
    assert_eq!(verdict_of_all(&slot, &[shown(None, 9)]), Verdict::ReadGuards);
    assert_eq!(
        verdict_of_all(&slot, &[shown(Some(GuardState::Unread), 9)]),
        Verdict::ReadGuards
    );
    let view = judged(verdict_of_all(&slot, &[shown(Some(GuardState::Unchanged), 2)]));
    assert_eq!((view.guards, view.foreign), (vec![GuardState::Unchanged], vec![]));

    // Something changed the guard: it is searched for. Finding nothing proves nothing.
    let changed = |depth| shown(Some(GuardState::Changed), depth);
    assert_eq!(verdict_of_all(&slot, &[changed(2)]), Verdict::SearchForeign);
    slot.lock().reads.search = Search::On;
    assert_eq!(verdict_of_all(&slot, &[changed(4)]), Verdict::Wait);
    assert_eq!(
        verdict_of_all(&slot, &[changed(5)]),
        Verdict::Used,
        "final: never sent again"
    );
    let explained = Observation {
        foreign: vec![foreign("theirs", 19, 9)],
        ..changed(2)
    };
    let view = judged(verdict_of_all(&slot, &[explained]));
    assert!(matches!(view.shown, Shown::Reverted { .. }));
    assert_eq!(view.decided.foreign.as_deref(), Some("theirs"));
}

#[tokio::test(start_paused = true)]
async fn law4_a_nonce_that_is_not_past_the_slot_means_resend_bid_again_or_fill() {
    let ours = slot(true, 1, guarded()).await;
    ours.lock().bids.head = Some(SINCE);
    assert_eq!(
        verdict_of_all(&ours, &[seen(1, TxState::Unknown, 1_000)]),
        Verdict::Wait
    );
    advance(Duration::from_secs(2)).await;
    assert_eq!(
        verdict_of_all(&ours, &[seen(1, TxState::Unknown, SINCE)]),
        Verdict::Resend
    );
    advance(Duration::from_secs(600)).await;
    assert_eq!(
        verdict_of_all(&ours, &[seen(1, TxState::Pending, 1_000)]),
        Verdict::Rebid
    );
    let mut late = guarded();
    late.steps[0].expires_at_s = Some(NOW_S);
    let late = slot(true, 1, late).await;
    assert_eq!(
        verdict_of_all(&late, &[seen(1, TxState::Pending, 1_000)]),
        Verdict::Fill
    );
}

#[tokio::test(start_paused = true)]
async fn law4_rejection_messages_alone_cause_no_fill() {
    let ours = slot(true, 1, guarded()).await;
    ours.lock().sends.rejections = 100;
    ours.lock().sends.last = Instant::now() + Duration::from_secs(3_600);
    assert_eq!(
        verdict_of_all(&ours, &[seen(1, TxState::Pending, 1_000)]),
        Verdict::Wait
    );
}

#[tokio::test(start_paused = true)]
async fn law4_a_used_slot_needs_a_named_block_before_anything_is_concluded() {
    let ours = slot(true, 1, guarded()).await;
    assert_eq!(verdict_of_all(&ours, &[used(None)]), Verdict::ReadGuards);
    let with = |anchor| Observation {
        anchor: Some(anchor),
        ..used(None)
    };
    // The node that read the state at the named block does not show the slot used there.
    assert_eq!(
        verdict_of_all(&ours, &[with(anchor(GuardState::Unchanged, 3))]),
        Verdict::ReadGuards
    );
    assert_eq!(
        verdict_of_all(&ours, &[with(anchor(GuardState::Unchanged, 4))]),
        Verdict::KeepAnchor
    );
}

#[tokio::test(start_paused = true)]
async fn law4_a_slot_is_not_used_while_a_transaction_of_ours_waits_for_it() {
    let ours = slot(true, 2, guarded()).await;
    ours.lock().anchor = Some(anchor(GuardState::Unchanged, 4));
    let newest = used(Some(DEEP));
    let first = |state| seen(1, state, 1_000);
    let verdict_of = |state| verdict_of_all(&ours, &[first(state), newest.clone()]);
    assert_eq!(verdict_of(TxState::Pending), Verdict::Wait);
    assert_eq!(verdict_of(TxState::SlotUsed), Verdict::Used);
}

#[tokio::test(start_paused = true)]
async fn law4_a_used_slot_waits_until_its_block_is_final() {
    for guard in [GuardState::Unchanged, GuardState::Changed, GuardState::Absent] {
        let ours = found_used(guard).await;
        assert_eq!(
            verdict_of_all(&ours, &[used(None)]),
            Verdict::Wait,
            "{guard:?}: no answer"
        );
        assert_eq!(
            verdict_of_all(&ours, &[used(Some(BlockStands::Unknown))]),
            Verdict::Wait,
            "{guard:?}"
        );
        assert_eq!(
            verdict_of_all(&ours, &[used(Some(SHALLOW))]),
            Verdict::Wait,
            "{guard:?}: not final"
        );
        assert_eq!(
            verdict_of_all(&ours, &[used(Some(BlockStands::Replaced))]),
            Verdict::DropAnchor,
            "{guard:?}"
        );
        assert_eq!(
            verdict_of_all(&ours, &[used(Some(DEEP))]),
            Verdict::Used,
            "{guard:?}"
        );
    }
    let unread = found_used(GuardState::Unread).await;
    assert_eq!(
        verdict_of_all(&unread, &[used(Some(DEEP))]),
        Verdict::DropAnchor,
        "a guard must be read"
    );
}

#[tokio::test(start_paused = true)]
async fn law4_a_changed_guard_is_explained_by_our_own_transaction_without_its_receipt() {
    let ours = found_used(GuardState::Changed).await;
    let found = |depth| Observation {
        foreign: vec![foreign("TX1", 20, depth)],
        ..used(Some(SHALLOW))
    };
    assert_eq!(
        verdict_of_all(&ours, &[found(1)]),
        Verdict::Wait,
        "not deep enough yet"
    );
    let view = judged(verdict_of_all(&ours, &[found(2)]));
    assert_eq!(view.shown, Shown::Landed { height: 20 });
    assert_eq!(
        (view.decided.attempt, view.decided.at),
        (1, GroundAt::Block("b20".into()))
    );
}

#[tokio::test(start_paused = true)]
async fn law4_a_changed_guard_is_explained_by_a_foreign_transaction_after_our_attempt() {
    let ours = found_used(GuardState::Changed).await;
    let found = |height, depth| Observation {
        foreign: vec![foreign("theirs", height, depth)],
        ..used(Some(SHALLOW))
    };
    assert_eq!(
        verdict_of_all(&ours, &[found(SINCE + 1, 1)]),
        Verdict::Wait,
        "not deep enough yet"
    );
    let before = judged(verdict_of_all(&ours, &[found(SINCE, 9)]));
    assert!(
        before.foreign[0].earlier,
        "it explains a failure and pays nothing"
    );
    let view = judged(verdict_of_all(&ours, &[found(SINCE + 1, 2)]));
    assert!(matches!(view.shown, Shown::Dead { .. }));
    assert_eq!(view.guards, [GuardState::Changed]);
    assert!(!view.foreign[0].earlier);
    assert_eq!(view.decided.foreign.as_deref(), Some("theirs"));
    assert_eq!(view.decided.at, GroundAt::Block("b11".into()));

    // The foreign transaction's block is followed until it is final, then the slot's own use.
    ours.record_decision(view.decided, &view.shown);
    assert_eq!(
        verdict_of_all(&ours, &[used(Some(SHALLOW))]),
        Verdict::Stands { depth: 4 }
    );
    assert_eq!(
        verdict_of_all(&ours, &[used(Some(BlockStands::Replaced))]),
        Verdict::Replaced
    );
    assert_eq!(verdict_of_all(&ours, &[used(Some(DEEP))]), Verdict::GroundFinal);
    ours.lock().decision.as_mut().unwrap().make_final();
    let depth = terms().finality;
    assert_eq!(
        verdict_of_all(&ours, &[used(Some(SHALLOW))]),
        Verdict::Stands { depth }
    );
    // A reorganisation freed the slot again, and every node forgot its transaction.
    advance(Duration::from_secs(2)).await;
    assert_eq!(
        verdict_of_all(&ours, &[seen(1, TxState::Unknown, 1_000)]),
        Verdict::Resend
    );
    assert_eq!(verdict_of_all(&ours, &[used(Some(DEEP))]), Verdict::CloseDecided);
}

#[tokio::test(start_paused = true)]
async fn law4_a_revert_that_turns_out_to_be_a_success_in_its_block_is_undone() {
    for (is_in_journal, restarted) in [(false, false), (true, false), (true, true)] {
        let ours = slot(true, 1, guarded()).await;
        let reverted = TxState::Reverted {
            height: 20,
            block: "b".into(),
            depth: 2,
            message: None,
        };
        let reverted = Observation {
            anchor: Some(anchor(GuardState::Unchanged, 4)),
            ..seen(1, reverted, 1_000)
        };
        let view = judged(verdict_of_all(&ours, std::slice::from_ref(&reverted)));
        if is_in_journal {
            let (settlement, _) = &ours.covers[0];
            settlement.lock().row.steps[0].ground = Some(Ground {
                attempt: view.decided.attempt,
                at: view.decided.at.clone(),
                height: view.decided.height,
                foreign: None,
                reverted: true,
            });
        }
        if restarted {
            ours.resume_decision();
        } else {
            ours.record_decision(view.decided, &view.shown);
        }
        assert_eq!(verdict_of_all(&ours, &[reverted]), Verdict::Stands { depth: 2 });
        assert!(
            watches_of(&ours, &settings(), 21, None)
                .iter()
                .all(|watch| !watch.by_block),
            "the block alone does not show the revert"
        );
        let landed = TxState::Landed {
            height: 20,
            block: "b".into(),
            depth: 2,
        };
        assert_eq!(
            verdict_of_all(&ours, &[seen(1, landed, 1_000)]),
            Verdict::Replaced,
            "decision in the journal: {is_in_journal}, restarted: {restarted}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn law4_a_deciding_transaction_that_no_node_knows_is_resent_and_stays_decided() {
    // Its decision stands until another block is shown in place of its block. The same bytes can land at most once.
    let ours = slot(true, 1, guarded()).await;
    let landed = TxState::Landed {
        height: 20,
        block: "b".into(),
        depth: 2,
    };
    let view = judged(verdict_of_all(&ours, &[seen(1, landed, 1_000)]));
    ours.record_decision(view.decided, &view.shown);
    let unknown = |block| Observation {
        block,
        ..seen(1, TxState::Unknown, 1_000)
    };
    let in_no_block = [None, Some(BlockStands::Unknown)];
    for block in in_no_block {
        assert_eq!(
            verdict_of_all(&ours, &[unknown(block)]),
            Verdict::Wait,
            "just sent"
        );
    }
    advance(Duration::from_secs(2)).await;
    for block in in_no_block {
        assert_eq!(verdict_of_all(&ours, &[unknown(block)]), Verdict::Resend);
        let known = Observation {
            block,
            ..seen(1, TxState::Pending, 1_000)
        };
        assert_eq!(verdict_of_all(&ours, &[known]), Verdict::Wait, "a node has it");
        assert_eq!(
            verdict_of_all(&ours, &[used(block)]),
            Verdict::Wait,
            "its receipt lags"
        );
    }
    assert_eq!(
        verdict_of_all(&ours, &[unknown(Some(SHALLOW))]),
        Verdict::Stands { depth: 4 },
        "its block stands"
    );
    assert_eq!(
        verdict_of_all(&ours, &[unknown(Some(BlockStands::Replaced))]),
        Verdict::Replaced
    );
}

#[tokio::test(start_paused = true)]
async fn law4_foreign_transactions_that_explain_nothing_keep_no_slot_open() {
    let ours = found_used(GuardState::Changed).await;
    let found = |depth| Observation {
        foreign: vec![foreign("theirs", 19, 2)],
        ..used(Some(depth))
    };
    assert!(matches!(verdict_of_all(&ours, &[found(DEEP)]), Verdict::Judge(_)));
    // The scheme has seen it and needs more: the search continues without the slot.
    ours.lock().reads.search = Search::ExplainsNothing;
    assert!(matches!(
        verdict_of_all(&ours, &[found(SHALLOW)]),
        Verdict::Judge(_)
    ));
    assert_eq!(verdict_of_all(&ours, &[found(DEEP)]), Verdict::Used);
}

#[tokio::test(start_paused = true)]
async fn law4_a_search_that_finds_nothing_proves_nothing() {
    for searched in [false, true] {
        let ours = found_used(GuardState::Changed).await;
        let nothing = Observation {
            foreign_searched: searched,
            ..used(Some(SHALLOW))
        };
        assert_eq!(verdict_of_all(&ours, &[nothing]), Verdict::Wait);
    }
    let ours = found_used(GuardState::Changed).await;
    ours.lock().reads.search = Search::Off;
    assert_eq!(
        verdict_of_all(&ours, &[used(Some(SHALLOW))]),
        Verdict::SearchForeign
    );
}

#[tokio::test(start_paused = true)]
async fn law4_a_used_slot_is_not_in_flight_and_an_undecided_one_is() {
    let ours = found_used(GuardState::Changed).await;
    assert!(!ours.is_in_flight());
    ours.lock().anchor = None;
    assert!(ours.is_in_flight());
    ours.lock().record_poll(&[seen(1, TxState::Lapsed, 1_000)]);
    assert!(!ours.is_in_flight(), "its height has passed");
}
