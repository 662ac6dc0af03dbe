//! How rows are named.

use alloy_primitives::{Address, B256, keccak256};

use crate::text;

/// A list of one tenant's payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    All,
    Receiver(Address),
    Operator(Address),
}

impl List {
    /// Rows under it are in the order of capture deadlines.
    #[must_use]
    pub fn prefix(&self, network: &str, tenant: Option<&str>) -> String {
        let list = match self {
            Self::All => "all".to_owned(),
            Self::Receiver(address) => format!("receiver/{}", text::lower(*address)),
            Self::Operator(address) => format!("operator/{}", text::lower(*address)),
        };
        format!("index/{network}/{}/{list}/", tenant_key(tenant))
    }
}

/// What follows a list's prefix. Deadlines fit 48 bits, which is 15 digits.
#[must_use]
pub fn entry(capture_deadline_s: u64, hash: B256) -> String {
    format!("{capture_deadline_s:015}/{hash}")
}

/// Capture deadline and hash of a list's row.
#[must_use]
pub fn read_entry(entry: &str) -> Option<(u64, B256)> {
    let (deadline_s, hash) = entry.split_once('/')?;
    Some((deadline_s.parse().ok()?, text::word(hash)?))
}

#[must_use]
pub fn payment_key(network: &str, hash: B256) -> String {
    format!("payment/{network}/{hash}")
}

#[must_use]
pub fn operations_prefix(network: &str, hash: B256) -> String {
    format!("operation/{network}/{hash}/")
}

/// `planned_at_s`: of the capture, and of the void after it.
#[must_use]
pub fn skipped_void_key(network: &str, hash: B256, planned_at_s: u64) -> String {
    format!("skipped-void/{network}/{hash}/{planned_at_s:012}")
}

#[must_use]
pub fn height_key(network: &str, hash: B256) -> String {
    format!("height/{network}/{hash}")
}

#[must_use]
pub fn usage_key(network: &str, hash: B256) -> String {
    format!("usage/{network}/{hash}")
}

/// `id` is the merchant's own text.
#[must_use]
pub fn usage_id_key(network: &str, hash: B256, id: &str) -> String {
    format!("usage-id/{network}/{hash}/{}", keccak256(id))
}

#[must_use]
pub fn refunded_key(network: &str, tenant: &str, receiver: Address, asset: Address) -> String {
    format!(
        "refunded/{network}/{}/{}/{}",
        tenant_key(Some(tenant)),
        text::lower(receiver),
        text::lower(asset)
    )
}

fn tenant_key(tenant: Option<&str>) -> String {
    tenant.map_or_else(|| "-".to_owned(), |name| keccak256(name).to_string())
}
