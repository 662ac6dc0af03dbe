//! Payments by Permit2's signature transfers: what a payer signs, what is checked, sent and proven. Shared by the schemes
//! that pay through an x402 proxy (exact-evm.md sections 7 to 10, upto-and-batch.md part A).
//!
//! | step | module |
//! |---|---|
//! | the signed permit, its digest and its nonce | `permit`, `nonce` |
//! | the gas sponsoring extension of EIP-2612 | `sponsoring` |
//! | the one of ERC-20 approvals: a transaction that the payer has signed | `approval` |
//! | what makes a payment unique | `identify` |
//! | decode, and the checks that need no chain | `payment` |
//! | the checks that need one: [`crate::transfer`] with the reads of | `transfer` |
//! | what must be sent, and what proves it | `plan` |
//! | what the chain showed | `judge`, with `revert` |
//! | where the proxies are deployed | `probe` |
//!
//! Permit2 has no event with the nonce. So a payment by a stranger is recognised by the decoded call of the proxy, and one
//! inside of another contract's call is not recognised at all (PROOF.md).
//!
//! Not served: the deployment of wallets that do not exist yet (ERC-6492): a wrapped signature counts only where its wallet has
//! code.

pub mod abi;
pub mod approval;
mod identify;
mod judge;
mod nonce;
pub(crate) mod payment;
pub(crate) mod permit;
pub(crate) mod plan;
pub(crate) mod probe;
mod proxy;
pub mod reason;
mod revert;
mod sponsoring;
mod transfer;

pub(crate) use self::identify::identify;
pub(crate) use self::judge::judge;
pub(crate) use self::payment::Payment;
pub(crate) use self::plan::{is_step, plan, verdict};
pub use self::proxy::Proxy;
pub use self::sponsoring::EXTENSION;
pub(crate) use self::transfer::{Good, check};
