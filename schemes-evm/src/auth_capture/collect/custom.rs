//! Calls of contract operators (auth-capture-evm.md section 12): the contract's own statements are never trusted.
//!
//! Before a call is sent it is made in the node's sandbox, between two reads of the payment's state and of every balance
//! that it may move; what is different afterwards must be exactly what the escrow would do. After it landed the same is
//! read from the receipt's logs and from the state at that block.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{SolCall, SolEvent};
use sdk_plugin::chain::LogEntry;
use sdk_plugin::cx::NetworkView;
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::{Fault, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::collection::{Charge, Collection, state_after};
use super::payment::Payment;
use super::simulated::{Outcome, Snapshot, lacks_method};
use crate::abi::{AuthorizedToken, MULTICALL3, TRANSFER_TOPIC};
use crate::auth_capture::abi::PaymentInfo;
use crate::auth_capture::reason::{Reason, Rejection};
use crate::auth_capture::state::{self, Event, READ_GAS};
use crate::rpc::{self, EthCall, Failure};
use crate::text;

alloy_sol_types::sol! {
    interface NativeBalance {
        function getEthBalance(address account) external view returns (uint256);
    }
}

/// What a collection through a contract operator must do, and may not do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::auth_capture) struct Sandbox {
    escrow: Address,
    info: PaymentInfo,
    amount: U256,
    collector: Address,
    charge: Option<Charge>,
    /// Where the escrow keeps the operator's tokens.
    store: Address,
    /// This facilitator's signers, active and retained: nothing may leave them.
    ours: Vec<Address>,
}

/// Why a call is refused: by us, or by the contract, which has its own errors.
#[derive(Debug)]
pub(super) enum Refused {
    ByUs(Rejection),
    ByContract(Failure),
}

impl Refused {
    pub(super) fn explained(self, explain: impl FnOnce(&Failure) -> Rejection) -> Rejection {
        match self {
            Self::ByUs(rejection) => rejection,
            Self::ByContract(failure) => explain(&failure),
        }
    }
}

fn rejection(message: impl Into<String>) -> Refused {
    Refused::ByUs(Rejection::new(Reason::SimulationFailed, message))
}

/// What an account must get and give, or got and gave, in atomic units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Change {
    received: U256,
    sent: U256,
}

impl Change {
    /// Whether both give the same result in the end. An overflow is never the same.
    fn nets_like(self, other: Self) -> bool {
        let (ours, theirs) = (
            self.received.checked_add(other.sent),
            other.received.checked_add(self.sent),
        );
        ours.is_some() && ours == theirs
    }
}

impl Sandbox {
    pub(super) fn new(
        network: &NetworkView,
        payment: &Payment,
        collection: &Collection,
        store: Address,
    ) -> Self {
        Self {
            escrow: payment.terms.deployment.escrow,
            info: collection.info.clone(),
            amount: collection.amount,
            collector: collection.collector,
            charge: collection.charge,
            store,
            ours: network
                .lanes
                .iter()
                .chain(&network.retained)
                .filter_map(|lane| text::address(&lane.signer))
                .collect(),
        }
    }

    pub(super) fn asset(&self) -> Address {
        self.info.token
    }

    /// Assertion 5: what each account's balance must change by. Accounts that are the same one are added up.
    fn expected(&self) -> Option<BTreeMap<Address, Change>> {
        let mut changes: BTreeMap<Address, Change> = BTreeMap::new();
        let mut add = |account: Address, received: U256, sent: U256| {
            let change = changes.entry(account).or_default();
            change.received = change.received.checked_add(received)?;
            change.sent = change.sent.checked_add(sent)?;
            Some(())
        };
        // Whom the payment is for neither gets nor gives anything that is not listed.
        add(self.info.receiver, U256::ZERO, U256::ZERO)?;
        if self.info.feeReceiver != Address::ZERO {
            add(self.info.feeReceiver, U256::ZERO, U256::ZERO)?;
        }
        add(self.info.payer, U256::ZERO, self.amount)?;
        match self.charge {
            None => add(self.store, self.amount, U256::ZERO)?,
            Some(Charge { fee, fee_receiver }) => {
                let fee = fee.of(self.amount)?;
                add(self.store, U256::ZERO, U256::ZERO)?;
                add(self.info.receiver, self.amount.checked_sub(fee)?, U256::ZERO)?;
                if !fee.is_zero() {
                    add(fee_receiver, fee, U256::ZERO)?;
                }
            }
        }
        Some(changes)
    }

