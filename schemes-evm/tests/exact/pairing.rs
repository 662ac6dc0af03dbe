//! Which transfer belongs to which use of an authorization, when a transaction has several (exact-evm.md section 13).

use proptest::prelude::*;
use sdk_plugin::HexBytes;
use sdk_plugin::chain::{Evidence, GuardState, LogEntry, Shown};
use sdk_plugin::scheme::Judgement;

use super::judge::{OTHER_NONCE, OWN, evidence, judge, moved, used};
use super::law4::canceled;
use crate::world::{ASSET, NONCE, OTHER, PAYEE, PAYER};

const PRICE: u64 = 10_000;

/// `u`: a use of our nonce, `o`: of another one of the payer, `s`: a stranger's use; `t`: the exact transfer, `f`: one of
/// the payer to another payee, `e`: a stranger's.
fn logs(story: &str) -> Vec<LogEntry> {
    let log = |(index, event): (usize, char)| {
        let index = u64::try_from(index).unwrap();
        match event {
            'u' => used(index, ASSET, PAYER, NONCE),
            'o' => used(index, ASSET, PAYER, OTHER_NONCE),
            's' => used(index, ASSET, OTHER, NONCE),
            't' => moved(index, ASSET, PAYER, PAYEE, PRICE),
            'f' => moved(index, ASSET, PAYER, OTHER, PRICE),
            'e' => moved(index, ASSET, OTHER, PAYEE, PRICE),
            other => panic!("{other}"),
        }
    };
    story.chars().enumerate().map(log).collect()
}

/// The transfer's position when ours is paid; otherwise the result.
fn judged(evidence: &Evidence) -> Result<String, &'static str> {
    match judge(evidence) {
        Judgement::Paid(paid) => Ok(paid.items[1].clone()),
        Judgement::NotPaid(_) => Err("failed"),
        Judgement::Unproven { .. } => Err("open"),
        other => panic!("{other:?}"),
    }
}

fn ours(story: &str) -> Result<String, &'static str> {
    judged(&evidence(Shown::Landed { height: 110 }, logs(story), vec![]))
}

fn others(story: &str) -> Result<String, &'static str> {
    let dead = Shown::Dead { why: "gone".into() };
    judged(&Evidence {
        guard: GuardState::Changed,
        ..evidence(dead, vec![], vec![logs(story)])
    })
}

#[test]
fn t116_a_token_may_report_the_transfer_first_and_one_transfer_pays_one_use() {
    assert_eq!(ours("tu"), Ok(format!("{OWN}/0")));
    assert!(others("tu").is_ok());
    // A batch of two equal payments: two successes, each by a transfer of its own.
    let other = |story: &str| {
        let swapped: String = story
            .chars()
            .map(|event| match event {
                'u' => 'o',
                'o' => 'u',
                other => other,
            })
            .collect();
        ours(&swapped)
    };
    for story in ["tutu", "uutt", "ttuu"] {
        let story = story.replacen('u', "o", 1);
        let (mine, others) = (ours(&story), other(&story));
        assert!(
            mine.is_ok() && others.is_ok() && mine != others,
            "{story}: {mine:?} {others:?}"
        );
    }
    // One transfer for two uses: one success.
    for story in ["otu", "tou", "out"] {
        let paid = [ours(story), other(story)];
        assert_eq!(
            paid.iter().filter(|paid| paid.is_ok()).count(),
            1,
            "{story}: {paid:?}"
        );
    }
}

#[test]
fn transfers_are_attributed_by_the_tokens_own_order() {
    for (story, transfer) in [
        ("ut", Some(1)),
        ("tu", Some(0)),
        // Alternating, in both orders: each its own.
        ("otut", Some(3)),
        ("utot", Some(1)),
        ("totu", Some(2)),
        ("tuto", Some(0)),
        ("ofut", Some(3)),
        ("tufo", Some(0)),
        ("utof", Some(1)),
        // Fewer transfers than uses: the order decides whose it is, use first where that is open.
        ("uot", None),
        ("out", Some(2)),
        ("uto", Some(1)),
        ("otu", None),
        ("tuo", Some(0)),
        ("tou", None),
        // As many as uses, in no order at all: all are proven, each by another one.
        ("uott", Some(3)),
        ("outt", Some(2)),
        ("ttou", Some(0)),
        ("ttuo", Some(1)),
        // Events of other payers do not count.
        ("uset", Some(3)),
        ("seut", Some(3)),
        ("ustt", Some(2)),
        // A use alone, a transfer alone, another payee.
        ("u", None),
        ("t", None),
        ("uf", None),
        ("fu", None),
    ] {
        let item = transfer.map(|index: u64| format!("{OWN}/{index}"));
        assert_eq!(ours(story).ok(), item, "{story}");
    }
}

