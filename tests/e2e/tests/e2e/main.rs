//! The product as its users meet it: the release binary and its plugin file over HTTP, a real node behind a proxy that
//! breaks on request, the official clients in front. Run by `cargo xtask test`.
//!
//! Tests named `tNN_…` are the threats of that number; `law1_…` is the law of that number (docs/src/laws.md).

mod accounting;
mod admin;
mod approvals;
mod auth_capture;
mod batches;
mod budgets;
mod chaos;
mod clients;
mod concurrency;
mod crash;
mod endurance;
mod fatal;
mod first_steps;
mod handbook;
mod health;
mod hostile;
mod hostile_nodes;
mod laws;
mod node_messages;
mod nodes;
mod otlp;
mod outage;
mod overload;
mod paused;
mod permit2;
mod pools;
mod previous;
mod protocol;
mod provider;
mod refusals;
mod reload;
mod remote_signer;
mod same_answers;
mod second_source;
mod secrets;
mod settlements;
mod shared;
mod shared_operator;
mod signers;
mod solana;
mod startup;
mod support;
mod telemetry;
mod tenants;
mod timing;
mod tokens;
mod wallets;
mod without_chain;

/// Reasons of `exact` on EVM that several modules expect.
mod reason {
    pub(crate) const NONCE_USED: &str = "invalid_exact_evm_nonce_already_used";
    pub(crate) const BALANCE: &str = "invalid_exact_evm_insufficient_balance";
    pub(crate) const SIGNATURE: &str = "invalid_exact_evm_signature";
    pub(crate) const SIMULATION: &str = "invalid_exact_evm_transaction_simulation_failed";
    pub(crate) const EVENT: &str = "invalid_exact_evm_transfer_event_mismatch";
    pub(crate) const FAILED: &str = "invalid_exact_evm_transaction_failed";
    pub(crate) const DUPLICATE: &str = "duplicate_settlement";
    pub(crate) const INVALID_PAYLOAD: &str = "invalid_payload";
    pub(crate) const INVALID_REQUIREMENTS: &str = "invalid_payment_requirements";
    pub(crate) const UNEXPECTED_VERIFY: &str = "unexpected_verify_error";
    pub(crate) const UNEXPECTED_SETTLE: &str = "unexpected_settle_error";
}
