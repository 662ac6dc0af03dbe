//! A node that answers anything.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use e2e::proxy::wire::{elements, read_request};
use e2e::sign::{hex0x, keccak};
use serde_json::{Value, json};

use super::SEND;

/// An HTTP answer.
pub(super) struct Raw {
    pub(super) status: u16,
    /// Lines, each with its line break.
    pub(super) headers: String,
    pub(super) body: Vec<u8>,
    /// How much `Content-Length` exceeds the length of the body.
    pub(super) missing: usize,
    /// Between two bytes of the body.
    pub(super) pause: Option<Duration>,
}

impl Raw {
    pub(super) fn of(status: u16, body: impl Into<Vec<u8>>) -> Option<Raw> {
        Some(Raw {
            status,
            headers: String::new(),
            body: body.into(),
            missing: 0,
            pause: None,
        })
    }

    pub(super) fn json(answer: &Value) -> Option<Raw> {
        Raw::of(200, answer.to_string())
    }

    pub(super) fn with_header(self, line: &str) -> Option<Raw> {
        let headers = format!("{line}\r\n");
        Some(Raw { headers, ..self })
    }

    pub(super) fn dripping(self, pause: Duration) -> Option<Raw> {
        let pause = Some(pause);
        Some(Raw { pause, ..self })
    }
}

/// What is answered to a request or a batch, given the real node. `None` closes the connection.
pub(super) type Answer = Box<dyn Fn(&Value, &dyn Fn(&Value) -> Value) -> Option<Raw> + Send + Sync>;

struct State {
    node: String,
    answer: Option<Arc<Answer>>,
    /// By method.
    calls: BTreeMap<String, usize>,
    closed: bool,
}

/// Answers as the real node it forwards to, or as a test has it. It stops listening when dropped.
pub(super) struct AnyNode {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AnyNode {
    pub(super) fn start(node: &str) -> AnyNode {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State {
            node: node.to_owned(),
            answer: None,
            calls: BTreeMap::new(),
            closed: false,
        }));
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if lock(&accepting).closed {
                    return;
                }
                let state = Arc::clone(&accepting);
                // A connection's thread ends with its connection, which its client owns.
                std::thread::spawn(move || serve(&state, stream));
            }
        });
        AnyNode { address, state }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it answers like this.
    pub(super) fn answer(&self, answer: Answer) {
        lock(&self.state).answer = Some(Arc::new(answer));
    }

    /// From now on each answer to a call is changed.
    pub(super) fn edit(&self, change: impl Fn(&Value, &mut Value) + Send + Sync + 'static) {
        self.answer(edited(change));
    }

    /// From now on calls of a method have this result.
    pub(super) fn result(&self, method: &str, value: Value) {
        let method = method.to_owned();
        self.edit(move |call, answer| {
            if call["method"] == method.as_str() {
                *answer = result(call, &value);
            }
        });
    }

    /// From now on sends do not reach the real node, and this is answered.
    pub(super) fn on_send(&self, answer: impl Fn(&Value) -> Option<Raw> + Send + Sync + 'static) {
        self.answer(Box::new(move |request, node| {
            if request["method"] == SEND {
                answer(request)
            } else {
                Raw::json(&node(request))
            }
        }));
    }

    pub(super) fn refuse_sends(&self, code: i64, message: &str) {
        let error = json!({"code": code, "message": message});
        self.on_send(move |request| Raw::json(&failure(request, &error)));
    }

    pub(super) fn heal(&self) {
        lock(&self.state).answer = None;
    }

    /// From now on another node is behind it, perhaps of another chain.
    pub(super) fn point_at(&self, node: &str) {
        node.clone_into(&mut lock(&self.state).node);
    }

    /// How many calls of a method came.
    pub(super) fn calls_of(&self, method: &str) -> usize {
        lock(&self.state).calls.get(method).copied().unwrap_or(0)
    }
}

