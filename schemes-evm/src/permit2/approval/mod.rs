//! The extension `erc20ApprovalGasSponsoring` (exact-evm.md section 10): a payer whose token has no permit of its own (EIP-2612)
//! signs the transaction that gives Permit2 an allowance, and the facilitator sends it, with the native currency that it needs.
//!
//! | step | module |
//! |---|---|
//! | the extension's members, and the checks that need no chain | `extension` |
//! | the operator's limits, and what of a day's budget is left | `limits`, `funding` |
//! | the checks that need one | `chain` |
//! | what must be sent before the payment, and what came of it | `steps` |
//!
//! Nothing is sent for a payer who has the allowance already: the extension is checked then, and not used.
//!
//! Native currency that a payer was given may go elsewhere: it can use its nonce for another transaction. So the operator writes
//! down how much one payer and all of them together get, and without that the extension is not served (T-38).

mod chain;
mod extension;
mod funding;
mod limits;
mod steps;

/// Gas of a transfer of native currency, with some for what an account with code (EIP-7702) runs when it receives.
const RECEIVING_GAS: u64 = 51_000;

pub(crate) use self::chain::{Sponsored, check};
pub use self::extension::EXTENSION;
pub(crate) use self::extension::{Approval, canonical};
pub use self::limits::{Limits, LimitsByNetwork};
pub(crate) use self::steps::{Memo, before, judge};
