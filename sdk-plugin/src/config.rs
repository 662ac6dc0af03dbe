//! Reads a plugin's configuration and a network's options, with errors that name the key.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Fault;

/// The configuration of an instance of the plugin `id`; the default where the operator wrote none (`Null`).
///
/// # Errors
/// [`FaultKind::Invalid`](crate::FaultKind::Invalid) with serde's message, which names the key.
pub fn instance<C: DeserializeOwned + Default>(id: &str, config: Value) -> Result<C, Fault> {
    if config.is_null() {
        return Ok(C::default());
    }
    C::deserialize(config).map_err(|error| invalid_instance(id, &error.to_string()))
}

/// The fault for a configuration of the plugin `id` that can't be used.
#[must_use]
pub fn invalid_instance(id: &str, why: &str) -> Fault {
    Fault::invalid(format!("configuration of {id}: {why}"))
}

/// The `options` of a network; the default where the operator wrote none (`Null`).
///
/// # Errors
/// [`FaultKind::Invalid`](crate::FaultKind::Invalid) with serde's message, which names the key.
pub fn network_options<'de, O: Deserialize<'de> + Default>(options: &'de Value) -> Result<O, Fault> {
    if options.is_null() {
        return Ok(O::default());
    }
    if !options.is_object() {
        return Err(invalid_option("must be a table"));
    }
    O::deserialize(options).map_err(|error| invalid_option(&error.to_string()))
}

/// The fault for network options that can't be used.
#[must_use]
pub fn invalid_option(why: &str) -> Fault {
    Fault::invalid(format!("network options: {why}"))
}