impl Drop for AnyNode {
    fn drop(&mut self) {
        lock(&self.state).closed = true;
        // Wakes the accepting thread, which then sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

// Any failure ends the connection: that is all a client can notice.
fn serve(state: &Mutex<State>, stream: TcpStream) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    while let Some(body) = read_request(&mut reader) {
        let request: Value = serde_json::from_slice(&body).ok()?;
        let answer = {
            let mut state = lock(state);
            for call in elements(&request) {
                let method = call["method"].as_str().unwrap_or_default().to_owned();
                *state.calls.entry(method).or_default() += 1;
            }
            state.answer.clone()
        };
        let raw = match answer {
            None => Raw::json(&forward(state, &request)?)?,
            Some(answer) => {
                let node = |request: &Value| forward(state, request).unwrap_or(Value::Null);
                answer(&request, &node)?
            }
        };
        write(&mut writer, &raw)?;
        if raw.missing > 0 {
            return None;
        }
    }
    Some(())
}

fn write(writer: &mut TcpStream, raw: &Raw) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {} Any\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{}\r\n",
        raw.status,
        raw.body.len() + raw.missing,
        raw.headers
    );
    writer.write_all(head.as_bytes()).ok()?;
    let Some(pause) = raw.pause else {
        return writer.write_all(&raw.body).ok();
    };
    for byte in &raw.body {
        writer.write_all(&[*byte]).ok()?;
        std::thread::sleep(pause);
    }
    Some(())
}

fn forward(state: &Mutex<State>, request: &Value) -> Option<Value> {
    let node = lock(state).node.clone();
    let mut response = ureq::post(&node)
        .header("content-type", "application/json")
        .send(request.to_string().as_bytes())
        .ok()?;
    let body = response.body_mut().with_config().limit(u64::MAX);
    serde_json::from_slice(&body.read_to_vec().ok()?).ok()
}

/// The answer to a call.
pub(super) fn result(call: &Value, value: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": call["id"], "result": value})
}

/// The same with an error object.
pub(super) fn failure(call: &Value, error: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": call["id"], "error": error})
}

/// The real node's answers, each changed: the call and its answer object.
pub(super) fn edited(change: impl Fn(&Value, &mut Value) + Send + Sync + 'static) -> Answer {
    Box::new(move |request, node| {
        let mut answer = node(request);
        edit(request, &mut answer, &change);
        Raw::json(&answer)
    })
}

fn edit(request: &Value, answer: &mut Value, change: &dyn Fn(&Value, &mut Value)) {
    match (request, answer) {
        (Value::Array(calls), Value::Array(answers)) => {
            for call in calls {
                if let Some(answer) = answers.iter_mut().find(|answer| answer["id"] == call["id"]) {
                    change(call, answer);
                }
            }
        }
        (call, answer) => change(call, answer),
    }
}

/// The result of a send, without the real node: the transaction's hash.
pub(super) fn keep_for_itself(send: &Value) -> Option<Raw> {
    let raw = send["params"][0].as_str().unwrap_or_default();
    let bytes = hex::decode(raw.trim_start_matches("0x")).ok()?;
    Raw::json(&result(send, &json!(hex0x(&keccak(&bytes)))))
}

/// What a node answers whose newest block is this one, and which knows no transaction.
pub(super) fn as_of(block: u128, request: &Value, node: &dyn Fn(&Value) -> Value) -> Option<Raw> {
    let block = format!("{block:#x}");
    let turn_back = |call: &mut Value| match call["method"].as_str() {
        Some("eth_blockNumber") => {
            call["method"] = json!("eth_getBlockByNumber");
            call["params"] = json!([block, false]);
        }
        Some("eth_getTransactionReceipt" | "eth_getTransactionByHash") => {
            call["params"] = json!([format!("0x{}", "00".repeat(32))]);
        }
        Some(_) | None => {
            let params = call["params"].as_array_mut();
            for param in params.into_iter().flatten().filter(|param| **param == "latest") {
                *param = json!(block);
            }
        }
    };
    let mut old = request.clone();
    match &mut old {
        Value::Array(calls) => calls.iter_mut().for_each(turn_back),
        one => turn_back(one),
    }
    let mut answer = node(&old);
    edit(request, &mut answer, &|call, answer| {
        if call["method"] == "eth_blockNumber" {
            answer["result"] = answer["result"]["number"].clone();
        }
    });
    Raw::json(&answer)
}
