//! Reasons by the message of a revert: tables of errors and texts, and how a message is looked up in them.

use alloy_primitives::keccak256;

/// Errors and texts that have one reason.
pub(crate) struct Row {
    /// Custom errors, by signature.
    pub(crate) errors: &'static [&'static str],
    /// Parts of messages, lower case.
    pub(crate) texts: &'static [&'static str],
    pub(crate) reason: &'static str,
}

/// The reason of the first row that fits: by the selector of a custom error in the message; without one, by its text.
#[must_use]
pub(crate) fn find(rows: &[Row], message: &str) -> Option<&'static str> {
    let message = message.to_lowercase();
    let names_error = |row: &&Row| {
        row.errors.iter().any(|error| {
            let hash = keccak256(error);
            let selector = hash.get(..4).map(hex::encode).unwrap_or_default();
            message.contains(&format!("0x{selector}"))
        })
    };
    let has_text = |row: &&Row| row.texts.iter().any(|text| message.contains(text));
    let row = rows
        .iter()
        .find(names_error)
        .or_else(|| rows.iter().find(has_text))?;
    Some(row.reason)
}

/// Whether a message says, in one of many wordings, that a balance is too low.
#[must_use]
pub(crate) fn is_short_of_balance(message: &str) -> bool {
    let message = message.to_lowercase();
    message
        .split_once("insufficient")
        .is_some_and(|(_, rest)| rest.contains("balance"))
}
