//! The listener: a TCP port or a Unix socket, few connections, short times.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::key_digests::KeyDigests;
use http_api::connections::{Connections, Limits, Listener};
use http_api::tls::{Files, Tls};
use tokio::net::UnixListener;

use crate::access::{Access, Token};
use crate::app::App;
use crate::desk::Desk;
use crate::router::router;

/// Pages of a few operators.
const LIMITS: Limits = Limits {
    connections: 64,
    idle: Duration::from_secs(10),
    head_bytes: 16 * 1_024,
};

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
    /// Certificate files, for a port. With `client_ca` where other machines reach it.
    pub tls: Option<Files>,
    /// Further values of the header `Host`: names, with a port unless it is that of the scheme.
    pub hosts: Vec<String>,
    /// At least one.
    pub tokens: Vec<Token>,
}

/// Binds and serves, with TLS on a port if there is a certificate. Does not end by itself: with the future, the listener and its
/// connections end.
///
/// # Errors
/// When the address or socket can't be bound.
pub async fn serve(
    settings: &Settings,
    tls: Option<Arc<Tls>>,
    desk: Arc<dyn Desk>,
    keys: KeyDigests,
) -> io::Result<()> {
    let Bound {
        listener,
        hosts,
        _file,
    } = bind(settings, tls).await?;
    tracing::info!("admin listens on {}", listener.url()?);
    let access = Access::new(settings.tokens.clone(), &hosts);
    let router = router(Arc::new(App::new(desk, access, keys)));
    Connections::new(LIMITS).accept(&listener, &router).await;
    Ok(())
}

/// A listener, the names by which it is reached, and the file of its socket.
struct Bound {
    listener: Listener,
    hosts: Vec<String>,
    _file: Option<SocketFile>,
}

/// A socket's file, which is removed with its listener.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The next start removes it, otherwise.
        let _ = fs::remove_file(&self.0);
    }
}

async fn bind(settings: &Settings, tls: Option<Arc<Tls>>) -> io::Result<Bound> {
    let mut hosts = settings.hosts.clone();
    let (listener, file) = match &settings.listen {
        Listen::Tcp(address) => {
            let listener = Listener::bind(*address, tls).await?;
            let address = listener.address().unwrap_or(*address);
            hosts.push(address.to_string());
            if address.ip().is_loopback() {
                hosts.push(format!("localhost:{}", address.port()));
            }
            (listener, None)
        }
        Listen::Unix(path) => {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            hosts.push("localhost".to_owned());
            (Listener::Unix(listener), Some(SocketFile(path.clone())))
        }
    };
    Ok(Bound {
        listener,
        hosts,
        _file: file,
    })
}
