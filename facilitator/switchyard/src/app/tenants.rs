//! Tenants that an operator has added on the admin listener, beside those of the configuration file: a small file in the data
//! directory, with hashes of API keys and no keys.
//!
//! A file that can't be read adds nobody, and the start is refused: their callers would get 401 without anyone knowing why.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use base::list_file::{ListFile, Unreadable};
use http_api::{Rate, Scope, WaitUntil};
use sdk_plugin::HexBytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config::{Config, Tenant};

const LIST: ListFile = ListFile {
    name: "tenants-added",
    max_bytes: 16 << 20,
};

/// A tenant that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Added {
    pub(super) name: String,
    /// SHA-256 of each valid key, the oldest first.
    pub(super) keys: Vec<HexBytes>,
    /// Names of scopes; at least one.
    pub(super) scopes: Vec<String>,
    /// Milliseconds since the epoch.
    pub(super) at_ms: u64,
}

/// A new secret for a caller: 64 hex digits. The error is a sentence.
pub fn random_text() -> Result<Zeroizing<String>, String> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())
        .map_err(|error| format!("the system has no randomness: {error}"))?;
    Ok(Zeroizing::new(hex::encode(bytes.as_slice())))
}

/// The list in this directory.
pub(super) fn read(directory: &Path) -> Result<Vec<Added>, String> {
    // What is wrong with the directory itself is said where it is used.
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    LIST.read(directory).map_err(|why| {
        let path = directory.join(LIST.name);
        let path = path.display();
        match why {
            Unreadable::TooLarge | Unreadable::Damaged => format!(
                "{path} has the tenants that were added on the admin listener, and is damaged: restore it from a backup, or remove it \
                 and add them again"
            ),
            Unreadable::Io(error) => format!("{path} can't be read ({error})"),
        }
    })
}

pub(super) fn write(directory: &Path, added: &[Added]) -> io::Result<()> {
    LIST.write(directory, added)
}

/// Held from reading the list until it is written.
pub(super) fn lock(directory: &Path) -> io::Result<File> {
    LIST.lock(directory)
}

/// The configuration with the tenants that were added. One that is in the file too is as the file says.
///
/// # Errors
/// A sentence: the list can't be read.
pub fn with_added(mut config: Config) -> Result<Config, String> {
    let added = read(&config.data_directory)?;
    for one in added {
        let known = config.tenants.iter().map(|tenant| &tenant.access);
        let is_known = known.clone().any(|known| known.name == one.name)
            || one.keys.iter().any(|key| {
                let mut keys = known.clone().flat_map(|known| &known.key_sha256);
                keys.any(|known| known.as_slice() == key.as_ref())
            });
        if is_known {
            tracing::warn!(
                tenant = one.name,
                "tenant_added_twice: it, or its key, is in the configuration file too, which holds"
            );
            continue;
        }
        let tenant = of(&one, config.limits.tenant, config.server.settle_wait);
        config.tenants.push(tenant);
    }
    Ok(config)
}

fn of(added: &Added, rate: Rate, settle_wait: Duration) -> Tenant {
    let keys = added.keys.iter();
    Tenant {
        access: http_api::Tenant {
            name: added.name.clone(),
            key_sha256: keys.filter_map(|key| key.as_ref().try_into().ok()).collect(),
            scopes: added
                .scopes
                .iter()
                .filter_map(|name| Scope::from_name(name))
                .collect::<BTreeSet<_>>(),
            rate,
            settle_wait,
            wait_until: WaitUntil::Confirmed,
            gather: Duration::ZERO,
            reserve_at_verify: None,
        },
        max_cost_per_day: std::collections::BTreeMap::new(),
    }
}
