//! HTTP/1.1 over a Unix socket, or over TLS with callers that show a certificate. Bodies and times are bounded.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use host::custody::remote::wire::{KEYS_PATH, SIGN_PATH};

use crate::policy::Listen;
use crate::signer::{No, Signer};

const MAX_BODY_BYTES: usize = 1 << 20;
const MAX_HEAD_TIME: Duration = Duration::from_secs(60);
const MAX_BODY_TIME: Duration = Duration::from_secs(5);

/// Serves until the process ends. `ready` gets the address as soon as connections are accepted.
///
/// # Errors
/// It can't listen.
pub async fn serve(listen: &Listen, signer: Signer, ready: impl FnOnce(&str)) -> Result<(), String> {
    let signer = Arc::new(signer);
    match listen {
        Listen::Unix { socket } => {
            let cannot = |error: std::io::Error| format!("can't listen on {}: {error}", socket.display());
            // A socket of an earlier process.
            let _ = std::fs::remove_file(socket);
            let listener = UnixListener::bind(socket).map_err(cannot)?;
            std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
            ready(&format!("unix:{}", socket.display()));
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(connection(stream, Arc::clone(&signer)));
                }
            }
        }
        Listen::Tls {
            address,
            certificate,
            key,
            client_ca,
        } => {
            let acceptor = TlsAcceptor::from(Arc::new(tls(certificate, key, client_ca)?));
            let listener = TcpListener::bind(address).await;
            let listener = listener.map_err(|error| format!("can't listen on {address}: {error}"))?;
            let local = listener.local_addr().map_err(|error| error.to_string())?;
            ready(&format!("https://{local}"));
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, signer) = (acceptor.clone(), Arc::clone(&signer));
                    tokio::spawn(async move {
                        if let Ok(Ok(stream)) = timeout(MAX_BODY_TIME, acceptor.accept(stream)).await {
                            connection(stream, signer).await;
                        }
                    });
                }
            }
        }
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, signer: Arc<Signer>) {
    let service = service_fn(|request| {
        let signer = Arc::clone(&signer);
        async move { Ok::<_, Infallible>(answer(&signer, request).await) }
    });
    // A caller that breaks off is no error of the signer.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(signer: &Signer, request: Request<Incoming>) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, KEYS_PATH) => json(200, &signer.keys()),
        (&Method::POST, SIGN_PATH) => {
            let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
            let body = match timeout(MAX_BODY_TIME, body).await {
                Ok(Ok(body)) => serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string()),
                _ => Err("the body is too long or too late".to_owned()),
            };
            let answered = match body {
                Ok(body) => signer.sign(&body).await,
                Err(message) => Err(No {
                    status: 400,
                    code: "invalid_request",
                    message,
                }),
            };
            match answered {
                Ok(signature) => json(200, &signature),
                Err(no) => {
                    eprintln!("refused ({}): {:?}", no.code, no.message);
                    json(no.status, &no.body())
                }
            }
        }
        _ => {
            let no = No {
                status: 404,
                code: "invalid_request",
                message: "there is no such path".to_owned(),
            };
            json(404, &no.body())
        }
    }
}

fn json(status: u16, body: &impl Serialize) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(
        serde_json::to_vec(body).unwrap_or_default(),
    )));
    *response.status_mut() = status.try_into().unwrap_or_default();
    response
}

fn tls(certificate: &Path, key: &Path, client_ca: &Path) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for root in certificates(client_ca)? {
        roots
            .add(root)
            .map_err(|error| format!("{}: {error}", client_ca.display()))?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let verifier = verifier.map_err(|error| format!("{}: {error}", client_ca.display()))?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|_| format!("{} has no private key", key.display()))?;
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(certificate)?, private)
        .map_err(|error| format!("{}: {error}", certificate.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(path)
        .and_then(|found| found.collect())
        .map_err(|error| format!("{}: {error}", path.display()))
}
