//! What the signer remembers of its signatures.

use std::time::{Duration, Instant};

use alloy_primitives::U256;
use signer::ledger::{Denied, Ledger, Wanted};

const HOUR: Duration = Duration::from_secs(3_600);

fn wanted(sequence: u64, attempt: u32, message: &'static [u8], fee: u64) -> Wanted<'static> {
    Wanted {
        key: "hot",
        slot: Some(("eip155:1", sequence, attempt)),
        message,
        max_fee: U256::from(fee),
        max_discarded: 1,
        max_per_hour: 5,
    }
}

#[test]
fn a_slot_has_one_transaction_unless_its_fee_is_higher() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    let mut admit =
        |sequence, attempt, message, fee| ledger.admit(&wanted(sequence, attempt, message, fee), now);
    assert_eq!(admit(1, 0, b"a", 10), Ok(()));
    assert_eq!(admit(1, 0, b"a", 10), Ok(()), "the same again");
    assert_eq!(admit(1, 1, b"b", 10), Err(Denied::Conflict), "no higher fee");
    assert_eq!(admit(1, 1, b"b", 11), Ok(()), "a replacement");
    assert_eq!(admit(1, 0, b"c", 11), Err(Denied::Conflict), "an earlier attempt");
    assert_eq!(admit(1, 1, b"c", 9), Ok(()), "one may be discarded");
    assert_eq!(admit(1, 1, b"d", 9), Err(Denied::Conflict), "and no second one");
    assert_eq!(admit(2, 0, b"d", 9), Ok(()), "another slot");
}

#[test]
fn an_hour_has_its_signatures() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    for sequence in 0..5 {
        assert_eq!(ledger.admit(&wanted(sequence, 0, b"a", 1), now), Ok(()));
    }
    assert_eq!(ledger.admit(&wanted(9, 0, b"a", 1), now), Err(Denied::Rate));
    assert_eq!(
        ledger.admit(&wanted(1, 0, b"a", 1), now),
        Ok(()),
        "what was given counts once"
    );
    assert_eq!(ledger.admit(&wanted(9, 0, b"a", 1), now + HOUR), Ok(()));
}
