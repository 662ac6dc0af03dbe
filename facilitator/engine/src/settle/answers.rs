//! What callers get when nothing of their request is journaled.

use crate::state::settlement::{Settlement, refuse};
use sdk_plugin::scheme::Refusal;
use sdk_plugin::wire::reason;

/// `unexpected_settle_error` for every caller; nothing was started.
pub(crate) fn unexpected(settlement: &Settlement, message: &str) {
    refuse(
        settlement,
        &Refusal::new(reason::UNEXPECTED_SETTLE_ERROR, "").with_message(message),
    );
}
