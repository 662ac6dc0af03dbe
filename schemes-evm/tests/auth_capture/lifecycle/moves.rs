//! Moves of a payment's balances, operations that are planned on it, and evidence of both.

use alloy_primitives::{Address, B256, LogData, U256};
use alloy_sol_types::{SolEvent, SolValue};
use schemes_evm::auth_capture::abi::{Escrow, EscrowV11};
use schemes_evm::auth_capture::deployment::V1_1;
use sdk_plugin::HexBytes;
use sdk_plugin::chain::{Evidence, ForeignTx, LogEntry, ReadResult};
use sdk_plugin::scheme::Plan;

use super::judging::{TX, captured, landed, log, state, voided};
use super::world::*;

pub const FOREIGN: &str = "0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
/// Our transaction's block.
pub const HEIGHT: u64 = 107;

/// A move that the escrow reports. The fee of captures is our own where it is one per cent.
#[derive(Debug, Clone, Copy)]
pub enum Move {
    Authorize(u64),
    Capture(u64),
    /// At another fee than ours.
    CaptureAtNoFee(u64),
    Void(u64),
    Reclaim(u64),
    Refund(u64),
}

impl Move {
    pub fn data(self, hash: B256) -> LogData {
        match self {
            Self::Authorize(amount) => Escrow::PaymentAuthorized {
                paymentInfoHash: hash,
                paymentInfo: Payment::on(V1_1).info,
                amount: units(amount),
                tokenCollector: V1_1.operator_refund_collector,
            }
            .encode_log_data(),
            Self::Capture(amount) => captured(hash, amount),
            Self::CaptureAtNoFee(amount) => EscrowV11::PaymentCaptured {
                paymentInfoHash: hash,
                amount: units(amount),
                feeAmount: U256::ZERO,
                feeReceiver: Address::ZERO,
            }
            .encode_log_data(),
            Self::Void(amount) => voided(hash, amount),
            Self::Reclaim(amount) => Escrow::PaymentReclaimed {
                paymentInfoHash: hash,
                amount: units(amount),
            }
            .encode_log_data(),
            Self::Refund(amount) => Escrow::PaymentRefunded {
                paymentInfoHash: hash,
                amount: units(amount),
                tokenCollector: V1_1.operator_refund_collector,
            }
            .encode_log_data(),
        }
    }

    pub fn log(self, tx_id: &str, index: u64) -> LogEntry {
        LogEntry {
            id: format!("{tx_id}/{index}"),
            ..log(V1_1.escrow, self.data(Payment::on(V1_1).hash()))
        }
    }
}

/// The state before the block.
pub fn before(collected: bool, capturable: u64, refundable: u64) -> ReadResult {
    ReadResult {
        name: "paymentStateBefore".into(),
        data: Some(HexBytes(
            (collected, units(capturable), units(refundable)).abi_encode(),
        )),
    }
}

/// Moves by other senders, one transaction each, at these heights.
pub fn foreign(moves: &[(u64, Move)]) -> Vec<ForeignTx> {
    let txs = (0u64..).zip(moves).map(|(nth, (height, done))| {
        let tx_id = format!("{}{nth:02x}", &FOREIGN[..64]);
        ForeignTx {
            height: *height,
            block: "0xb".into(),
            earlier: false,
            in_slot: false,
            call: None,
            depth: 3,
            logs: vec![done.log(&tx_id, nth)],
            tx_id,
        }
    });
    txs.collect()
}

/// Operations of a payment that holds 250,000 and can refund 750,000.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operation {
    /// Of 200,000.
    Capture,
    Void,
    /// Of 500.
    Refund,
}

impl Operation {
    pub fn planned(self) -> (World, Plan) {
        let world = World::on(|chain| chain.state = state_result(true, 250_000, 750_000));
        let payment = Payment::on(V1_1);
        let now = balances(250_000, 750_000);
        let plan = world
            .plan(&match self {
                Self::Capture => payment.capture(200_000, now),
                Self::Void => payment.void(),
                Self::Refund => payment.refund(500, now),
            })
            .expect("a plan");
        (world, plan)
    }

    pub fn event(self) -> Move {
        match self {
            Self::Capture => Move::Capture(200_000),
            Self::Void => Move::Void(250_000),
            Self::Refund => Move::Refund(500),
        }
    }

    /// The state after it.
    pub fn after(self) -> Vec<ReadResult> {
        match self {
            Self::Capture => state(true, 50_000, 950_000),
            Self::Void => state(true, 0, 750_000),
            Self::Refund => state(true, 250_000, 749_500),
        }
    }

    /// Landed, with its event as log 5 of the block.
    pub fn landed(self, reads: Vec<ReadResult>) -> Evidence {
        landed(0, vec![self.event().log(TX, 5)], reads)
    }
}