#[test]
fn in_our_own_transaction_a_fee_may_come_between_use_and_transfer() {
    assert_eq!(ours("uft"), Ok(format!("{OWN}/2")));
    assert_eq!(ours("tfu"), Ok(format!("{OWN}/0")));
    assert_eq!(ours("oftuft"), Ok(format!("{OWN}/5")));
}

#[test]
fn a_nonce_that_was_signed_twice_is_not_paid_by_another_payments_transfer() {
    // Ours went to another payee; the transfer to payTo is of the other authorization, in either order.
    for story in ["ufot", "otuf", "futo", "tofu"] {
        assert_eq!(others(story), Err("failed"), "{story}");
    }
    // The payer adds a transfer of its own, which makes both readings possible: nothing is decided.
    for story in ["uft", "fut", "tuf", "tfu"] {
        assert_eq!(others(story), Err("open"), "{story}");
    }
    // It is paid in whichever order the token reports.
    for story in ["ut", "tu", "utt", "ttu", "tut", "utf", "ftu", "ftut"] {
        assert!(others(story).is_ok(), "{story}");
    }
}

#[test]
fn hostile_logs_prove_nothing() {
    let dead = || Shown::Dead { why: "gone".into() };
    let with = |change: fn(&mut LogEntry)| {
        let mut logs = logs("ut");
        logs.iter_mut().for_each(change);
        Evidence {
            guard: GuardState::Changed,
            ..evidence(dead(), vec![], vec![logs])
        }
    };
    for change in [
        (|log| log.topics[1].0[0] ^= 1) as fn(&mut LogEntry),
        |log| log.topics[2].0[31] ^= 1,
        |log| log.topics.truncate(2),
        |log| log.topics.push(HexBytes(vec![0; 32])),
        |log| log.topics[0].0.push(0),
        |log| log.topics.clear(),
        |log| log.emitter = "0x".into(),
        |log| log.emitter = OTHER.into(),
    ] {
        assert_eq!(judged(&with(change)), Err("open"));
    }
    // Data where the event has none, none where it has some.
    assert_eq!(judged(&with(|log| log.data = HexBytes(vec![1]))), Err("open"));
    let mut cancellation = canceled(0, ASSET, PAYER, NONCE);
    cancellation.data = HexBytes(vec![0; 32]);
    let evidence = Evidence {
        guard: GuardState::Changed,
        ..evidence(dead(), vec![], vec![vec![cancellation]])
    };
    assert_eq!(judged(&evidence), Err("open"));
}

/// One part of a stranger's transaction, and whether the exact amount goes to our payee by it.
#[derive(Debug, Clone, Copy)]
enum Act {
    Ours(bool),
    OtherNonce(bool),
    /// Made by the payer itself.
    Transfer(bool),
}

fn act() -> impl Strategy<Value = Act> {
    (any::<bool>(), any::<bool>()).prop_map(|(is_use, exact)| match is_use {
        true => Act::OtherNonce(exact),
        false => Act::Transfer(exact),
    })
}

proptest! {
    /// On a token that keeps its order, however the transaction is arranged: never paid by an unrelated transfer, never
    /// failed where our authorization paid.
    #[test]
    fn t33_a_strangers_transaction_is_never_misread(
        mut acts in prop::collection::vec(act(), 0..7), place in 0usize..7, exact in any::<bool>(),
        use_first in any::<bool>(),
    ) {
        acts.insert(place.min(acts.len()), Act::Ours(exact));
        let story: String = acts
            .iter()
            .flat_map(|act| {
                let (event, exact) = match *act {
                    Act::Ours(exact) => (Some('u'), exact),
                    Act::OtherNonce(exact) => (Some('o'), exact),
                    Act::Transfer(exact) => (None, exact),
                };
                let moved = Some(if exact { 't' } else { 'f' });
                let pair = if use_first { [event, moved] } else { [moved, event] };
                pair.into_iter().flatten()
            })
            .collect();
        match others(&story) {
            Ok(_) => prop_assert!(exact, "{story} paid"),
            Err("failed") => prop_assert!(!exact, "{story} failed"),
            Err(_) => {}
        }
    }

    /// Of our own transaction, which submits each authorization as it was signed for us: paid, with transfers that differ.
    #[test]
    fn our_own_batch_is_proven_whole(uses in 1usize..6, place in 0usize..6, use_first in any::<bool>()) {
        let ours_at = place % uses;
        let story: String = (0..uses)
            .map(|at| match (at == ours_at, use_first) {
                (true, true) => "ut",
                (true, false) => "tu",
                (false, true) => "ot",
                (false, false) => "to",
            })
            .collect();
        let transfer = 2 * ours_at + usize::from(use_first);
        prop_assert_eq!(ours(&story), Ok(format!("{OWN}/{transfer}")));
    }
}
