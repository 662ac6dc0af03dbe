//! The node as a subject sees it: a proxy that counts calls and forwards them to the chain, or answers them from a recording
//! after a fixed time.
//!
//! A recording knows a call by its method and parameters. Of an `eth_call` it knows contract, selector and length: payloads
//! are distinct, but what a good payment's reads answer is not. So the recorded node accepts forged payments, too: only good
//! ones are sent to it. The first call of a shape goes to the chain.
//!
//! One thread per connection, and one connection to the chain for each.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use e2e::proxy::wire::elements;
use serde_json::{Value, json};

use crate::Failure;
use crate::wire::{self, Connection};

/// `METHOD` of a function call without its arguments: `0x` and eight digits.
const SELECTOR: usize = 10;
const METHOD: &[u8] = b"\"method\"";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The chain answers.
    Forward,
    /// A recording answers, after this time.
    Recorded(Duration),
}

#[derive(Debug)]
struct Shared {
    chain: SocketAddr,
    mode: Mutex<Mode>,
    recording: Mutex<HashMap<String, Value>>,
    calls: AtomicU64,
    closed: AtomicBool,
}

/// A subject's node; it stops listening when dropped.
#[derive(Debug)]
pub(crate) struct Node {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Node {
    /// Starts it in front of the chain at this URL.
    pub(crate) fn start(chain: &str) -> Result<Node, Failure> {
        let lost = |what: &dyn std::fmt::Display| Failure(format!("cannot start a counting proxy: {what}"));
        let chain = chain.trim_start_matches("http://").trim_end_matches('/');
        let chain = chain.parse().map_err(|e| lost(&e))?;
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| lost(&e))?;
        let address = listener.local_addr().map_err(|e| lost(&e))?;
        let shared = Arc::new(Shared {
            chain,
            mode: Mutex::new(Mode::Forward),
            recording: Mutex::default(),
            calls: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.closed.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // A connection's thread ends with its connection, which its client owns.
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Ok(Node { address, shared })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same chain under another chain id.
    pub(crate) fn url_as(&self, chain_id: u64) -> String {
        format!("http://{}/{chain_id}", self.address)
    }

    /// JSON-RPC calls that came, those in batches each.
    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// From now on; an earlier recording is forgotten.
    pub(crate) fn set_mode(&self, mode: Mode) {
        lock(&self.shared.recording).clear();
        *lock(&self.shared.mode) = mode;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, which then sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    // Any failure ends the connection: that is all a client can notice.
    fn serve(&self, stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut writer = stream.try_clone().ok()?;
        let mut reader = BufReader::new(stream);
        let mut chain = Chain {
            address: self.chain,
            connection: None,
        };
        while let Some(request) = wire::read(&mut reader).ok()? {
            let calls = request.body.windows(METHOD.len()).filter(|part| *part == METHOD);
            let calls = u64::try_from(calls.count()).unwrap_or_default();
            self.calls.fetch_add(calls, Ordering::Relaxed);
            let chain_id = request.path().trim_start_matches('/').parse::<u64>().ok();
            let mode = *lock(&self.mode);
            let (status, body) = match (mode, chain_id) {
                (Mode::Forward, None) => chain.forward(&request.body)?,
                _ => (200, self.answer(mode, chain_id, &request.body, &mut chain)?),
            };
            if let Mode::Recorded(latency) = mode {
                std::thread::sleep(latency);
            }
            writer.write_all(&wire::answer(status, &body)).ok()?;
        }
        Some(())
    }

    /// Answers call by call.
    fn answer(&self, mode: Mode, chain_id: Option<u64>, body: &[u8], chain: &mut Chain) -> Option<Vec<u8>> {
        let request: Value = serde_json::from_slice(body).ok()?;
        let mut answers = Vec::new();
        let mut unknown = Vec::new();
        for call in elements(&request) {
            let known = match (call["method"].as_str()?, chain_id) {
                ("eth_chainId", Some(id)) => Some(json!({"result": format!("{id:#x}")})),
                ("net_version", Some(id)) => Some(json!({"result": id.to_string()})),
                _ if mode == Mode::Forward => None,
                _ => lock(&self.recording).get(&shape(call)).cloned(),
            };
            match known {
                Some(answer) => answers.push(with_id(answer, call)),
                None => unknown.push(call.clone()),
            }
        }
        if !unknown.is_empty() {
            let (_, came) = chain.forward(Value::Array(unknown.clone()).to_string().as_bytes())?;
            for answer in serde_json::from_slice::<Vec<Value>>(&came).ok()? {
                let call = unknown.iter().find(|call| call["id"] == answer["id"])?;
                lock(&self.recording).insert(shape(call), answer.clone());
                answers.push(answer);
            }
        }
        let whole = match request {
            Value::Array(_) => Value::Array(answers),
            _ => answers.pop()?,
        };
        serde_json::to_vec(&whole).ok()
    }
}

/// One connection to the chain, opened again when the node has closed it.
struct Chain {
    address: SocketAddr,
    connection: Option<Connection>,
}

impl Chain {
    fn forward(&mut self, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => Connection::open(self.address).ok()?,
        };
        let answer = connection.exchange(&wire::post("/", body)).ok()?;
        self.connection = Some(connection);
        Some((answer.status()?, answer.body))
    }
}

/// What a recording knows a call by.
fn shape(call: &Value) -> String {
    let params = &call["params"];
    let method = call["method"].as_str().unwrap_or_default();
    if method != "eth_call" {
        return format!("{method} {params}");
    }
    let transaction = &params[0];
    let data = [&transaction["data"], &transaction["input"]];
    let data = data.iter().find_map(|data| data.as_str()).unwrap_or_default();
    let selector = data.get(..SELECTOR).unwrap_or(data);
    let block = &params[1];
    format!("{method} {} {selector} {} {block}", transaction["to"], data.len())
}

fn with_id(mut answer: Value, call: &Value) -> Value {
    answer["jsonrpc"] = json!("2.0");
    answer["id"] = call["id"].clone();
    answer
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_knows_calls_of_one_shape_by_one_name() {
        let call = |to: &str, data: &str| json!({"method": "eth_call", "params": [{"to": to, "data": data}, "latest"]});
        let first = shape(&call("0xaa", "0x70a0823100"));
        assert_eq!(first, shape(&call("0xaa", "0x70a08231ff")));
        for other in [
            call("0xbb", "0x70a0823100"),
            call("0xaa", "0x70a0823200"),
            call("0xaa", "0x70a082310000"),
        ] {
            assert_ne!(first, shape(&other));
        }
        let code = |address: &str| json!({"method": "eth_getCode", "params": [address, "latest"]});
        assert_ne!(shape(&code("0xaa")), shape(&code("0xbb")));
    }
}
