//! Size limits of plugins' rows and jobs, for host services and for writes that ride in a commit.

use sdk_plugin::host::{Job, StoreWrite};
use sdk_plugin::{Fault, Value};

/// Longest key of a store row or id of a job, bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// Largest value of a store row or payload of a job, bytes of JSON.
pub const MAX_VALUE_BYTES: usize = 64 << 10;

/// Checks one write.
///
/// # Errors
/// `Invalid` for a key or value that is too large.
pub fn check_write(write: &StoreWrite) -> Result<(), Fault> {
    check_key("a store key", &write.key)?;
    check_value("a store value", &write.value)
}

/// Checks one job.
///
/// # Errors
/// `Invalid` for a text or payload that is too large.
pub fn check_job(job: &Job) -> Result<(), Fault> {
    for text in [&job.id, &job.scheme, &job.network, &job.kind] {
        check_key("a job's id, scheme, network or kind", text)?;
    }
    check_value("a job's payload", &job.payload)
}

/// Checks one key; `what` names it in the error.
///
/// # Errors
/// `Invalid` for a key that is too long.
pub fn check_key(what: &str, key: &str) -> Result<(), Fault> {
    if key.len() <= MAX_KEY_BYTES {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "{what} has at most {MAX_KEY_BYTES} bytes"
    )))
}

fn check_value(what: &str, value: &Value) -> Result<(), Fault> {
    if value.to_string().len() <= MAX_VALUE_BYTES {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "{what} has at most {MAX_VALUE_BYTES} bytes of JSON"
    )))
}
