//! What an escrow shows of a payment: its state, and the events that report every move.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{SolCall, SolEvent};
use sdk_plugin::chain::{LogEntry, ReadResult};
use sdk_plugin::scheme::{LogFilter, ReadAt, ReadWanted};
use sdk_plugin::{Fault, HexBytes};

use super::abi::{Escrow, EscrowV10, EscrowV11, PaymentInfo};
use super::authorizer::Balances;
use super::fees::Fee;
use crate::rpc::{EthCall, Executed};
use crate::text;

/// Names of the reads in a step's evidence: at the block of its transaction, and before that block.
const READ: &str = "paymentState";
const READ_BEFORE: &str = "paymentStateBefore";
/// Gas that a node may spend on reading a state.
pub const READ_GAS: u64 = 200_000;

/// What an escrow holds for a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// A payment is collected once for ever.
    pub collected: bool,
    pub balances: Balances,
}

impl State {
    /// Of a payment that was never collected.
    pub const UNTOUCHED: Self = Self {
        collected: false,
        balances: Balances {
            capturable: U256::ZERO,
            refundable: U256::ZERO,
        },
    };

    /// After a hold of `amount`, before anything else.
    #[must_use]
    pub fn held(amount: U256) -> Self {
        Self {
            collected: true,
            balances: Balances {
                capturable: amount,
                refundable: U256::ZERO,
            },
        }
    }

    /// After a charge of `amount`, before anything else.
    #[must_use]
    pub fn charged(amount: U256) -> Self {
        Self {
            collected: true,
            balances: Balances {
                capturable: U256::ZERO,
                refundable: amount,
            },
        }
    }

    /// Nothing was ever collected; a node that lags shows the same.
    #[must_use]
    pub fn is_untouched(self) -> bool {
        self == Self::UNTOUCHED
    }

    /// Three whole words; `None` for anything else, such as the empty result of an address without code.
    #[must_use]
    pub fn read(data: &[u8]) -> Option<Self> {
        let state = Escrow::paymentStateCall::abi_decode_returns_validate(data).ok()?;
        Some(Self {
            collected: state._0,
            balances: Balances {
                capturable: U256::from(state._1),
                refundable: U256::from(state._2),
            },
        })
    }

    /// The answer to [`payment_state`]: `None` where no escrow answers, which is no fault of the node.
    #[must_use]
    pub fn of_answer(answer: Executed) -> Option<Self> {
        match answer {
            Executed::Returned(data) => Self::read(&data),
            Executed::Failed(_) => None,
        }
    }

    /// What [`wanted`] brought. `None`: the node did not have it, and nothing may be concluded.
    #[must_use]
    pub fn in_evidence(reads: &[ReadResult], at: ReadAt) -> Option<Self> {
        let read = reads.iter().find(|read| read.name == read_name(at))?;
        Self::read(read.data.as_ref()?.as_ref())
    }
}

/// The state at the latest block.
#[must_use]
pub fn payment_state(escrow: Address, payment_info_hash: B256) -> EthCall {
    EthCall {
        from: None,
        to: escrow,
        data: call_data(payment_info_hash),
        gas: Some(READ_GAS),
    }
}

/// The state at the block of a step's transaction, or before that block. Nodes forget old states: see [`is_forgotten`].
#[must_use]
pub fn wanted(escrow: Address, payment_info_hash: B256, at: ReadAt) -> ReadWanted {
    ReadWanted {
        name: read_name(at).into(),
        target: text::lower(escrow),
        data: HexBytes(call_data(payment_info_hash)),
        required: false,
        at,
    }
}

fn read_name(at: ReadAt) -> &'static str {
    match at {
        ReadAt::Block => READ,
        ReadAt::Parent => READ_BEFORE,
    }
}

fn call_data(payment_info_hash: B256) -> Vec<u8> {
    Escrow::paymentStateCall {
        paymentInfoHash: payment_info_hash,
    }
    .abi_encode()
}

/// Blocks after which a state that no node returns counts as forgotten: full nodes commonly keep 128.
const KEPT_BLOCKS: u64 = 64;

/// Whether a state that was not read will never be. Until then a node that lags, or was read at the wrong moment, gets
/// another chance; from then on the escrow's own event alone decides, or an outage would leave money in escrow that
/// no one can move.
#[must_use]
pub fn is_forgotten(height: u64, head_height: u64) -> bool {
    head_height.saturating_sub(height) >= KEPT_BLOCKS
}

/// Every event of a payment.
#[must_use]
pub fn events_of(escrow: Address, payment_info_hash: B256) -> LogFilter {
    LogFilter {
        emitter: text::lower(escrow),
        topics: vec![None, Some(HexBytes(payment_info_hash.to_vec()))],
    }
}

/// A move that an escrow reports. Amounts in atomic units of the payment's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Authorized {
        info: PaymentInfo,
        amount: U256,
        collector: Address,
    },
    Charged {
        info: PaymentInfo,
        amount: U256,
        collector: Address,
        fee: Fee,
        fee_receiver: Address,
    },
    Captured {
        amount: U256,
        fee: Fee,
        fee_receiver: Address,
    },
    Voided {
        amount: U256,
    },
    Reclaimed {
        amount: U256,
    },
    Refunded {
        amount: U256,
        collector: Address,
    },
}

/// The events that `escrow` itself emitted for a payment, in order, with the ids of their logs.
#[must_use]
pub fn events(escrow: Address, payment_info_hash: B256, logs: &[LogEntry]) -> Vec<(String, Event)> {
    logs.iter()
        .filter(|log| text::address(&log.emitter) == Some(escrow))
        .filter_map(|log| Some((log.id.clone(), event(payment_info_hash, log)?)))
        .collect()
}

