//! Just enough HTTP/1.1 and JSON-RPC for a client that sends `Content-Length`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

/// The body of the next request; `None` at the end of the connection.
pub fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    let mut lines = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        lines += 1;
        let line = line.trim_end();
        if line.is_empty() && lines > 1 {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

/// Writes an answer; `None` when the client is gone.
pub(super) fn write_answer(writer: &mut TcpStream, status: u16, answer: &[u8]) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {status} Proxied\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        answer.len()
    );
    writer.write_all(head.as_bytes()).ok()?;
    writer.write_all(answer).ok()
}

/// The calls of a request or of a batch.
#[must_use]
pub fn elements(request: &Value) -> &[Value] {
    match request {
        Value::Array(calls) => calls,
        one => std::slice::from_ref(one),
    }
}

pub(super) fn methods_of(request: &Value) -> Vec<String> {
    elements(request)
        .iter()
        .filter_map(|call| call["method"].as_str())
        .map(str::to_owned)
        .collect()
}
