//! Keys of rows. They sort as bytes; numbers are written so that they sort as numbers.

use sdk_plugin::StepIndex;

use crate::row::{AttemptRow, SettlementRow};
use crate::stage::Stage;

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

/// Settlements that were opened for the owner of this unit have keys that begin with this.
#[must_use]
pub fn handover_prefix(unit: &str) -> String {
    format!("{unit}|")
}

/// Key of a settlement that was opened for the owner of this unit.
#[must_use]
pub fn handover_key(unit: &str, settlement: u64) -> String {
    format!("{}{}", handover_prefix(unit), id_key(settlement))
}

/// Settlements that the owner of this unit continues have keys that begin with this. No unit begins so.
#[must_use]
pub fn continued_prefix(unit: &str) -> String {
    format!("continued|{unit}|")
}

/// Key of a settlement that the owner of this unit continues.
#[must_use]
pub fn continued_key(unit: &str, settlement: u64) -> String {
    format!("{}{}", continued_prefix(unit), id_key(settlement))
}

/// Key by which a settlement's payload is found among the requests, whose own keys are hashes alone.
#[must_use]
pub fn payload_key(row: &SettlementRow) -> Option<String> {
    (!row.payload.is_empty()).then(|| format!("p|{}", row.payload))
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

/// Who owns the rows of replay keys: each names the claim and the step that have used what a call authorizes. No plugin has
/// this id.
pub const REPLAY_KEYS: &str = "|replay-keys";

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

/// Settlements that wait for a stage have keys that begin with this, in the order of the time by which they wait.
#[must_use]
pub fn stage_prefix(stage: Stage) -> &'static str {
    match stage {
        Stage::Payloads => "payloads|",
        Stage::Details => "details|",
        Stage::Settlement => "settlement|",
        Stage::Claim => "claim|",
    }
}

/// Key of a settlement that waits for a stage.
#[must_use]
pub fn due_stage_key(stage: Stage, due_ms: u64, settlement: u64) -> String {
    format!("{}{due_ms:020}|{}", stage_prefix(stage), id_key(settlement))
}

/// Key of a row of a plugin's store in the order in which rows end.
#[must_use]
pub fn expiry_key(expires_at_ms: u64, store_key: &str) -> String {
    format!("{expires_at_ms:020}|{store_key}")
}
