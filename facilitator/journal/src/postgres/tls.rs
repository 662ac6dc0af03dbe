//! Encrypted connections: the server's certificate and name are always checked.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::JournalError;

/// What makes connections whose server has a certificate signed by these roots, for the host's name.
pub(super) fn connector(roots: Option<&Path>) -> Result<MakeRustlsConnect, JournalError> {
    let store = match roots {
        Some(path) => read(path)?,
        None => RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        },
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| JournalError(format!("TLS can't be set up: {error}")))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn read(path: &Path) -> Result<RootCertStore, JournalError> {
    let wrong = |what: String| {
        JournalError(format!(
            "{}: {what}. Name a file with the certificate (PEM) that signed the database's",
            path.display()
        ))
    };
    let mut store = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| wrong(format!("it can't be read ({error})")))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(format!("it is not PEM ({error})")))?;
        store
            .add(certificate)
            .map_err(|error| wrong(format!("it has a certificate that can't be used ({error})")))?;
    }
    if store.is_empty() {
        return Err(wrong("it has no certificate".into()));
    }
    Ok(store)
}
