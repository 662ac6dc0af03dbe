//! The signers of keys as the engine sees them.

/// What operators learn about the signer of a key. The keys themselves are the host's.
pub trait SignerTroubles: Send + Sync + 'static {
    /// A sentence while the key can't sign; names no secret.
    fn trouble(&self, key: &str) -> Option<String>;
}
