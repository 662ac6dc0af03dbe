//! The listener: a TCP port or a Unix socket, few connections, short times.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::key_digests::KeyDigests;
use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::access::{Access, Token};
use crate::app::{App, Peer};
use crate::desk::Desk;
use crate::router::router;

/// Open connections: pages of a few operators.
const MAX_CONNECTIONS: usize = 64;
/// Longest time for a request's head, and longest pause between requests.
const HEAD_READ: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    /// A socket that only the process's user and root may use.
    Unix(PathBuf),
}

/// The admin listener: `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub listen: Listen,
    /// Further values of the header `Host`: names, with a port unless it is that of the scheme.
    pub hosts: Vec<String>,
    /// At least one.
    pub tokens: Vec<Token>,
}

enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        _file: SocketFile,
    },
}

/// Binds and serves. Does not end by itself: with the future, the listener and its connections end.
///
/// # Errors
/// When the address or socket can't be bound.
pub async fn serve(settings: &Settings, desk: Arc<dyn Desk>, keys: KeyDigests) -> io::Result<Infallible> {
    let (listener, hosts) = bind(settings).await?;
    let access = Access::new(settings.tokens.clone(), &hosts);
    let app = Arc::new(App::new(desk, access, keys));
    let mut connections = JoinSet::new();
    accept(&listener, app, &mut connections).await
}

/// A socket's file, which is removed with its listener.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The next start removes it, otherwise.
        let _ = fs::remove_file(&self.0);
    }
}

async fn bind(settings: &Settings) -> io::Result<(Listener, Vec<String>)> {
    let mut hosts = settings.hosts.clone();
    let listener = match &settings.listen {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            hosts.push(address.to_string());
            if address.ip().is_loopback() {
                hosts.push(format!("localhost:{}", address.port()));
            }
            tracing::info!("admin listens on http://{address}/");
            Listener::Tcp(listener)
        }
        Listen::Unix(path) => {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            hosts.push("localhost".to_owned());
            tracing::info!("admin listens on {}", path.display());
            Listener::Unix {
                listener,
                _file: SocketFile(path.clone()),
            }
        }
    };
    Ok((listener, hosts))
}

async fn accept(listener: &Listener, app: Arc<App>, connections: &mut JoinSet<()>) -> io::Result<Infallible> {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let router = router(app);
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&permits).acquire_owned() => permit.map_err(io::Error::other)?,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let router = router.clone();
        let accepted = match listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, peer)| {
                let connection = connection(TokioIo::new(stream), Some(peer.ip()), router);
                connections.spawn(async move {
                    let _permit = permit;
                    connection.await;
                });
            }),
            Listener::Unix { listener, .. } => listener.accept().await.map(|(stream, _)| {
                let connection = connection(TokioIo::new(stream), None, router);
                connections.spawn(async move {
                    let _permit = permit;
                    connection.await;
                });
            }),
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "admin_connection_not_accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

async fn connection<S: Read + Write + Unpin + Send + 'static>(
    stream: S,
    peer: Option<IpAddr>,
    router: axum::Router,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(stream, service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "admin_connection_failed");
    }
}
