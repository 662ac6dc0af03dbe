//! Connections to a signer: HTTP/1.1 with keep-alive over a Unix socket, or over TLS where each side shows a certificate.
//!
//! Assumes that a signer may send anything, of any length, or nothing at all: every read is bounded in bytes and time.

use std::error::Error as _;
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::UnixStream;

use super::wire::MAX_ANSWER_BYTES;

/// Longest text of the system or of TLS that is shown, in characters.
const MAX_CAUSE_CHARS: usize = 200;
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// Idle connections that are kept.
const MAX_IDLE: usize = 8;

/// Where a signer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// A URL without path: `https://host:port`.
    Https { origin: String, files: TlsFiles },
}

/// PEM files for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate that this side shows, and those between it and its root.
    pub client_certificate: PathBuf,
    /// Its private key.
    pub client_key: PathBuf,
    /// The certificates that may sign the signer's; no others do.
    pub ca: PathBuf,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Https { origin, .. } => f.write_str(origin),
        }
    }
}

/// Why there is no answer; the sentence follows the signer's name.
pub(super) type Trouble = String;

#[derive(Clone)]
pub(super) enum Connection {
    Unix(Client<UnixConnector, Full<Bytes>>),
    Https(Client<HttpsConnector<HttpConnector>, Full<Bytes>>, String),
}

impl Connection {
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self, String> {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE);
        Ok(match endpoint {
            Endpoint::Unix(path) => Self::Unix(builder.build(UnixConnector(path.clone()))),
            Endpoint::Https { origin, files } => {
                let mut tcp = HttpConnector::new();
                tcp.enforce_http(false);
                tcp.set_nodelay(true);
                let https = HttpsConnectorBuilder::new()
                    .with_tls_config(tls(files)?)
                    .https_only()
                    .enable_http1()
                    .wrap_connector(tcp);
                Self::Https(builder.build(https), origin.clone())
            }
        })
    }

    /// Status and body of one exchange. The caller bounds the time.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), Trouble> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        let origin = match self {
            Self::Unix(_) => "http://signer",
            Self::Https(_, origin) => origin,
        };
        *request.uri_mut() = Uri::try_from(format!("{origin}{path}"))
            .map_err(|error| format!("has an address that is no URL: {error}"))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("switchyard/", env!("CARGO_PKG_VERSION"))),
        );
        let response = match self {
            Self::Unix(client) => client.request(request).await,
            Self::Https(client, _) => client.request(request).await,
        };
        let response = response.map_err(|error| cause(&error))?;
        let status = response.status();
        match Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
        {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(format!("gave an answer of more than {MAX_ANSWER_BYTES} bytes"))
            }
            Err(_) => Err("ended the connection within its answer".to_owned()),
        }
    }
}

/// The text of the system or of TLS.
fn cause(error: &Error) -> Trouble {
    let mut text = String::new();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    let what = if error.is_connect() {
        "can't be reached"
    } else {
        "gave no complete answer"
    };
    format!("{what}: {}", shown(&text, MAX_CAUSE_CHARS))
}

/// A text from outside, without control characters and bounded.
pub(super) fn shown(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

fn tls(files: &TlsFiles) -> Result<ClientConfig, String> {
    let roots = certificates(&files.ca, "ca")?;
    let mut store = RootCertStore::empty();
    for certificate in roots {
        store.add(certificate).map_err(|error| {
            format!(
                "ca {} has a certificate that can't be used ({error}); name a file with the certificate that signed the signer's",
                files.ca.display()
            )
        })?;
    }
    let chain = certificates(&files.client_certificate, "client_certificate")?;
    let key = &files.client_key;
    if std::fs::metadata(key).is_ok_and(|file| file.permissions().mode() & 0o077 != 0) {
        let key = key.display();
        return Err(format!(
            "client_key {key} can be read or changed by others; run: chmod 600 {key}"
        ));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|_| {
        format!(
            "client_key {} can't be read as a private key in PEM; name the file that belongs to client_certificate",
            key.display()
        )
    })?;
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("needs TLS, which can't be set up: {error}"))?
        .with_root_certificates(store)
        .with_client_auth_cert(chain, private)
        .map_err(|error| {
            format!(
                "client_key {} can't be used with client_certificate ({error}); name files that belong together",
                key.display()
            )
        })
}

fn certificates(path: &Path, member: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |what: String| {
        format!(
            "{member} {} {what}; name a file with certificates in PEM",
            path.display()
        )
    };
    let read = CertificateDer::pem_file_iter(path)
        .and_then(|found| found.collect::<Result<Vec<_>, _>>())
        .map_err(|error| wrong(format!("can't be read ({error})")))?;
    if read.is_empty() {
        return Err(wrong("has no certificate".to_owned()));
    }
    Ok(read)
}

/// Connects to one Unix socket, whatever the URL.
#[derive(Debug, Clone)]
pub(super) struct UnixConnector(PathBuf);

impl tower_service::Service<Uri> for UnixConnector {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { Ok(TokioIo::new(UnixStream::connect(path).await?)) })
    }
}