/// The payment's event in one log, from any emitter.
#[must_use]
pub fn event(payment_info_hash: B256, log: &LogEntry) -> Option<Event> {
    let topics: Vec<B256> = log
        .topics
        .iter()
        .map(|topic| B256::try_from(topic.as_ref()).ok())
        .collect::<Option<_>>()?;
    Event::read(payment_info_hash, &topics, log.data.as_ref())
}

impl Event {
    /// `None` for another payment's event, and for logs that are none of these.
    #[must_use]
    pub fn read(payment_info_hash: B256, topics: &[B256], data: &[u8]) -> Option<Self> {
        let [topic, hash] = topics else {
            return None;
        };
        if *hash != payment_info_hash {
            return None;
        }
        let topics = || topics.iter().copied();
        match *topic {
            Escrow::PaymentAuthorized::SIGNATURE_HASH => {
                let event = Escrow::PaymentAuthorized::decode_raw_log_validate(topics(), data).ok()?;
                Some(Self::Authorized {
                    info: event.paymentInfo,
                    amount: event.amount,
                    collector: event.tokenCollector,
                })
            }
            EscrowV10::PaymentCharged::SIGNATURE_HASH => {
                let event = EscrowV10::PaymentCharged::decode_raw_log_validate(topics(), data).ok()?;
                Some(Self::Charged {
                    info: event.paymentInfo,
                    amount: event.amount,
                    collector: event.tokenCollector,
                    fee: Fee::Bps(event.feeBps),
                    fee_receiver: event.feeReceiver,
                })
            }
            EscrowV11::PaymentCharged::SIGNATURE_HASH => {
                let event = EscrowV11::PaymentCharged::decode_raw_log_validate(topics(), data).ok()?;
                Some(Self::Charged {
                    info: event.paymentInfo,
                    amount: event.amount,
                    collector: event.tokenCollector,
                    fee: Fee::Amount(event.feeAmount),
                    fee_receiver: event.feeReceiver,
                })
            }
            EscrowV10::PaymentCaptured::SIGNATURE_HASH => {
                let event = EscrowV10::PaymentCaptured::decode_raw_log_validate(topics(), data).ok()?;
                Some(Self::Captured {
                    amount: event.amount,
                    fee: Fee::Bps(event.feeBps),
                    fee_receiver: event.feeReceiver,
                })
            }
            EscrowV11::PaymentCaptured::SIGNATURE_HASH => {
                let event = EscrowV11::PaymentCaptured::decode_raw_log_validate(topics(), data).ok()?;
                Some(Self::Captured {
                    amount: event.amount,
                    fee: Fee::Amount(event.feeAmount),
                    fee_receiver: event.feeReceiver,
                })
            }
            Escrow::PaymentVoided::SIGNATURE_HASH => {
                let event = Escrow::PaymentVoided::decode_raw_log_validate(topics(), data).ok()?;
                Some(Self::Voided { amount: event.amount })
            }
            Escrow::PaymentReclaimed::SIGNATURE_HASH => {
                let event = Escrow::PaymentReclaimed::decode_raw_log_validate(topics(), data).ok()?;
                Some(Self::Reclaimed { amount: event.amount })
            }
            Escrow::PaymentRefunded::SIGNATURE_HASH => {
                let event = Escrow::PaymentRefunded::decode_raw_log_validate(topics(), data).ok()?;
                Some(Self::Refunded {
                    amount: event.amount,
                    collector: event.tokenCollector,
                })
            }
            _ => None,
        }
    }
}

/// The step that a piece of evidence is about.
///
/// # Errors
/// The plan has no such step: a defect of the host's.
pub fn step_of<'a>(
    plan: &'a sdk_plugin::scheme::Plan,
    evidence: &sdk_plugin::chain::Evidence,
) -> Result<&'a sdk_plugin::scheme::Step, Fault> {
    evidence
        .step
        .of(&plan.steps)
        .ok_or_else(|| Fault::invalid(format!("the plan has no step {}", evidence.step)))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::aliases::U120;
    use alloy_sol_types::SolValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_state_is_three_whole_words() {
        let data = (true, U120::from(7), U120::from(9)).abi_encode();
        let state = State::read(&data).expect("a state");
        assert_eq!(state.balances.capturable, U256::from(7));
        assert_eq!(state.balances.refundable, U256::from(9));
        assert!(!state.is_untouched());
        assert!(State::read(&[0; 96]).expect("a state").is_untouched());
        assert_eq!(State::read(&[]), None);
        assert_eq!(State::read(&data[..95]), None);
        // A bool that is 2, an amount beyond 120 bits.
        assert_eq!(
            State::read(&(U256::from(2), U256::ZERO, U256::ZERO).abi_encode()),
            None
        );
        assert_eq!(State::read(&(true, U256::MAX, U256::ZERO).abi_encode()), None);
    }

    proptest! {
        #[test]
        fn decoders_take_any_bytes(
            data in prop::collection::vec(any::<u8>(), 0..600),
            topics in prop::collection::vec(any::<[u8; 32]>(), 0..4),
            known in 0usize..4,
        ) {
            let _ = State::read(&data);
            let mut topics: Vec<B256> = topics.into_iter().map(B256::from).collect();
            let hash = topics.get(1).copied().unwrap_or_default();
            if let Some(first) = topics.first_mut() {
                *first = [
                    Escrow::PaymentAuthorized::SIGNATURE_HASH,
                    EscrowV10::PaymentCharged::SIGNATURE_HASH,
                    EscrowV11::PaymentCharged::SIGNATURE_HASH,
                    EscrowV11::PaymentCaptured::SIGNATURE_HASH,
                ][known];
            }
            let event = Event::read(hash, &topics, &data);
            prop_assert!(event.is_none() || topics.len() == 2);
        }
    }
}
