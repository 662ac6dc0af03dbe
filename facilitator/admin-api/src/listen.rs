//! The listener: a TCP port or a Unix socket, few connections, short times.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
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
struct SocketFile {
    path: PathBuf,
    /// Device and number: another process may have put its own there.
    id: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            id: Self::id(path)?,
        })
    }

    fn id(path: &Path) -> io::Result<(u64, u64)> {
        let file = fs::symlink_metadata(path)?;
        Ok((file.dev(), file.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The next start removes it, otherwise.
        if Self::id(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket that a process has left. Nothing else is removed.
///
/// # Errors
/// Another kind of file is there, or a process listens.
fn make_room(path: &Path) -> io::Result<()> {
    match free(path)? {
        Room::Free => Ok(()),
        Room::Left => fs::remove_file(path),
    }
}

enum Room {
    Free,
    /// The socket of a process that has ended.
    Left,
}

fn free(path: &Path) -> io::Result<Room> {
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} is a file and no socket; write another path", path.display()),
        )),
        Ok(_) => match StdUnixStream::connect(path) {
            Ok(_) => Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("another process listens at {}", path.display()),
            )),
            Err(_) => Ok(Room::Left),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Room::Free),
        Err(error) => Err(error),
    }
}

/// Whether a socket can be opened at this path. Changes nothing.
///
/// # Errors
/// Another kind of file is there, or a process listens.
pub fn check_socket(path: &Path) -> io::Result<()> {
    free(path).map(|_| ())
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
            make_room(path)?;
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            hosts.push("localhost".to_owned());
            (Listener::Unix(listener), Some(SocketFile::of(path)?))
        }
    };
    Ok(Bound {
        listener,
        hosts,
        _file: file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_that_nobody_uses_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        make_room(&path).unwrap();
        fs::write(&path, "a private key").unwrap();
        let error = make_room(&path).unwrap_err().to_string();
        assert!(error.contains("is a file and no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a private key");
        fs::remove_file(&path).unwrap();

        let used = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(make_room(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        check_socket(&path).unwrap_err();
        let file = SocketFile::of(&path).unwrap();
        // Made while the first one is there, so that it has a number of its own.
        let moved = folder.path().join("other");
        let _other = std::os::unix::net::UnixListener::bind(&moved).unwrap();
        drop(used);
        check_socket(&path).unwrap();
        assert!(path.exists());
        make_room(&path).unwrap();
        assert!(!path.exists());

        // Another process has its own there by now.
        fs::rename(moved, &path).unwrap();
        drop(file);
        assert!(path.exists());
    }
}
