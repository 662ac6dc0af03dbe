//! HTTP/1.1 on one connection that stays open: as little work as possible, because the machine is shared with what is
//! measured. Messages have `Content-Length`; all subjects and the node send it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than the longest settle. A subject that takes longer does not answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Room for the largest message of this benchmark, many times over.
const MAX_BODY: usize = 16 << 20;

/// The start line and the body of a message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// Of an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        self.start.split(' ').nth(1)?.parse().ok()
    }

    /// Of a request.
    pub(crate) fn path(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or("/")
    }
}

/// The next message; `None` at the end of the connection.
pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Message>> {
    let mut start = String::new();
    if reader.read_line(&mut start)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(broken("a message ends in its head"));
        }
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value
                    .trim()
                    .parse()
                    .map_err(|_| broken("content-length is no number"))?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(broken("a message without content-length"));
            }
        }
    }
    if length > MAX_BODY {
        return Err(broken("a message is too long"));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    start.truncate(start.trim_end().len());
    Ok(Some(Message { start, body }))
}

/// A JSON request as it is sent.
pub(crate) fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// A JSON answer as it is sent.
pub(crate) fn answer(status: u16, body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// An open connection to a server on this machine.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(server: SocketAddr) -> io::Result<Connection> {
        // Load goes to this machine only.
        if !server.ip().is_loopback() {
            return Err(broken("the server is on another machine"));
        }
        let stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Connection {
            stream: BufReader::new(stream),
        })
    }

    /// Sends a request and reads its answer.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> io::Result<Message> {
        self.stream.get_mut().write_all(request)?;
        read(&mut self.stream)?.ok_or_else(|| broken("the server closed the connection"))
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_carries_several_messages() {
        let mut bytes = post("/verify", b"{\"a\":1}");
        bytes.extend(answer(412, b"no"));
        let mut reader = bytes.as_slice();
        let first = read(&mut reader).expect("read").expect("a message");
        assert_eq!(
            (first.path(), first.body.as_slice()),
            ("/verify", &b"{\"a\":1}"[..])
        );
        let second = read(&mut reader).expect("read").expect("a message");
        assert_eq!((second.status(), second.body.as_slice()), (Some(412), &b"no"[..]));
        assert!(read(&mut reader).expect("read").is_none());
    }
}
