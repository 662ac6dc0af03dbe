//! The listener: connections in, and a bounded way out.
//!
//! On shutdown new payments get 503 at once, requests inside have `drain_seconds` to finish, then connections are
//! closed. Dropping an unfinished settle is safe: what is journaled goes on at the next start.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::reply::Peer;
use super::{App, router};
use crate::settings::Settings;
use base::key_digests::KeyDigests;
use base::service::Service;
use telemetry::Metrics;

/// Longest pause between requests and longest time for a request's headers. Above the keep-alive times of usual clients
/// (Node 4 s, proxies 60 s), so that the client closes first and no POST meets a closing connection.
const IDLE: Duration = Duration::from_secs(90);
/// Largest head of a request, and read buffer of a connection, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1_024;
/// How long connections may take to write their last answer after the drain.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Pause after a failed accept: out of file descriptors passes, spinning does not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds and serves until `shutdown`, then drains. The port opens here and not before. No answer holds one of `keys`.
pub async fn serve(
    settings: &Settings,
    service: Arc<dyn Service>,
    metrics: Arc<Metrics>,
    keys: KeyDigests,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = TcpListener::bind(settings.server.listen).await?;
    serve_on(listener, settings, service, metrics, keys, shutdown).await
}

/// The same on a listener that is bound already.
pub async fn serve_on(
    listener: TcpListener,
    settings: &Settings,
    service: Arc<dyn Service>,
    metrics: Arc<Metrics>,
    keys: KeyDigests,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!("listening on http://{address}{}", settings.server.base_path);
    let app = App::new(settings, service, metrics, keys);
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    {
        let accept = accept(&listener, &app, &closed, &mut connections);
        tokio::pin!(accept);
        tokio::select! {
            () = &mut accept => {}
            () = watch_disk(&app, settings) => {}
            () = shutdown => {
                tracing::info!("shutting down: no new payments; waiting for {} requests", app.admission.inside());
                app.admission.drain();
                // Still accepting, so that callers get 503 and not a refused connection.
                tokio::select! {
                    () = &mut accept => {}
                    drained = timeout(settings.server.drain, app.admission.empty()) => if drained.is_err() {
                        tracing::warn!(
                            "{} requests did not end within drain_seconds; what is journaled goes on at the next start",
                            app.admission.inside()
                        );
                    }
                }
            }
        }
    }
    drop(listener);
    // Fails only when no connection is left.
    let _ = closing.send(true);
    let all_closed = async { while connections.join_next().await.is_some() {} };
    if timeout(LAST_WORDS, all_closed).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

/// Never ends. Where there is no data directory there is no journal on a disk either.
async fn watch_disk(app: &App, settings: &Settings) {
    if settings.data_directory.is_dir() {
        app.disk.watch(&app.metrics).await;
    }
    std::future::pending().await
}

/// SIGTERM, SIGINT, or SIGHUP, which a terminal sends when it is closed: each is a reason to drain, none to break off.
/// The handlers are installed when this is called, before the future is polled.
pub fn shutdown_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};

    let signals = [
        ("SIGTERM", SignalKind::terminate()),
        ("SIGINT", SignalKind::interrupt()),
        ("SIGHUP", SignalKind::hangup()),
    ];
    let watched: Vec<_> = signals
        .into_iter()
        .filter_map(|(name, kind)| match signal(kind) {
            Ok(signal) => Some((name, signal)),
            Err(error) => {
                tracing::warn!(%error, "{name} can't be watched; it ends the process without a drain");
                None
            }
        })
        .collect();
    async move {
        let received = watched.into_iter().map(|(name, mut signal)| {
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
        tracing::info!(signal = name, "asked to stop");
    }
}

async fn accept(
    listener: &TcpListener,
    app: &Arc<App>,
    closed: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) {
    let places = Arc::new(Semaphore::new(app.server.max_connections));
    let router = router(Arc::clone(app));
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = connection(stream, peer, router.clone(), closed.clone());
                connections.spawn(async move {
                    let _place = place;
                    connection.await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: axum::Router,
    mut closed: watch::Receiver<bool>,
) {
    // Small answers, each awaited by the caller: no reason to collect them.
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
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = async { drop(closed.wait_for(|closing| *closing).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
