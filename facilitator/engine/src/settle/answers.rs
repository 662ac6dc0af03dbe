//! Answers to callers when nothing of their request is recorded.

use crate::state::settlement::{Settlement, refuse};
use sdk_plugin::scheme::Refusal;
use sdk_plugin::wire::reason;

/// Answers `unexpected_settle_error` to every caller. Nothing was started.
pub(crate) fn unexpected(settlement: &Settlement, message: &str) {
    refuse(
        settlement,
        &Refusal::new(reason::UNEXPECTED_SETTLE_ERROR, "").with_message(message),
    );
}