    /// Every account whose balance is read, each once.
    fn watched(&self) -> Vec<Address> {
        let mut accounts: Vec<Address> = self.expected().unwrap_or_default().into_keys().collect();
        for signer in &self.ours {
            if !accounts.contains(signer) {
                accounts.push(*signer);
            }
        }
        accounts
    }

    /// The call between two sets of reads, at the latest block.
    pub(super) fn read(&self, call: &EthCall, hash: B256) -> RpcCall {
        let state = state::payment_state(self.escrow, hash);
        let sender = call.from.unwrap_or_default();
        let reads = || {
            let mut reads = vec![state.clone()];
            reads.extend(self.watched().into_iter().map(|account| EthCall {
                from: None,
                to: self.asset(),
                data: AuthorizedToken::balanceOfCall { account }.abi_encode(),
                gas: Some(READ_GAS),
            }));
            reads.push(EthCall {
                from: None,
                to: MULTICALL3,
                data: NativeBalance::getEthBalanceCall { account: sender }.abi_encode(),
                gas: Some(READ_GAS),
            });
            reads
        };
        let calls: Vec<Value> = reads()
            .into_iter()
            .chain([call.clone()])
            .chain(reads())
            .map(|call| call.object())
            .collect();
        rpc::request(
            "eth_simulateV1",
            json!([{ "blockStateCalls": [{ "calls": calls }] }, "latest"]),
        )
    }

    /// Assertions 1 to 6 on the answer to [`Self::read`].
    pub(super) fn judge(&self, answer: RpcResult, hash: B256) -> Result<Result<(), Refused>, Fault> {
        let blocks = match answer {
            RpcResult::Ok(blocks) => blocks,
            // 7
            RpcResult::Error(error) if lacks_method(&error) => {
                return Ok(Err(Refused::ByUs(Rejection::new(
                    Reason::OperatorNotAdmitted,
                    "the nodes of this network can't simulate a contract operator's call",
                ))));
            }
            RpcResult::Error(error) => return Err(rpc::node_error("eth_simulateV1", &error)),
        };
        let fault = || Fault::unavailable("eth_simulateV1: the node's answer is malformed");
        let calls = blocks
            .pointer("/0/calls")
            .and_then(Value::as_array)
            .ok_or_else(fault)?;
        let read_count = self.watched().len() + 2;
        let (before, rest) = calls.split_at_checked(read_count).ok_or_else(fault)?;
        let (call, after) = rest.split_first().ok_or_else(fault)?;
        if after.len() != read_count {
            return Err(fault());
        }
        let before = Snapshot::read(before);
        let outcome = Outcome::read(call).ok_or_else(fault)?;
        let after = Snapshot::read(after);
        Ok(self.compare(hash, before, outcome, after))
    }

