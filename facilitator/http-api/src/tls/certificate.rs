//! What a certificate says: for whom it is, and until when. Whether a client trusts it is not checked here.

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The server's own certificate. Times in seconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    pub not_before_s: u64,
    pub not_after_s: u64,
    /// Host names and addresses.
    pub names: Vec<String>,
}

impl Leaf {
    pub(super) fn read(der: &[u8]) -> Result<Self, x509_cert::der::Error> {
        let certificate = Certificate::from_der(der)?.tbs_certificate;
        let names = match certificate.get::<SubjectAltName>()? {
            Some((_, names)) => names.0.iter().filter_map(name).collect(),
            None => Vec::new(),
        };
        Ok(Self {
            not_before_s: certificate.validity.not_before.to_unix_duration().as_secs(),
            not_after_s: certificate.validity.not_after.to_unix_duration().as_secs(),
            names,
        })
    }
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => match bytes.as_bytes().len() {
            4 => <[u8; 4]>::try_from(bytes.as_bytes())
                .ok()
                .map(|octets| std::net::Ipv4Addr::from(octets).to_string()),
            _ => <[u8; 16]>::try_from(bytes.as_bytes())
                .ok()
                .map(|octets| std::net::Ipv6Addr::from(octets).to_string()),
        },
        _ => None,
    }
}

/// The certificate of a client, which an authority of `client_ca` has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of the whole certificate (DER), as `openssl x509 -fingerprint -sha256` prints it.
    pub sha256: [u8; 32],
    /// The distinguished name, for logs and records: `CN=alice,O=Shop`. The authority decides what it contains.
    pub subject: String,
}

impl ClientCertificate {
    pub(crate) fn read(der: &CertificateDer<'_>) -> Self {
        // The verifier has parsed the certificate already; a name that this parser refuses is left out.
        let subject = Certificate::from_der(der)
            .map(|certificate| certificate.tbs_certificate.subject.to_string())
            .unwrap_or_default();
        Self {
            sha256: Sha256::digest(der).into(),
            subject,
        }
    }
}
