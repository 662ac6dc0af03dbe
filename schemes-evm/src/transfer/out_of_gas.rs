//! Whether a failed call has run out of gas.

use sdk_plugin::chain::{Evidence, GuardState, Shown};

/// Texts of an EVM that ran out of gas, lower case.
const OUT_OF_GAS: &[&str] = &["out of gas", "outofgas", "memoryoog", "gas required exceeds"];
/// Messages, lower case, of a call that reverted without a reason.
const WORDLESS: &[&str] = &[
    "",
    "execution reverted",
    "transaction reverted",
    "vm execution error.",
    "reverted",
];

/// Whether a message means that gas ran out.
#[must_use]
pub(crate) fn is_reported(message: &str) -> bool {
    let message = message.to_lowercase();
    OUT_OF_GAS.iter().any(|sign| message.contains(sign))
}

/// Whether a message may mean that gas ran out: it says so, or it has no reason at all. A contract may revert without a
/// reason when another contract that it calls runs out of gas.
#[must_use]
fn is_possible(message: &str) -> bool {
    is_reported(message) || WORDLESS.contains(&message.trim().to_lowercase().as_str())
}

/// Whether our own transfer reverted like one that runs out of gas, with its authorization unused. A proxy whose
/// implementation runs out of gas reverts without a message.
#[must_use]
pub(crate) fn is_possible_in(evidence: &Evidence) -> bool {
    let Shown::Reverted { message, .. } = &evidence.shown else {
        return false;
    };
    let is_unused = match evidence.guard {
        GuardState::Absent | GuardState::Unchanged => true,
        GuardState::Unread | GuardState::Changed => false,
    };
    is_unused && is_possible(message.as_deref().unwrap_or_default())
}
