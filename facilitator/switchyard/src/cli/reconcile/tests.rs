//! The comparison, over rows and observations that are made up.

use std::collections::BTreeMap;

use sdk_plugin::Amount;
use sdk_plugin::chain::{Anchor, BlockRef, Lane, Observation, TxState};

use super::claims::{Claim, Claims, Slot};
use super::compare::{self, Findings, Kind, Seen};

const NETWORK: &str = "eip155:84532";

fn lane() -> Lane {
    Lane {
        network: NETWORK.into(),
        signer: "0xa".into(),
        key: String::new(),
        ordered: true,
    }
}

fn claim(change: impl FnOnce(&mut Claim)) -> Claim {
    let mut claim = Claim {
        tx_id: "0xT1".into(),
        slot: Some((lane(), 4)),
        in_block: true,
        effect: Some(true),
        height: Some(50),
        fee: Some(Amount::from(7_u64)),
    };
    change(&mut claim);
    claim
}

fn claims(claim: Claim) -> Claims {
    Claims {
        network: NETWORK.into(),
        payment: "ref".into(),
        status: "settled",
        is_open: false,
        claims: BTreeMap::from([(claim.tx_id.to_lowercase(), claim)]),
        slots: Vec::new(),
    }
}

fn landed(height: u64) -> TxState {
    TxState::Landed {
        height,
        block: "0xb".into(),
        depth: 3,
    }
}

fn reverted(height: u64) -> TxState {
    TxState::Reverted {
        height,
        block: "0xb".into(),
        depth: 3,
        message: None,
    }
}

fn seen(state: TxState) -> Observation {
    Observation {
        fee: Some(Amount::from(7_u64)),
        ..Observation::of("0xt1", state, 60)
    }
}

fn unused_nonce(state: TxState, next_sequence: u64) -> Observation {
    let anchor = Anchor {
        block: BlockRef {
            id: "0xb".into(),
            height: 60,
            time_s: 0,
        },
        next_sequence,
        guards: Vec::new(),
        reads: Vec::new(),
    };
    Observation {
        anchor: Some(anchor),
        ..Observation::of("0xt1", state, 60)
    }
}

/// The kinds of differences, and how many transactions could not be read.
fn compared(claim: Claim, observation: Option<Observation>, lowest: Option<u64>) -> (Vec<Kind>, usize) {
    let mut all = Seen::default();
    if let Some(observation) = observation {
        all.add(NETWORK, "0xt1", observation);
    }
    if let Some(height) = lowest {
        all.add(NETWORK, "0xother", seen(landed(height)));
    }
    let mut found = Findings::default();
    compare::settlement(&claims(claim), &all, &mut found);
    let kinds = found.differences.iter().map(|difference| difference.kind);
    (kinds.collect(), found.unread.len())
}

#[test]
fn what_the_chain_shows_otherwise_is_a_difference() {
    let not_paid = |claim: &mut Claim| {
        claim.effect = Some(false);
        claim.in_block = false;
    };
    for (claim, state, expected) in [
        (claim(|_| {}), landed(50), vec![]),
        (claim(|_| {}), reverted(50), vec![Kind::Reverted]),
        (claim(not_paid), landed(50), vec![Kind::Landed]),
        (claim(not_paid), reverted(50), vec![]),
        (claim(not_paid), TxState::SlotUsed, vec![]),
        (claim(|claim| claim.effect = None), reverted(50), vec![]),
        (
            claim(|claim| claim.fee = Some(Amount::from(8_u64))),
            landed(50),
            vec![Kind::Fee],
        ),
        // A fee that is not recorded is no difference.
        (claim(|claim| claim.fee = None), landed(50), vec![]),
    ] {
        let result = compared(claim.clone(), Some(seen(state.clone())), None);
        assert_eq!(result, (expected, 0), "{claim:?} {state:?}");
    }
}

