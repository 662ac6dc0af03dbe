//! Reads the PEM files of a listener: certificate chain, private key, and the authorities of client certificates. Each
//! error names the key of the configuration, the file, and what to do.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::certificate::Leaf;

/// Every user of the machine may read or change a file. Its group may: certbot and Debian's `ssl-cert` use that.
const OTHERS: u32 = 0o007;
/// Largest PEM file in bytes. A chain has a few kilobytes, a bundle of authorities some hundred.
const MAX_BYTES: u64 = 1 << 20;
/// The label of a private key that a password protects.
const ENCRYPTED: &[u8] = b"ENCRYPTED";
/// The protocol that is offered by ALPN.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Where the PEM files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The server's certificate, then those that signed it.
    pub certificate: PathBuf,
    /// The certificate's private key: PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
    /// Authorities: only clients with a certificate of one of them may connect. `None`: every client may.
    pub client_ca: Option<PathBuf>,
}

/// Why a file can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// `certificate`, `key` or `client_ca`.
    pub key: &'static str,
    /// Names the file and the remedy.
    pub message: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FileError {}

/// The bytes of all files.
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

/// What the files make.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) config: ServerConfig,
    pub(super) leaf: Leaf,
}

impl Contents {
    pub(super) fn read(files: &Files) -> Result<Self, FileError> {
        let client_ca = match &files.client_ca {
            Some(path) => Some(read(path, "client_ca", false)?),
            None => None,
        };
        Ok(Self {
            certificate: read(&files.certificate, "certificate", false)?,
            key: Zeroizing::new(read(&files.key, "key", true)?),
            client_ca,
        })
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        let parts = [Some(&self.certificate), Some(&*self.key), self.client_ca.as_ref()];
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(Sha256::digest(part.map_or(&[][..], Vec::as_slice)));
        }
        digest.finalize().into()
    }

    pub(super) fn parse(&self, files: &Files) -> Result<Parsed, FileError> {
        let chain = certificates(&self.certificate, &files.certificate, "certificate")?;
        let first = chain
            .first()
            .ok_or_else(|| no_certificate(&files.certificate, "certificate"))?;
        let leaf = Leaf::read(first).map_err(|why| {
            error(
                "certificate",
                &files.certificate,
                format!("its first certificate can't be read ({why}); get a new one"),
            )
        })?;
        let key = private_key(&self.key, &files.key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|why| {
                error(
                    "certificate",
                    &files.certificate,
                    format!("TLS can't be set up ({why}); report this"),
                )
            })?;
        let builder = match (&self.client_ca, &files.client_ca) {
            (Some(pem), Some(path)) => {
                let roots = Arc::new(authorities(pem, path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|why| {
                    error(
                        "client_ca",
                        path,
                        format!("its certificates can't be used ({why}); get new ones"),
                    )
                })?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|why| unusable(&why, files))?;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Parsed { config, leaf })
    }
}

fn error(key: &'static str, path: &Path, what: impl fmt::Display) -> FileError {
    FileError {
        key,
        message: format!("{}: {what}", path.display()),
    }
}

fn no_certificate(path: &Path, key: &'static str) -> FileError {
    error(
        key,
        path,
        "it has no certificate; write the path of a PEM file with \"-----BEGIN CERTIFICATE-----\"",
    )
}

/// Why the library refuses a chain and a key.
fn unusable(why: &rustls::Error, files: &Files) -> FileError {
    match why {
        rustls::Error::InconsistentKeys(_) => error(
            "key",
            &files.key,
            format!(
                "it is not the key of the first certificate in {}; write files that were made together, the server's \
                 certificate first",
                files.certificate.display()
            ),
        ),
        why => error(
            "key",
            &files.key,
            format!(
                "it can't sign ({why}); use a key of RSA (2048 bits or more), ECDSA P-256 or P-384, or Ed25519"
            ),
        ),
    }
}

/// Reads a file. `is_secret`: other users of the machine must not be able to.
fn read(path: &Path, key: &'static str, is_secret: bool) -> Result<Vec<u8>, FileError> {
    let failed = |why: io::Error| {
        let remedy = match why.kind() {
            io::ErrorKind::NotFound => "write the path of a PEM file",
            io::ErrorKind::PermissionDenied => {
                "give it and its folders to a group of the user that runs switchyard, or copy it when it is renewed"
            }
            io::ErrorKind::IsADirectory => "it is a folder; write the path of a PEM file in it",
            _ => "write the path of a PEM file that can be read",
        };
        error(key, path, format!("it can't be read ({why}); {remedy}"))
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if is_secret && mode & OTHERS != 0 {
        return Err(error(
            key,
            path,
            format!(
                "every user of this machine can read or change it (mode {mode:04o}); run: chmod o-rwx {}",
                path.display()
            ),
        ));
    }
    // The buffer has room for the whole file, so that no copy of a key is left where a smaller buffer was.
    let capacity = usize::try_from(metadata.len().min(MAX_BYTES)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(capacity.saturating_add(1));
    file.take(MAX_BYTES.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        return Err(error(
            key,
            path,
            "it is larger than 1 MiB; write the path of a PEM file",
        ));
    }
    Ok(bytes)
}

fn certificates(
    bytes: &[u8],
    path: &Path,
    key: &'static str,
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|why| {
            error(
                key,
                path,
                format!("it is not PEM ({why}); write the path of a PEM file with certificates"),
            )
        })
}

fn authorities(bytes: &[u8], path: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(bytes, path, "client_ca")? {
        roots.add(certificate).map_err(|why| {
            error(
                "client_ca",
                path,
                format!("it has a certificate that can't be used ({why}); write those that sign client certificates"),
            )
        })?;
    }
    if roots.is_empty() {
        return Err(no_certificate(path, "client_ca"));
    }
    Ok(roots)
}

fn private_key(bytes: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|why| {
        let is_encrypted = bytes.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
        let what = match why {
            _ if is_encrypted => {
                "a password protects it, and there is nobody to enter one; write it without, readable by the service \
                 only: openssl pkey -in OLD -out NEW"
                    .to_owned()
            }
            pem::Error::NoItemsFound => {
                "it has no private key; write the path of a PEM file with \"-----BEGIN PRIVATE KEY-----\"".to_owned()
            }
            // The text of other errors may quote a line of the file.
            _ => "it is not PEM; write the path of a PEM file with a private key".to_owned(),
        };
        error("key", path, what)
    })
}
