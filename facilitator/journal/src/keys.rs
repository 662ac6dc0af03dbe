//! Keys of rows. They sort as bytes; numbers are written so that they sort as numbers.

use sdk_plugin::StepIndex;

use crate::row::AttemptRow;

/// Keys in the order of their numbers.
#[must_use]
pub fn id_key(id: u64) -> String {
    format!("{id:020}")
}

/// Key of a lane.
#[must_use]
pub fn lane_key(network: &str, signer: &str) -> String {
    format!("{network}|{signer}")
}

/// Key of a slot.
#[must_use]
pub fn slot_key(network: &str, signer: &str, sequence: u64) -> String {
    format!("{network}|{signer}|{sequence:020}")
}

/// Keys of a step's attempts begin with this.
#[must_use]
pub fn step_prefix(settlement: u64, step: StepIndex) -> String {
    format!("{}|{:010}|", id_key(settlement), step.number())
}

/// Key of a plugin's row. Plugin ids contain no `|`.
#[must_use]
pub fn store_key(plugin: &str, key: &str) -> String {
    format!("{plugin}|{key}")
}

/// Key of an attempt in the order of a network's spending: network, time and id. Networks contain no `|`.
#[must_use]
pub fn spending_key(attempt: &AttemptRow) -> String {
    format!(
        "{}{}",
        spending_prefix(&attempt.lane.network, attempt.prepared_at_ms),
        id_key(attempt.id)
    )
}

/// Keys of a network's attempts that were prepared in this millisecond begin with this.
#[must_use]
pub fn spending_prefix(network: &str, at_ms: u64) -> String {
    format!("{network}|{at_ms:020}|")
}
