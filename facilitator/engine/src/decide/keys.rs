//! Keys under which settlements are known: a scheme's own, with what the core adds. Pure.

use crate::registry::Kind;
use sha2::{Digest, Sha256};

/// Keys of claims and conflicts: a scheme's own, under plugin and network.
pub(crate) fn own_key(kind: &Kind, key: &str) -> String {
    format!("{}|{}|{key}", kind.instance.plugin, kind.network.id())
}

/// The scheme's fingerprint with the tenant, as one hash.
pub(crate) fn fingerprint_of(fingerprint: &str, tenant: Option<&str>) -> String {
    let mut hash = Sha256::new();
    // The length keeps a tenant's name from running into the fingerprint.
    let tenant = tenant.unwrap_or_default();
    hash.update(tenant.len().to_be_bytes());
    hash.update(tenant.as_bytes());
    hash.update(fingerprint.as_bytes());
    hex::encode(hash.finalize())
}
