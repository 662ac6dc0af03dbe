//! Serves a router on connections of a listener: TCP, TLS, or a Unix socket.
//!
//! Bounded: the number of connections, each handshake, each request's head, and the end. A connection counts from its accept
//! on, so a client that never finishes its handshake holds one of them for [`HANDSHAKE`] at most. Bodies are bounded by the
//! handlers that read them.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::tls::{ClientCertificate, Tls};

/// Longest TLS handshake: some round trips, over a slow line.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long connections may take to write their last response after the drain.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a failed accept: a lack of file descriptors passes, and retrying at once does not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the connections of a listener may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many may be open; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Longest pause between requests, and longest time for a request's headers.
    pub idle: Duration,
    /// Largest head of a request, and read buffer of a connection.
    pub head_bytes: usize,
}

impl Limits {
    /// For callers that send payments. The pause is longer than the keep-alive times of usual clients (Node 4 s, proxies 60 s), so
    /// that the client closes first and no POST arrives at a closing connection.
    #[must_use]
    pub fn public(connections: usize) -> Self {
        Self {
            connections,
            idle: Duration::from_secs(90),
            head_bytes: 64 * 1_024,
        }
    }
}

/// The remote end of a connection. Every request has it as an extension.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// `None` on a Unix socket.
    pub address: Option<SocketAddr>,
    /// The verified certificate, where the listener has `client_ca`.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The user id of the process at the other end of a Unix socket.
    pub user: Option<u32>,
}

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener, Arc<Tls>),
    Unix(UnixListener),
}

impl Listener {
    /// Opens a port: with TLS if there is a certificate.
    ///
    /// # Errors
    /// The address can't be bound.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<Tls>>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(match tls {
            Some(tls) => Self::Tls(listener, tls),
            None => Self::Tcp(listener),
        })
    }

    /// Its URL without a path, for people.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn url(&self) -> io::Result<String> {
        Ok(match self {
            Self::Tcp(listener) => format!("http://{}", listener.local_addr()?),
            Self::Tls(listener, _) => format!("https://{}", listener.local_addr()?),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                format!(
                    "unix:{}",
                    address.as_pathname().unwrap_or(Path::new("?")).display()
                )
            }
        })
    }

    /// Its address and port; `None`: it is a socket's.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener, _) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The certificate, if there is one.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        match self {
            Self::Tls(_, tls) => Some(tls),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Accepted::Tcp(stream, address)
            }
            Self::Tls(listener, tls) => {
                let (stream, address) = listener.accept().await?;
                Accepted::Tls(stream, address, tls.acceptor())
            }
            Self::Unix(listener) => Accepted::Unix(listener.accept().await?.0),
        })
    }
}

enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Tls(TcpStream, SocketAddr, TlsAcceptor),
    Unix(UnixStream),
}

/// The open connections of a listener. Dropping it closes them at once.
#[derive(Debug)]
pub struct Connections {
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
    permits: Arc<Semaphore>,
    limits: Limits,
}

impl Connections {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            graceful: GracefulShutdown::new(),
            tasks: JoinSet::new(),
            permits: Arc::new(Semaphore::new(limits.connections)),
            limits,
        }
    }

    /// Accepts connections and serves the router on each. Never returns; drop the future to stop accepting.
    pub async fn accept(&mut self, listener: &Listener, router: &Router) {
        let Self {
            graceful,
            tasks,
            permits,
            limits,
        } = self;
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(permits).acquire_owned() => permit,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            };
            match accepted {
                Ok(accepted) => {
                    let connection = serve(accepted, router.clone(), *limits, graceful.watcher());
                    tasks.spawn(async move {
                        let _permit = permit;
                        connection.await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "connection_not_accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Lets each connection finish its request within a short time, then closes all.
    pub async fn close(mut self) {
        if timeout(CLOSE_TIMEOUT, self.graceful.shutdown()).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

async fn serve(accepted: Accepted, router: Router, limits: Limits, watcher: Watcher) {
    match accepted {
        Accepted::Tcp(stream, address) => {
            // Responses are small and each is awaited by its caller, so batching them only adds delay.
            let _ = stream.set_nodelay(true);
            let peer = Peer {
                address: Some(address),
                ..Peer::default()
            };
            serve_http(stream, peer, router, limits, watcher).await;
        }
        Accepted::Tls(stream, address, acceptor) => {
            let _ = stream.set_nodelay(true);
            let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                // Any client can cause these, so they are no warnings.
                Ok(Err(error)) => {
                    return tracing::debug!(%error, peer = %address.ip(), "tls_handshake_failed");
                }
                Err(_) => return tracing::debug!(peer = %address.ip(), "tls_handshake_timed_out"),
            };
            let chain = stream.get_ref().1.peer_certificates();
            let certificate = chain
                .and_then(|chain| chain.first())
                .map(|der| Arc::new(ClientCertificate::read(der)));
            let peer = Peer {
                address: Some(address),
                certificate,
                user: None,
            };
            serve_http(stream, peer, router, limits, watcher).await;
        }
        Accepted::Unix(stream) => {
            let user = stream.peer_cred().ok().map(|credentials| credentials.uid());
            let peer = Peer {
                user,
                ..Peer::default()
            };
            serve_http(stream, peer, router, limits, watcher).await;
        }
    }
}

async fn serve_http<S>(stream: S, peer: Peer, router: Router, limits: Limits, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "connection_failed");
    }
}
