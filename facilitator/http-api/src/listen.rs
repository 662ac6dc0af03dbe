//! The listener: accepts connections, and shuts down within a bounded time.
//!
//! On shutdown, new payments get 503 at once, requests in flight have `drain_seconds` to finish, then connections are
//! closed. Dropping an unfinished settle is safe: the next start resumes what is recorded in the journal.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::key_digests::KeyDigests;
use base::service::Service;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use telemetry::Metrics;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::app::App;
use super::reply::Peer;
use super::router::router;
use crate::settings::{Settings, Tenant};

/// Longest pause between requests, and longest time for a request's headers. Longer than the keep-alive times of usual
/// clients (Node 4 s, proxies 60 s), so that the client closes first and no POST arrives at a closing connection.
const IDLE: Duration = Duration::from_secs(90);
/// Largest head of a request, and read buffer of a connection, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1_024;
/// How long connections may take to write their last response after the drain.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a failed accept: a lack of file descriptors passes, and retrying at once does not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds the configured address and serves until `shutdown`, then drains. The port is opened here and not earlier. No
/// response contains one of `keys`. Each new value of `tenants` replaces the tenants of the settings.
///
/// # Errors
/// When the address can't be bound.
pub async fn serve(
    settings: &Settings,
    service: Arc<dyn Service>,
    metrics: Arc<Metrics>,
    keys: KeyDigests,
    tenants: watch::Receiver<Vec<Tenant>>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = TcpListener::bind(settings.server.listen).await?;
    serve_on(listener, settings, service, metrics, keys, tenants, shutdown).await
}

/// Like [`serve`], on a bound listener.
///
/// # Errors
/// When the listener has no address.
pub async fn serve_on(
    listener: TcpListener,
    settings: &Settings,
    service: Arc<dyn Service>,
    metrics: Arc<Metrics>,
    keys: KeyDigests,
    tenants: watch::Receiver<Vec<Tenant>>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!("listening on http://{address}{}", settings.server.base_path);
    let app = App::new(settings, service, metrics, keys);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    {
        let accept = accept(&listener, &app, &graceful, &mut connections);
        tokio::pin!(accept);
        tokio::select! {
            () = &mut accept => {}
            () = monitor_disk(&app, settings) => {}
            () = follow_tenants(&app, tenants) => {}
            () = shutdown => {
                tracing::info!(in_flight = app.admission.in_flight(), "drain_started: new payments get 503");
                app.admission.drain();
                // Connections are still accepted, so that callers get 503 and not a refused connection.
                tokio::select! {
                    () = &mut accept => {}
                    drained = timeout(settings.server.drain, app.admission.wait_until_idle()) => if drained.is_err() {
                        tracing::warn!(
                            in_flight = app.admission.in_flight(),
                            "drain_timed_out: requests did not finish within drain_seconds; the next start resumes what \
                             is recorded in the journal"
                        );
                    }
                }
            }
        }
    }
    drop(listener);
    if timeout(CLOSE_TIMEOUT, graceful.shutdown()).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

/// Never returns.
async fn follow_tenants(app: &App, mut tenants: watch::Receiver<Vec<Tenant>>) {
    while tenants.changed().await.is_ok() {
        app.admission.replace_tenants(&tenants.borrow_and_update());
    }
    std::future::pending().await
}

/// Never returns. Without a data directory there is no journal on a disk, and nothing to monitor.
async fn monitor_disk(app: &App, settings: &Settings) {
    if settings.data_directory.is_dir() {
        app.disk.monitor(&app.metrics).await;
    }
    std::future::pending().await
}

/// Completes on SIGTERM and SIGINT, and on SIGHUP where that is the end of a terminal: each starts a drain and none aborts
/// the process. The handlers are installed when this is called, before the future is polled.
pub fn shutdown_signal(has_terminal: bool) -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};

    let hangup = has_terminal.then(|| ("SIGHUP", SignalKind::hangup()));
    let signals = [
        ("SIGTERM", SignalKind::terminate()),
        ("SIGINT", SignalKind::interrupt()),
    ];
    let handled: Vec<_> = signals
        .into_iter()
        .chain(hangup)
        .filter_map(|(name, kind)| match signal(kind) {
            Ok(signal) => Some((name, signal)),
            Err(error) => {
                tracing::warn!(%error, "{name} can't be handled; it ends the process without a drain");
                None
            }
        })
        .collect();
    async move {
        let received = handled.into_iter().map(|(name, mut signal)| {
            Box::pin(async move {
                match signal.recv().await {
                    Some(()) => name,
                    None => std::future::pending().await,
                }
            })
        });
        let received: Vec<_> = received.collect();
        if received.is_empty() {
            return std::future::pending().await;
        }
        let (name, _, _) = futures_util::future::select_all(received).await;
        tracing::info!(signal = name, "shutdown_requested");
    }
}

async fn accept(
    listener: &TcpListener,
    app: &Arc<App>,
    graceful: &GracefulShutdown,
    connections: &mut JoinSet<()>,
) {
    let permits = Arc::new(Semaphore::new(app.server.max_connections));
    let router = router(Arc::clone(app));
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&permits).acquire_owned() => permit,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = serve_connection(stream, peer, router.clone(), graceful.watcher());
                connections.spawn(async move {
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

async fn serve_connection(stream: TcpStream, peer: SocketAddr, router: axum::Router, watcher: Watcher) {
    // Responses are small and each is awaited by its caller, so batching them only adds delay.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "connection_failed");
    }
}
