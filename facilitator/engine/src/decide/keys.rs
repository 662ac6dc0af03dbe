//! Keys that identify settlements: the scheme's own key, plus what the core adds. Pure.

use crate::registry::Kind;
use sha2::{Digest, Sha256};

/// The key of a claim or conflict: the scheme's own key, prefixed with plugin and network.
pub(crate) fn own_key(kind: &Kind, key: &str) -> String {
    format!("{}|{}|{key}", kind.instance.plugin, kind.network.id())
}

/// One hash over the scheme's fingerprint and the tenant.
pub(crate) fn fingerprint_of(fingerprint: &str, tenant: Option<&str>) -> String {
    let mut hash = Sha256::new();
    // The length separates the tenant's name from the fingerprint.
    let tenant = tenant.unwrap_or_default();
    hash.update(tenant.len().to_be_bytes());
    hash.update(tenant.as_bytes());
    hash.update(fingerprint.as_bytes());
    hex::encode(hash.finalize())
}
