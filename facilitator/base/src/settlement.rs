//! A settlement as callers and operators see it, and the ways to find it.

use sdk_plugin::Amount;

/// Where a settlement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettlementStatus {
    /// Recorded, and its outcome is open.
    Pending,
    /// The chain shows the payment at the configured depth.
    Settled,
    /// It is proven that it did not pay and can't.
    Failed,
    /// The same, because its authorization ended.
    Expired,
    /// It was settled, and is gone from the chain for good.
    Reversed,
    /// What shows the outcome is not to be had; nothing is guessed.
    Unknown,
}

impl SettlementStatus {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Settled,
        Self::Failed,
        Self::Expired,
        Self::Reversed,
        Self::Unknown,
    ];

    /// As it is written in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Settled => "settled",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Reversed => "reversed",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the payer may pay again without paying twice, once this status is final.
    #[must_use]
    pub fn may_pay_again(self) -> bool {
        match self {
            Self::Failed | Self::Expired | Self::Reversed => true,
            Self::Pending | Self::Settled | Self::Unknown => false,
        }
    }

    /// The status with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// What is recorded of a settlement. It has no payload bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettlementRecord {
    /// Names it in look-ups. Empty for settlements of an earlier version.
    pub id: String,
    pub status: SettlementStatus,
    /// Whether the payer may pay again without paying twice.
    pub may_pay_again: bool,
    /// The transaction's id on its chain; empty: none.
    pub transaction: String,
    /// CAIP-2.
    pub network: String,
    pub scheme: String,
    pub payer: String,
    /// Empty for settlements of an earlier version.
    pub pay_to: String,
    /// Empty for settlements of an earlier version.
    pub asset: String,
    /// In atomic units of the asset; `None` for settlements of an earlier version.
    pub amount: Option<Amount>,
    /// What its transactions cost, in native atomic units; `None`: no block has shown it.
    pub fee: Option<Amount>,
    /// The scheme's reason for a payment that failed.
    pub error_reason: Option<String>,
    pub error_message: Option<String>,
    /// Whether a caller got `success`.
    pub released: bool,
    /// Milliseconds since the epoch.
    pub created_at_ms: u64,
    /// Milliseconds since the epoch.
    pub updated_at_ms: u64,
    /// When the last of its steps expires, seconds since the epoch.
    pub expires_at_s: Option<u64>,
    /// When to poll again, while it is pending.
    pub retry_after_ms: Option<u64>,
}

/// How a caller names settlements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettlementName {
    /// An id, a transaction or a claim key.
    Any(String),
    /// The `Idempotency-Key` that the caller sent.
    IdempotencyKey(String),
}

/// A settlement that a name finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSettlement {
    pub record: SettlementRecord,
    /// The name is one of its transactions, which is public, and nothing that only its callers know.
    pub by_transaction: bool,
}

/// Which settlements a list contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettlementQuery {
    pub tenant: String,
    pub status: Option<SettlementStatus>,
    pub payer: Option<String>,
    pub pay_to: Option<String>,
    /// Opened at or after this, milliseconds since the epoch.
    pub from_ms: Option<u64>,
    /// Opened before this, milliseconds since the epoch.
    pub to_ms: Option<u64>,
    /// At least 1.
    pub limit: usize,
    /// [`SettlementPage::cursor`] of the page before.
    pub cursor: Option<String>,
}

/// One page of a list, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettlementPage {
    /// There may be fewer than were wanted although more follow.
    pub records: Vec<SettlementRecord>,
    /// Continues the list; `None`: this is its end.
    pub cursor: Option<String>,
}

/// Why settlements can't be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookUpError {
    /// The cursor is not one of the caller's lists.
    UnknownCursor,
    /// The journal can't be read now.
    Unavailable,
}
