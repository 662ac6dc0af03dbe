//! Sending a recorded attempt. The host inserts its bytes, tries the nodes in sequence and returns every answer.

use serde_json::{Value, json};

use crate::chain::{Attempt, Sent};
use crate::host::{Level, RpcRequest, RpcResult, SendEncoding};
use crate::{Cx, Fault, FaultKind};

/// How a family sends transactions.
#[derive(Debug, Clone, Copy)]
pub struct SendMethod {
    /// The JSON-RPC method.
    pub method: &'static str,
    /// How the host writes the bytes.
    pub encoding: SendEncoding,
    /// Target of log lines: `evm::send`.
    pub log_target: &'static str,
    /// What the family calls a transaction id in messages: `hash`.
    pub id_name: &'static str,
    /// Whether the id in a node's answer is that of the attempt.
    pub is_same_id: fn(answered: &str, tx_id: &str) -> bool,
}

impl SendMethod {
    /// Sends the attempt's recorded bytes. `params` holds the string `$bytes`, which the host replaces.
    ///
    /// Returns the answer of every node. `Ok(Err(message))`: no answer arrived, and a node may have the transaction.
    ///
    /// # Errors
    /// Nothing was sent, for a reason that a second attempt does not change.
    pub async fn send(
        &self,
        cx: &Cx,
        attempt: &Attempt,
        params: Value,
    ) -> Result<Result<Vec<RpcResult>, String>, Fault> {
        let request = RpcRequest::Send {
            network: attempt.lane.network.clone(),
            attempt_id: attempt.id.clone(),
            method: self.method.into(),
            params,
            encoding: self.encoding,
        };
        match cx.rpc(request).await {
            Ok(response) => Ok(Ok(response.results)),
            Err(fault) => match fault.kind {
                FaultKind::Invalid | FaultKind::Unsupported | FaultKind::Denied | FaultKind::Shutdown => {
                    Err(fault)
                }
                FaultKind::Cancelled
                | FaultKind::Deadline
                | FaultKind::Overloaded
                | FaultKind::Panic
                | FaultKind::Internal
                | FaultKind::Indeterminate
                | FaultKind::Unavailable => Ok(Err(fault.message)),
            },
        }
    }

    /// Logs a warning when a node accepted the attempt under another id.
    pub fn warn_of_other_id(&self, cx: &Cx, attempt: &Attempt, result: &RpcResult) {
        let RpcResult::Ok(answered) = result else { return };
        let is_same = |text: &str| (self.is_same_id)(text, &attempt.tx_id);
        if !answered.as_str().is_some_and(is_same) {
            let fields = json!({ "attempt": attempt.id, "expected": attempt.tx_id, "answered": answered });
            let message = format!("a node answered a send with another {}", self.id_name);
            cx.log(Level::Warn, self.log_target, &message, &fields);
        }
    }
}

/// The answer with the lowest rank decides; of equal ones the first. [`Sent::Unknown`] without any answer.
pub fn most_decisive(sent: impl IntoIterator<Item = Sent>, rank: impl Fn(&Sent) -> u8) -> Sent {
    let decisive = sent.into_iter().min_by_key(|sent| rank(sent));
    decisive.unwrap_or_else(|| Sent::Unknown {
        message: "no node answered".into(),
    })
}