#[test]
fn absence_is_a_difference_only_with_something_that_shows_it() {
    let expired = TxState::Expired { proof: "p".into() };
    for (observation, lowest, expected) in [
        // The signer has not used the nonce.
        (
            Some(unused_nonce(TxState::Pending, 4)),
            None,
            (vec![Kind::Absent], 0),
        ),
        (Some(unused_nonce(TxState::Pending, 5)), None, (vec![], 1)),
        // Another transaction has used it; the nodes show receipts that are as old, or do not.
        (
            Some(unused_nonce(TxState::SlotUsed, 5)),
            Some(50),
            (vec![Kind::Absent], 0),
        ),
        (Some(unused_nonce(TxState::SlotUsed, 5)), Some(51), (vec![], 1)),
        (Some(seen(TxState::Unknown)), Some(9), (vec![Kind::Absent], 0)),
        (Some(seen(TxState::Unknown)), None, (vec![], 1)),
        (Some(seen(TxState::Pending)), Some(9), (vec![], 1)),
        (Some(seen(TxState::Lapsed)), Some(9), (vec![], 1)),
        (Some(seen(expired)), None, (vec![Kind::Absent], 0)),
        // No node answered.
        (None, Some(9), (vec![], 1)),
    ] {
        let shown = format!("{observation:?} {lowest:?}");
        assert_eq!(compared(claim(|_| {}), observation, lowest), expected, "{shown}");
    }
    // Of an open payment the journal says nothing yet.
    let open = claim(|claim| {
        claim.in_block = false;
        claim.effect = None;
    });
    assert_eq!(compared(open, None, None), (vec![], 0));
}

#[test]
fn a_nonce_that_no_known_transaction_used_is_an_unknown_transaction() {
    let mut all = claims(claim(|claim| {
        claim.in_block = false;
        claim.effect = None;
    }));
    all.slots.push(Slot {
        lane: lane(),
        sequence: 4,
        transactions: vec!["0xt1".into(), "0xt2".into()],
        since_height: 40,
    });
    for (second, lowest, expected) in [
        (TxState::SlotUsed, 40, (1, 0)),
        (TxState::SlotUsed, 41, (0, 1)),
        (TxState::Pending, 40, (0, 0)),
        (landed(44), 40, (0, 0)),
    ] {
        let mut observations = Seen::default();
        observations.add(NETWORK, "0xt1", seen(TxState::SlotUsed));
        observations.add(NETWORK, "0xt2", seen(second.clone()));
        observations.add(NETWORK, "0xother", seen(landed(lowest)));
        let mut found = Findings::default();
        compare::settlement(&all, &observations, &mut found);
        assert_eq!(
            (found.differences.len(), found.unread.len()),
            expected,
            "{second:?} {lowest}"
        );
    }
}

#[test]
fn a_signer_with_more_transactions_than_the_journal_knows_is_named() {
    assert_eq!(compare::lane(NETWORK, "0xa", 5, 5), None);
    assert_eq!(
        compare::lane(NETWORK, "0xa", 6, 5),
        None,
        "the journal is ahead: not mined yet"
    );
    let difference = compare::lane(NETWORK, "0xa", 5, 8).expect("a difference");
    assert!(
        difference
            .chain
            .contains("3 more transactions, with the nonces 5 to 7"),
        "{difference:?}"
    );
}

#[test]
fn a_period_is_yesterday_unless_it_is_given() {
    use clap::Parser as _;
    #[derive(clap::Parser)]
    struct Parsed {
        #[command(flatten)]
        command: super::ReconcileCommand,
    }
    let day = 86_400_000;
    let now = 20_000 * day + 5;
    for (words, expected) in [
        (&[][..], Some((19_999 * day, 20_000 * day))),
        (&["--day", "1970-01-03"], Some((2 * day, 3 * day))),
        (&["--since", "1970-01-03"], Some((2 * day, now))),
        (&["--until", "1970-01-03"], Some((0, 2 * day))),
        (&["--day", "1970-01-03T00:00:00Z"], None),
        (&["--day", "1970-01-03", "--since", "1970-01-03"], None),
    ] {
        let parsed = Parsed::try_parse_from([&["x"], words].concat());
        let period = parsed.ok().map(|parsed| super::period(&parsed.command, now));
        assert_eq!(period, expected, "{words:?}");
    }
}