    fn compare(
        &self,
        hash: B256,
        before: Option<Snapshot>,
        outcome: Outcome,
        after: Option<Snapshot>,
    ) -> Result<(), Refused> {
        let before = before.ok_or_else(|| rejection("the payment's state or a balance can't be read"))?;
        // 2
        if before.state.collected {
            return Err(Refused::ByUs(Rejection::new(
                Reason::PaymentAlreadyCollected,
                "the payment was collected before",
            )));
        }
        if !before.state.is_untouched() {
            return Err(rejection(
                "the escrow holds something for a payment that was never collected",
            ));
        }
        let logs = match outcome {
            Outcome::Failed(failure) => return Err(Refused::ByContract(failure)),
            Outcome::Returned { logs } => logs,
        };
        let after = after
            .ok_or_else(|| rejection("after the call, the payment's state or a balance can't be read"))?;
        // 3
        if self.event(hash, &logs).is_none() {
            return Err(rejection("the escrow did not report exactly this collection"));
        }
        // 4
        if after.state != state_after(self.charge, self.amount) {
            return Err(rejection("the call leaves another payment state than it must"));
        }
        // 5
        let expected = self.expected().ok_or_else(|| rejection("the amounts overflow"))?;
        for ((account, before), after) in self.watched().iter().zip(&before.balances).zip(&after.balances) {
            let seen = Change {
                received: *after,
                sent: *before,
            };
            let wanted = expected.get(account).copied();
            let fits = match wanted {
                Some(wanted) => seen.nets_like(wanted),
                None => after >= before,
            };
            if !fits {
                return Err(rejection(format!(
                    "the call moves another amount of {account} than it must"
                )));
            }
        }
        // 6
        if after.native < before.native || self.takes_from_us(&logs) {
            return Err(rejection("the call moves something of this facilitator's"));
        }
        Ok(())
    }

    /// Assertion 3: the one event that the escrow emitted for this payment, with its id, when it is the right one.
    pub(super) fn event(&self, hash: B256, logs: &[LogEntry]) -> Option<(String, Event)> {
        let mut events = state::events(self.escrow, hash, logs).into_iter();
        match (events.next(), events.next()) {
            (Some((id, event)), None) => self.is_expected(&event).then_some((id, event)),
            _ => None,
        }
    }

    fn is_expected(&self, event: &Event) -> bool {
        is_collection(event, &self.info, self.amount, self.collector, self.charge)
    }

    /// Assertion 5 on a receipt: the balances at two blocks would mix in other payments.
    pub(super) fn moved_as_expected(&self, logs: &[LogEntry]) -> bool {
        let Some(expected) = self.expected() else {
            return false;
        };
        let mut seen: BTreeMap<Address, Change> = BTreeMap::new();
        for (from, to, value) in transfers(logs)
            .filter(|(token, ..)| *token == self.asset())
            .map(|(_, from, to, value)| (from, to, value))
        {
            let sent = seen.entry(from).or_default();
            let Some(total) = sent.sent.checked_add(value) else {
                return false;
            };
            sent.sent = total;
            let received = seen.entry(to).or_default();
            let Some(total) = received.received.checked_add(value) else {
                return false;
            };
            received.received = total;
        }
        expected
            .iter()
            .all(|(account, wanted)| seen.get(account).copied().unwrap_or_default().nets_like(*wanted))
            && !self.takes_from_us(logs)
    }

    fn takes_from_us(&self, logs: &[LogEntry]) -> bool {
        transfers(logs).any(|(_, from, _, value)| !value.is_zero() && self.ours.contains(&from))
    }
}

/// Whether an event has exactly these values.
pub(super) fn is_collection(
    event: &Event,
    info: &PaymentInfo,
    amount: U256,
    collector: Address,
    charge: Option<Charge>,
) -> bool {
    let expected = match charge {
        None => Event::Authorized {
            info: info.clone(),
            amount,
            collector,
        },
        Some(Charge { fee, fee_receiver }) => Event::Charged {
            info: info.clone(),
            amount,
            collector,
            fee,
            fee_receiver,
        },
    };
    *event == expected
}

/// Token, sender, receiver and value of every transfer that is reported.
fn transfers(logs: &[LogEntry]) -> impl Iterator<Item = (Address, Address, Address, U256)> + '_ {
    logs.iter().filter_map(|log| {
        let topics: Option<Vec<B256>> = log
            .topics
            .iter()
            .map(|topic| B256::try_from(topic.as_ref()).ok())
            .collect();
        let topics = topics?;
        if topics.first() != Some(&TRANSFER_TOPIC) {
            return None;
        }
        let event = AuthorizedToken::Transfer::decode_raw_log_validate(topics, log.data.as_ref()).ok()?;
        Some((text::address(&log.emitter)?, event.from, event.to, event.value))
    })
}
