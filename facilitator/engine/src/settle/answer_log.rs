//! One line for each answered settle, so that a seller's question can be answered from the log.
//!
//! At info: refusals, pending payments and settlements that were not started. What landed or failed on chain has its
//! own line when that is recorded, so the answers about it are logged at debug. Claims, hashes and reasons are no
//! secrets. Payloads are not logged.

use sdk_plugin::wire::reason;

use base::service::SettleAnswer;

/// `claim` is empty when the request could not be identified.
pub(crate) fn log(network: &str, claim: &str, answer: &SettleAnswer) {
    match answer {
        SettleAnswer::Reply(reply) => {
            let why = reply.error_reason.as_deref().unwrap_or_default();
            let (tx, payer) = (reply.transaction.as_str(), reply.payer.as_str());
            let detail = reply.error_message.as_deref();
            if reply.success {
                tracing::debug!(network, claim, payer, tx, "answered: success");
            } else if why == reason::SETTLEMENT_PENDING {
                tracing::info!(network, claim, payer, tx, "answered: pending");
            } else if tx.is_empty() {
                tracing::info!(network, claim, payer, reason = why, detail, "answered: refused");
            } else {
                tracing::debug!(
                    network,
                    claim,
                    payer,
                    tx,
                    reason = why,
                    detail,
                    "answered: not paid"
                );
            }
        }
        SettleAnswer::Replay(_) => tracing::debug!(network, claim, "answered: the same as before"),
        SettleAnswer::Unavailable { message, .. } => {
            tracing::info!(
                network,
                claim,
                detail = message,
                "answered: not started, try again"
            );
        }
    }
}
