//! The listener: accepts connections, and shuts down within a bounded time.
//!
//! On shutdown, new payments get 503 at once, requests in flight have `drain_seconds` to finish, then connections are
//! closed. Dropping an unfinished settle is safe: the next start resumes what is recorded in the journal.

use std::io;
use std::sync::Arc;

use base::key_digests::KeyDigests;
use base::service::Service;
use telemetry::Metrics;
use tokio::sync::watch;
use tokio::time::timeout;

use super::app::App;
use super::router::router;
use crate::connections::{Connections, Limits, Listener};
use crate::settings::{Settings, Tenant};
use crate::tls::Tls;

/// The name of this listener in metrics and in the log.
const NAME: &str = "public";

/// Binds the configured address and serves until `shutdown`, then drains. The port is opened here and not earlier, with TLS
/// if there is a certificate. No response contains one of `keys`. Each new value of `tenants` replaces the tenants of the
/// settings.
///
/// # Errors
/// When the address can't be bound.
pub async fn serve(
    settings: &Settings,
    service: Arc<dyn Service>,
    metrics: Arc<Metrics>,
    keys: KeyDigests,
    tenants: watch::Receiver<Vec<Tenant>>,
    tls: Option<Arc<Tls>>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = Listener::bind(settings.server.listen, tls).await?;
    serve_on(listener, settings, service, metrics, keys, tenants, shutdown).await
}

/// Like [`serve`], on a bound listener.
///
/// # Errors
/// When the listener has no address.
pub async fn serve_on(
    listener: Listener,
    settings: &Settings,
    service: Arc<dyn Service>,
    metrics: Arc<Metrics>,
    keys: KeyDigests,
    tenants: watch::Receiver<Vec<Tenant>>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let url = listener.url()?;
    tracing::info!("listening on {url}{}", settings.server.base_path);
    let app = App::new(settings, service, metrics, keys);
    let router = router(Arc::clone(&app));
    let mut connections = Connections::new(Limits::public(settings.server.max_connections));
    {
        let accept = connections.accept(&listener, &router);
        tokio::pin!(accept);
        tokio::select! {
            () = &mut accept => {}
            () = monitor_disk(&app, settings) => {}
            () = follow_tenants(&app, tenants) => {}
            () = follow_certificate(&app, listener.tls()) => {}
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
    connections.close().await;
    Ok(())
}

/// Never returns.
async fn follow_tenants(app: &App, mut tenants: watch::Receiver<Vec<Tenant>>) {
    while tenants.changed().await.is_ok() {
        app.admission.replace_tenants(&tenants.borrow_and_update());
    }
    std::future::pending().await
}

/// Never returns.
async fn follow_certificate(app: &App, tls: Option<&Arc<Tls>>) {
    match tls {
        Some(tls) => tls.follow(&app.metrics, NAME).await,
        None => std::future::pending().await,
    }
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
