//! A plugin file is code with access to the process: it is loaded only when its digest is the one in the configuration.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::error::ErrorKind;

/// SHA-256 of a file; 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl From<[u8; 32]> for Sha256Digest {
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 digest: write the 64 hex digits that `sha256sum` prints")]
pub struct DigestError;

impl FromStr for Sha256Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let bytes = hex::decode(text).map_err(|_| DigestError)?;
        bytes.try_into().map(Self).map_err(|_| DigestError)
    }
}

/// What the configuration says about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// This file and no other.
    Sha256(Sha256Digest),
    /// Nothing: the file is refused.
    Unpinned,
    /// Nothing, in development mode: any file is loaded.
    DevMode,
}

impl Pin {
    pub(super) fn check(self, actual: Sha256Digest) -> Result<(), (ErrorKind, String)> {
        let message = match self {
            Self::DevMode => return Ok(()),
            Self::Sha256(pinned) if pinned == actual => return Ok(()),
            Self::Sha256(pinned) => format!(
                "the file's SHA-256 is {actual}, pinned is {pinned}: restore the pinned file, or if you trust this one, \
                 write sha256 = \"{actual}\" in its entry"
            ),
            Self::Unpinned => format!(
                "the file is not pinned, and no trusted key signed it: if you trust it, add sha256 = \"{actual}\" to its entry in \
                 the configuration"
            ),
        };
        Err((ErrorKind::Pin, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t103_only_the_pinned_digest_or_dev_mode_passes() {
        let (one, other) = (Sha256Digest::of(b"one"), Sha256Digest::of(b"other"));
        assert_eq!(Pin::Sha256(one).check(one), Ok(()));
        assert_eq!(Pin::DevMode.check(one), Ok(()));
        let (kind, message) = Pin::Sha256(other).check(one).expect_err("another file");
        assert_eq!(kind, ErrorKind::Pin);
        assert!(
            message.contains(&one.to_string()) && message.contains(&other.to_string()),
            "{message}"
        );
        let (_, message) = Pin::Unpinned.check(one).expect_err("not pinned");
        assert!(message.contains(&format!("add sha256 = \"{one}\"")), "{message}");
    }

    #[test]
    fn digests_are_64_hex_digits() {
        let digest = Sha256Digest::of(b"one");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.to_string().to_uppercase().parse(), Ok(digest));
        for bad in ["", "00", "zz", &"0".repeat(63), &"0".repeat(66)] {
            assert_eq!(bad.parse::<Sha256Digest>(), Err(DigestError), "{bad:?}");
        }
    }
}
