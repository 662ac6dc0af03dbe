//! A proxy in front of the node: counts round trips, remembers their bodies, and breaks chosen methods in chosen ways.
//!
//! It speaks just enough HTTP/1.1 for a client that sends `Content-Length`, one thread per connection. A batch counts as
//! one trip and meets the first rule that concerns any of its methods.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Error, wait};

/// What happens to a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The node gets it and does it; the answer stays here until the rule is lifted.
    HoldAnswer,
    /// The node gets it and does it; the connection closes without an answer.
    LoseAnswer,
    /// The node never hears of it; the connection closes.
    Refuse,
    /// The node never hears of it; this HTTP status, with a body that names a secret as some nodes' do.
    Status(u16),
    /// The answer comes this much later.
    Delay(Duration),
    /// The node's result is replaced.
    Answer(Value),
    /// The node's result is replaced by a JSON-RPC error object.
    RpcError(Value),
}

/// One request that reached the proxy.
#[derive(Debug, Clone)]
pub struct Trip {
    pub methods: Vec<String>,
    /// The JSON-RPC request, or the batch.
    pub body: Value,
}

#[derive(Debug, Default)]
struct State {
    trips: Vec<Trip>,
    /// Method, or `*`.
    rules: Vec<(String, Fault)>,
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    node: String,
    agent: ureq::Agent,
    state: Mutex<State>,
    changed: Condvar,
}

/// The proxy; it stops listening when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Starts a proxy for the node at this URL.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(node: &str) -> Result<Proxy, Error> {
        let lost = |e: std::io::Error| Error(format!("the fault proxy cannot listen: {e}"));
        let listener = TcpListener::bind("127.0.0.1:0").map_err(lost)?;
        let address = listener.local_addr().map_err(lost)?;
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let shared = Arc::new(Shared {
            node: node.to_owned(),
            agent: config.into(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.lock().closed {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // A connection's thread ends with its connection, which its client owns.
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Ok(Proxy { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on calls of `method` (`*`: of any) meet this.
    pub fn on(&self, method: &str, fault: Fault) {
        let mut state = self.shared.lock();
        state.rules.retain(|(other, _)| other != method);
        state.rules.push((method.to_owned(), fault));
    }

    /// Lifts every rule; held answers go out.
    pub fn heal(&self) {
        self.shared.lock().rules.clear();
        self.shared.changed.notify_all();
    }

    /// What came since the start, or since [`Proxy::forget`].
    #[must_use]
    pub fn trips(&self) -> Vec<Trip> {
        self.shared.lock().trips.clone()
    }

    /// How many calls of a method came.
    #[must_use]
    pub fn calls_of(&self, method: &str) -> usize {
        let state = self.shared.lock();
        state
            .trips
            .iter()
            .flat_map(|trip| &trip.methods)
            .filter(|other| *other == method)
            .count()
    }

    /// Forgets what came.
    pub fn forget(&self) {
        self.shared.lock().trips.clear();
    }

    /// Waits until a method was called.
    ///
    /// # Panics
    /// When it is not within [`wait::LONG`].
    pub fn wait_for(&self, method: &str) {
        wait::until(&format!("a call of {method}"), wait::LONG, || {
            (self.calls_of(method) > 0).then_some(())
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.closed = true;
            state.rules.clear();
        }
        self.shared.changed.notify_all();
        // Wakes the accepting thread, which then sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    // Any failure ends the connection: that is all a client can notice.
    fn serve(&self, stream: TcpStream) {
        let Ok(writer) = stream.try_clone() else { return };
        let (mut reader, mut writer) = (BufReader::new(stream), writer);
        while let Some(body) = read_request(&mut reader) {
            let Some((status, answer)) = self.answer(&body) else {
                return;
            };
            let head = format!(
                "HTTP/1.1 {status} Proxied\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            if writer
                .write_all(head.as_bytes())
                .and_then(|()| writer.write_all(&answer))
                .is_err()
            {
                return;
            }
        }
    }

    fn answer(&self, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let request: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let methods = methods_of(&request);
        let rule = {
            let mut state = self.lock();
            state.trips.push(Trip {
                methods: methods.clone(),
                body: request.clone(),
            });
            state
                .rules
                .iter()
                .find(|(method, _)| method == "*" || methods.contains(method))
                .cloned()
        };
        let Some((method, fault)) = rule else {
            return self.forward(body);
        };
        match &fault {
            Fault::Refuse => None,
            Fault::Status(status) => {
                Some((*status, br#"{"error":"upstream key sk-hidden failed"}"#.to_vec()))
            }
            Fault::LoseAnswer => {
                self.forward(body);
                None
            }
            Fault::Delay(pause) => {
                let answer = self.forward(body);
                std::thread::sleep(*pause);
                answer
            }
            Fault::HoldAnswer => {
                let answer = self.forward(body);
                let mut state = self.lock();
                while state.rules.contains(&(method.clone(), fault.clone())) {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                }
                answer
            }
            Fault::Answer(result) => self.rewrite(body, &request, &method, "result", result),
            Fault::RpcError(error) => self.rewrite(body, &request, &method, "error", error),
        }
    }

    fn forward(&self, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut response = self
            .agent
            .post(&self.node)
            .header("content-type", "application/json")
            .send(body)
            .ok()?;
        let answer = response
            .body_mut()
            .with_config()
            .limit(u64::MAX)
            .read_to_vec()
            .ok()?;
        Some((response.status().as_u16(), answer))
    }

    fn rewrite(
        &self,
        body: &[u8],
        request: &Value,
        method: &str,
        member: &str,
        value: &Value,
    ) -> Option<(u16, Vec<u8>)> {
        let (status, answer) = self.forward(body)?;
        let mut answer: Value = serde_json::from_slice(&answer).ok()?;
        let concerned: Vec<&Value> = elements(request)
            .iter()
            .filter(|call| method == "*" || call["method"] == method)
            .map(|call| &call["id"])
            .collect();
        let replace = |one: &mut Value| {
            if concerned.contains(&&one["id"]) {
                *one = json!({"jsonrpc": "2.0", "id": one["id"], (member): value});
            }
        };
        match &mut answer {
            Value::Array(all) => all.iter_mut().for_each(replace),
            one => replace(one),
        }
        Some((status, answer.to_string().into_bytes()))
    }
}

fn elements(request: &Value) -> &[Value] {
    match request {
        Value::Array(calls) => calls,
        one => std::slice::from_ref(one),
    }
}

fn methods_of(request: &Value) -> Vec<String> {
    elements(request)
        .iter()
        .filter_map(|call| call["method"].as_str())
        .map(str::to_owned)
        .collect()
}

// The body of the next request; `None` at the end of the connection.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
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
