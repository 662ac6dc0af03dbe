//! The evidence that a step on a payment needs: its guard, the state reads and the log filters.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolValue;
use sdk_plugin::HexBytes;
use sdk_plugin::scheme::{EvidenceWanted, Guard, LogFilter, ReadAt, ReadWanted};

use super::authorizer::Balances;
use super::state;

const UNTOUCHED: [u8; 32] = [0; 32];
const COUNTS: [u8; 32] = [0xff; 32];

/// Unchanged while no transaction has collected the payment. A payment is collected at most once.
#[must_use]
pub fn not_collected(escrow: Address, payment_info_hash: B256) -> Guard {
    Guard {
        read: read(escrow, payment_info_hash),
        mask: HexBytes([COUNTS, UNTOUCHED, UNTOUCHED].concat()),
        unchanged: HexBytes([UNTOUCHED; 3].concat()),
    }
}

/// Unchanged while the escrow holds exactly these balances. No pair of balances occurs twice in a payment's lifetime.
#[must_use]
pub fn holds(escrow: Address, payment_info_hash: B256, balances: Balances) -> Guard {
    let held = (U256::ZERO, balances.capturable, balances.refundable);
    Guard {
        read: read(escrow, payment_info_hash),
        mask: HexBytes([UNTOUCHED, COUNTS, COUNTS].concat()),
        unchanged: HexBytes(held.abi_encode()),
    }
}

fn read(escrow: Address, payment_info_hash: B256) -> ReadWanted {
    ReadWanted {
        name: "guard".into(),
        required: true,
        ..state::wanted(escrow, payment_info_hash, ReadAt::Block)
    }
}

/// Evidence of a step on a payment: every event of the payment, because only all of them together explain the balances that
/// the escrow shows. `other_logs` of the step's transaction are wanted as well.
#[must_use]
pub fn evidence(
    escrow: Address,
    payment_info_hash: B256,
    guard: Guard,
    other_logs: Vec<LogFilter>,
) -> EvidenceWanted {
    let events = state::events_of(escrow, payment_info_hash);
    EvidenceWanted {
        logs: [vec![events.clone()], other_logs].concat(),
        reads: [ReadAt::Block, ReadAt::Parent]
            .map(|at| state::wanted(escrow, payment_info_hash, at))
            .into(),
        foreign: vec![events.clone()],
        guard: Some(guard),
        block_logs: vec![events],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(collected: bool, capturable: u64, refundable: u64) -> Vec<u8> {
        (collected, U256::from(capturable), U256::from(refundable)).abi_encode()
    }

    #[test]
    fn a_collection_changes_the_first_word_and_nothing_else_counts() {
        let guard = not_collected(Address::ZERO, B256::ZERO);
        assert_eq!(guard.check(), Ok(()));
        assert_eq!(guard.is_unchanged(&state(false, 0, 0)), Some(true));
        assert_eq!(guard.is_unchanged(&state(false, 5, 6)), Some(true));
        assert_eq!(guard.is_unchanged(&state(true, 0, 0)), Some(false));
        assert_eq!(guard.is_unchanged(&[]), None);
    }

    #[test]
    fn either_balance_changes_the_guard_of_an_operation() {
        let balances = Balances {
            capturable: U256::from(5),
            refundable: U256::from(6),
        };
        let guard = holds(Address::ZERO, B256::ZERO, balances);
        assert_eq!(guard.check(), Ok(()));
        assert_eq!(guard.is_unchanged(&state(true, 5, 6)), Some(true));
        assert_eq!(guard.is_unchanged(&state(true, 4, 6)), Some(false));
        assert_eq!(guard.is_unchanged(&state(true, 5, 7)), Some(false));
        assert_eq!(guard.is_unchanged(&state(false, 0, 0)), Some(false));
        assert_eq!(guard.is_unchanged(&[0; 95]), None);
    }
}
