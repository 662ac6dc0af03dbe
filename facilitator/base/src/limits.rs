//! How large rows and jobs of plugins may be, however they are handed over.

use sdk_plugin::host::{Job, StoreWrite};
use sdk_plugin::{Fault, Value};

/// Longest key of a store row or id of a job, bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// Largest value of a store row or payload of a job, bytes of JSON.
pub const MAX_VALUE_BYTES: usize = 64 << 10;

pub fn write_fits(write: &StoreWrite) -> Result<(), Fault> {
    key_fits("a store key", &write.key)?;
    value_fits("a store value", &write.value)
}

pub fn job_fits(job: &Job) -> Result<(), Fault> {
    for text in [&job.id, &job.scheme, &job.network, &job.kind] {
        key_fits("a job's id, scheme, network or kind", text)?;
    }
    value_fits("a job's payload", &job.payload)
}

pub fn key_fits(what: &str, key: &str) -> Result<(), Fault> {
    if key.len() <= MAX_KEY_BYTES {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "{what} has at most {MAX_KEY_BYTES} bytes"
    )))
}

fn value_fits(what: &str, value: &Value) -> Result<(), Fault> {
    if value.to_string().len() <= MAX_VALUE_BYTES {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "{what} has at most {MAX_VALUE_BYTES} bytes of JSON"
    )))
}
