//! Scheme `auth-capture`: money held in escrow, and every way out of it.

mod crash;
mod delegated;
mod examples;
mod hostile;
mod kept;
mod lives;
mod operators;
mod orders;
pub(crate) mod property;
mod races;
mod routes;
mod seed_wire;

/// Reasons of the scheme that several modules expect.
mod reason {
    pub(super) const AMOUNT: &str = "invalid_auth_capture_evm_amount_mismatch";
    pub(super) const STATE: &str = "invalid_auth_capture_evm_unexpected_payment_state";
    pub(super) const NOT_ADMITTED: &str = "invalid_auth_capture_evm_operator_not_admitted";
    pub(super) const NOT_RELAYED: &str = "invalid_auth_capture_evm_lifecycle_not_relayed";
    pub(super) const CAPTURE_OVER: &str = "invalid_auth_capture_evm_capture_deadline_expired";
    pub(super) const REFUND_OVER: &str = "invalid_auth_capture_evm_refund_deadline_expired";
    pub(super) const NO_FUNDING: &str = "invalid_auth_capture_evm_refund_funding_unavailable";
    pub(super) const SIGNATURE: &str = "invalid_auth_capture_evm_authorizer_signature";
    pub(super) const STRANGER: &str = "invalid_auth_capture_evm_unauthenticated_authorizer_request";
}
