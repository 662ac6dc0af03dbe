//! The result of `eth_simulateV1` for a call and the reads around it.

use alloy_primitives::U256;
use sdk_plugin::chain::LogEntry;
use sdk_plugin::host::RpcError;
use sdk_plugin::{HexBytes, Value};

use crate::auth_capture::state::State;
use crate::rpc::{self, Failure};
use crate::text;

/// The payment's state, the watched balances, and the sender's native balance.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) state: State,
    pub(super) balances: Vec<U256>,
    pub(super) native: U256,
}

impl Snapshot {
    pub(super) fn read(calls: &[Value]) -> Option<Self> {
        let returned = |call: &Value| match Outcome::read(call)? {
            Outcome::Returned { .. } => call.get("returnData").and_then(rpc::as_bytes),
            Outcome::Failed(_) => None,
        };
        let word = |call: &Value| Some(U256::from_be_bytes(*returned(call)?.first_chunk::<32>()?));
        let (state, rest) = calls.split_first()?;
        let (native, balances) = rest.split_last()?;
        Some(Self {
            state: State::read(&returned(state)?)?,
            balances: balances.iter().map(word).collect::<Option<_>>()?,
            native: word(native)?,
        })
    }
}

/// What became of one simulated call.
#[derive(Debug)]
pub(super) enum Outcome {
    Returned { logs: Vec<LogEntry> },
    Failed(Failure),
}

impl Outcome {
    /// `None` where the node's answer lacks what it must have.
    pub(super) fn read(call: &Value) -> Option<Self> {
        match rpc::as_u64(call.get("status")?)? {
            1 => {
                let logs = call.get("logs").and_then(Value::as_array);
                let logs = logs.into_iter().flatten().enumerate().map(|(index, log)| {
                    let topics = log.get("topics")?.as_array()?.iter();
                    Some(LogEntry {
                        id: index.to_string(),
                        emitter: text::lower(rpc::as_address(log.get("address")?)?),
                        topics: topics
                            .map(|topic| Some(HexBytes(rpc::as_word(topic)?.to_vec())))
                            .collect::<Option<_>>()?,
                        data: HexBytes(rpc::as_bytes(log.get("data")?)?),
                    })
                });
                Some(Self::Returned {
                    logs: logs.collect::<Option<_>>()?,
                })
            }
            0 => {
                let error = call.get("error");
                let answer = |name: &str| error.and_then(|error| error.get(name));
                let data = answer("data")
                    .or_else(|| call.get("returnData"))
                    .and_then(rpc::as_bytes)
                    .unwrap_or_default();
                let message = answer("message")
                    .and_then(Value::as_str)
                    .unwrap_or("execution reverted");
                Some(Self::Failed(Failure {
                    data,
                    message: message.to_owned(),
                }))
            }
            _ => None,
        }
    }
}

/// Nodes report in many ways that they don't know the method.
pub(super) fn lacks_method(error: &RpcError) -> bool {
    let message = error.message.to_lowercase();
    let unknown_method = [
        "not found",
        "does not exist",
        "not supported",
        "unsupported",
        "not available",
        "not implemented",
    ];
    error.code == -32601
        || (message.contains("method") && unknown_method.iter().any(|text| message.contains(text)))
}
