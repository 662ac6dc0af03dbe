//! A TCP proxy that breaks a connection at COMMIT.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What happens to the next COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The server carries it out, and its answer is lost.
    Answer,
    /// It does not reach the server.
    Commit,
    /// The client's connection breaks at once, and the COMMIT reaches the server this much later.
    Late(Duration),
}

/// One proxy in front of a server.
pub(super) struct Proxy {
    pub(super) port: u16,
    armed: Arc<Mutex<Option<Cut>>>,
    is_down: Arc<AtomicBool>,
}

impl Proxy {
    pub(super) fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (armed, is_down) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        let proxy = Self {
            port,
            armed: Arc::clone(&armed),
            is_down: Arc::clone(&is_down),
        };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                if is_down.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                pass_on(client, server, &armed);
            }
        });
        proxy
    }

    /// Breaks the connection at the next COMMIT of changes.
    pub(super) fn arm(&self, cut: Cut) {
        *self.armed.lock().unwrap() = Some(cut);
    }

    /// New connections fail while it is down.
    pub(super) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }
}

fn pass_on(mut client: TcpStream, mut server: TcpStream, armed: &Arc<Mutex<Option<Cut>>>) {
    let is_cut = Arc::new(AtomicBool::new(false));
    let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let silent = Arc::clone(&is_cut);
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok(read @ 1..) = from_server.read(&mut buffer) {
            if !silent.load(Ordering::SeqCst) && to_client.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let armed = Arc::clone(armed);
    std::thread::spawn(move || {
        let mut buffer = [0; 1 << 20];
        while let Ok(read @ 1..) = client.read(&mut buffer) {
            let bytes = &buffer[..read];
            let cut = if is_commit(bytes) {
                armed.lock().unwrap().take()
            } else {
                None
            };
            if let Some(cut) = cut {
                is_cut.store(true, Ordering::SeqCst);
                match cut {
                    Cut::Answer => {
                        server.write_all(bytes).unwrap();
                        std::thread::sleep(Duration::from_millis(300));
                    }
                    Cut::Commit => {}
                    Cut::Late(by) => {
                        let _ = client.shutdown(Shutdown::Both);
                        std::thread::sleep(by);
                        server.write_all(bytes).unwrap();
                        std::thread::sleep(Duration::from_millis(300));
                    }
                }
                break;
            }
            if server.write_all(bytes).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}

/// Whether it has a COMMIT that is a message of its own.
fn is_commit(bytes: &[u8]) -> bool {
    let message = b"Q\0\0\0\x0bCOMMIT\0";
    bytes.windows(message.len()).any(|window| window == message)
}
