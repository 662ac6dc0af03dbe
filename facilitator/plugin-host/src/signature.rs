//! Signatures of plugin files, in minisign's format: `FILE.minisig` beside the file. A file that a trusted key signed needs no pin, so
//! that a new version of it needs no change of the configuration.
//!
//! Source: <https://jedisct1.github.io/minisign/>. Only prehashed signatures (`minisign -S`, as by default since 0.10) are accepted.

use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use minisign_verify::{Error, PublicKey, Signature};

use super::error::ErrorKind;

/// Longest signature file.
const MAX_BYTES: u64 = 64 << 10;

/// A public key whose signature makes a file trusted.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustedKey {
    text: String,
    key: PublicKey,
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text is no public key of minisign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a public key of minisign; write the second line of its .pub file, which begins with RW")]
pub struct KeyError;

impl FromStr for TrustedKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Ok(Self {
            text: text.to_owned(),
            key: PublicKey::from_base64(text).map_err(|_| KeyError)?,
        })
    }
}

/// Whether one of the trusted keys signed a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signed {
    /// This key did.
    By(TrustedKey),
    /// No; what to say where a signature is needed.
    No(String),
}

/// Where the signature of a file is.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".minisig");
    name.into()
}

/// Checks the signature beside a file against the trusted keys. A signature of a trusted key that does not fit the bytes is an error
/// even for a pinned file: one of the two was changed.
pub(super) fn check(path: &Path, bytes: &[u8], keys: &[TrustedKey]) -> Result<Signed, (ErrorKind, String)> {
    let file = beside(path);
    let text = match read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == IoErrorKind::NotFound => {
            return Ok(Signed::No(format!("there is no signature {}", file.display())));
        }
        Err(error) => {
            return Ok(Signed::No(format!(
                "its signature {} can't be read ({error})",
                file.display()
            )));
        }
    };
    let Ok(signature) = Signature::decode(&text) else {
        return Ok(Signed::No(format!(
            "{} is no signature of minisign",
            file.display()
        )));
    };
    for trusted in keys {
        match trusted.key.verify(bytes, &signature, false) {
            Ok(()) => return Ok(Signed::By(trusted.clone())),
            Err(Error::UnexpectedKeyId) => {}
            Err(Error::UnsupportedLegacyMode | Error::UnexpectedAlgorithm) => {
                return Ok(Signed::No(format!(
                    "{} is a signature of an old form: sign the file again with minisign 0.10 or later",
                    file.display()
                )));
            }
            Err(error) => {
                let message = format!(
                    "{} is by a trusted key ({trusted:?}), and not of this file ({error}): restore both, or sign the file again",
                    file.display()
                );
                return Err((ErrorKind::Pin, message));
            }
        }
    }
    Ok(Signed::No(format!(
        "{} is by no key of plugins.trusted_keys",
        file.display()
    )))
}

fn read(file: &Path) -> std::io::Result<String> {
    if std::fs::metadata(file)?.len() > MAX_BYTES {
        return Err(std::io::Error::other("it is too long"));
    }
    std::fs::read_to_string(file)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use minisign::KeyPair;

    use super::*;

    fn sign(folder: &Path, bytes: &[u8], keys: &KeyPair) -> PathBuf {
        let path = folder.join("plugin.so");
        let signature = minisign::sign(None, &keys.sk, Cursor::new(bytes), None, None).expect("signed");
        std::fs::write(beside(&path), signature.to_string()).expect("written");
        path
    }

    fn trusted(keys: &KeyPair) -> TrustedKey {
        keys.pk.to_base64().parse().expect("a key")
    }

    #[test]
    fn t103_only_a_trusted_keys_signature_of_these_bytes_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let [own, other] = [(), ()].map(|()| KeyPair::generate_unencrypted_keypair().expect("keys"));
        let keys = [trusted(&other), trusted(&own)];
        let path = folder.path().join("plugin.so");
        let no = |signed| match signed {
            Ok(Signed::No(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(no(check(&path, b"x", &keys)).starts_with("there is no signature "));
        let path = sign(folder.path(), b"plugin", &own);
        assert_eq!(check(&path, b"plugin", &keys), Ok(Signed::By(trusted(&own))));
        let (kind, message) = check(&path, b"Plugin", &keys).expect_err("other bytes");
        assert_eq!(kind, ErrorKind::Pin);
        assert!(message.contains("not of this file"), "{message}");
        assert!(no(check(&path, b"plugin", &keys[..1])).ends_with("is by no key of plugins.trusted_keys"));
        assert!(no(check(&path, b"plugin", &[])).ends_with("is by no key of plugins.trusted_keys"));
        // As minisign before 0.10 signed: the algorithm is Ed instead of ED.
        let text = std::fs::read_to_string(beside(&path)).expect("readable");
        let signature = text.lines().nth(1).expect("a second line");
        let legacy = text.replace(signature, &signature.replacen("RU", "RW", 1));
        std::fs::write(beside(&path), legacy).expect("written");
        assert!(no(check(&path, b"plugin", &keys)).contains("is a signature of an old form"));
        for text in [
            "",
            "hello",
            "untrusted comment: x\nRWQ=\ntrusted comment: y\nAAAA\n",
        ] {
            std::fs::write(beside(&path), text).expect("written");
            assert!(no(check(&path, b"plugin", &keys)).ends_with("is no signature of minisign"));
        }
    }

    #[test]
    fn keys_are_written_as_minisign_prints_them() {
        let keys = KeyPair::generate_unencrypted_keypair().expect("keys");
        let text = keys.pk.to_base64();
        assert_eq!(format!("{:?}", text.parse::<TrustedKey>().expect("a key")), text);
        for bad in ["", "RWQ", "untrusted comment: a key", &text[1..]] {
            assert_eq!(bad.parse::<TrustedKey>(), Err(KeyError), "{bad:?}");
        }
    }
}
