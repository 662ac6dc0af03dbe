//! A proxy in front of the node: counts round trips, remembers their bodies, breaks chosen methods in chosen ways, and
//! shows the chain as late, pruned or balanced nodes do.
//!
//! Faults are rules about methods. A batch counts as one trip; a fault of the whole exchange meets it when any of its
//! methods is concerned. A [`View`] is what the node knows; it applies to every call that no rule has kept from the node. Several proxies in
//! front of one node are a pool; one proxy with several views is a pool with one URL.
//!
//! One thread per connection.

mod fault;
mod view;
mod view_at;
pub mod wire;

use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use fault::{Edit, Fault};
use fault::{Rule, Rules};
pub use view::{Kind, Lags, View};
use view_at::{Prepared, ViewAt};
use wire::{elements, methods_of, read_request, write_answer};

use crate::{Error, wait};

/// One request that reached the proxy.
#[derive(Debug, Clone)]
pub struct Trip {
    pub methods: Vec<String>,
    /// The JSON-RPC request, or the batch.
    pub body: Value,
}

/// What a balancer gives to the next of its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Each request goes to one node, a batch as a whole.
    Request,
    /// Each call goes to a node of its own, also those of one batch: a batch is not one view of the chain.
    Call,
}

#[derive(Debug)]
struct State {
    node: String,
    trips: Vec<Trip>,
    rules: Rules,
    /// Never empty; served in turn.
    views: Vec<View>,
    turn: Turn,
    next_view: usize,
    closed: bool,
}

#[derive(Debug)]
struct Shared {
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
            agent: config.into(),
            state: Mutex::new(State {
                node: node.to_owned(),
                trips: Vec::new(),
                rules: Rules::default(),
                views: vec![View::default()],
                turn: Turn::Request,
                next_view: 0,
                closed: false,
            }),
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
        self.shared.lock().rules.set(method, fault, None, None);
        self.shared.changed.notify_all();
    }

    /// The same for a while.
    pub fn on_for(&self, method: &str, fault: Fault, lasts: Duration) {
        self.shared.lock().rules.set(method, fault, Some(lasts), None);
        self.shared.changed.notify_all();
    }

    /// The same for the next request with the method only.
    pub fn once(&self, method: &str, fault: Fault) {
        self.shared.lock().rules.set(method, fault, None, Some(1));
        self.shared.changed.notify_all();
    }

    /// Lifts the rule about a method.
    pub fn lift(&self, method: &str) {
        self.shared.lock().rules.lift(method);
        self.shared.changed.notify_all();
    }

    /// From now on the node knows only this.
    pub fn set_view(&self, view: View) {
        self.balance(vec![view], Turn::Request);
    }

    /// From now on several nodes answer in turn.
    ///
    /// # Panics
    /// Without a view.
    pub fn balance(&self, views: Vec<View>, turn: Turn) {
        assert!(!views.is_empty(), "a balancer has a node at least");
        let mut state = self.shared.lock();
        state.views = views;
        state.turn = turn;
    }

    /// From now on another node is behind the proxy, perhaps of another chain.
    pub fn point_at(&self, node: &str) {
        node.clone_into(&mut self.shared.lock().node);
    }

    /// Lifts every rule and shows everything; held answers go out.
    pub fn heal(&self) {
        {
            let mut state = self.shared.lock();
            state.rules.clear();
            state.views = vec![View::default()];
        }
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

    /// The transactions that came, each once, in the order in which they came first: `0x` hex of their bytes.
    #[must_use]
    pub fn transactions(&self) -> Vec<String> {
        let mut seen = Vec::new();
        for trip in &self.shared.lock().trips {
            for call in elements(&trip.body) {
                let bytes = call["params"][0].as_str().unwrap_or_default().to_owned();
                if call["method"] == "eth_sendRawTransaction" && !seen.contains(&bytes) {
                    seen.push(bytes);
                }
            }
        }
        seen
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
        let Ok(mut writer) = stream.try_clone() else {
            return;
        };
        let mut reader = BufReader::new(stream);
        while let Some(body) = read_request(&mut reader) {
            let Some((status, answer)) = self.answer(&body) else {
                return;
            };
            if write_answer(&mut writer, status, &answer).is_none() {
                return;
            }
        }
    }

    fn answer(&self, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let request: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let methods = methods_of(&request);
        let rules = {
            let mut state = self.lock();
            state.trips.push(Trip {
                methods: methods.clone(),
                body: request.clone(),
            });
            state.rules.take(&methods)
        };
        match rules.first() {
            None => self.answer_by_views(body, &request),
            Some(rule) if rule.fault.is_of_the_exchange() => self.exchange(body, &request, rule),
            Some(_) => self.rewrite(&request, &rules),
        }
    }

    /// Breaks a whole exchange.
    fn exchange(&self, body: &[u8], request: &Value, rule: &Rule) -> Option<(u16, Vec<u8>)> {
        match &rule.fault {
            Fault::Refuse => None,
            Fault::Status(status) => {
                Some((*status, br#"{"error":"upstream key sk-hidden failed"}"#.to_vec()))
            }
            Fault::LoseAnswer => {
                self.answer_by_views(body, request);
                None
            }
            Fault::Delay(pause) => {
                let answer = self.answer_by_views(body, request);
                std::thread::sleep(*pause);
                answer
            }
            Fault::HoldAnswer => {
                let answer = self.answer_by_views(body, request);
                self.wait_until_lifted(rule.id);
                answer
            }
            Fault::Answer(_)
            | Fault::RpcError(_)
            | Fault::Reject(_)
            | Fault::Swallow(_)
            | Fault::HeadAhead(_)
            | Fault::Edit(_) => self.answer_by_views(body, request),
        }
    }

    fn wait_until_lifted(&self, rule: u64) {
        let mut state = self.lock();
        while let Some(end) = state.rules.end_of(rule) {
            let pause = end.map_or(Duration::from_secs(3_600), |end| {
                end.saturating_duration_since(Instant::now())
            });
            state = self
                .changed
                .wait_timeout(state, pause)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
    }

    /// The answer as far as the node, or each of the balanced nodes, knows it.
    fn answer_by_views(&self, body: &[u8], request: &Value) -> Option<(u16, Vec<u8>)> {
        let calls = elements(request);
        let views = self.views_for(calls.len());
        if views.iter().all(View::is_plain) {
            return self.forward(body);
        }
        let head = view::number(&self.call_node("eth_blockNumber", json!([]))?)?;
        let mut call_node = |method: &str, params: Value| self.call_node(method, params);
        let mut forwarded = Vec::new();
        let mut answers: Vec<Option<Value>> = Vec::new();
        for (call, view) in calls.iter().zip(&views) {
            let method = call["method"].as_str().unwrap_or_default();
            match (ViewAt { view, head }).prepare(method, &call["params"], &mut call_node) {
                Prepared::Forward(params) => {
                    forwarded.push(
                        json!({"jsonrpc": "2.0", "id": call["id"], "method": method, "params": params}),
                    );
                    answers.push(None);
                }
                Prepared::Answer(member, value) => {
                    answers.push(Some(json!({"jsonrpc": "2.0", "id": call["id"], (member): value})));
                }
            }
        }
        let came = self.forward_all(forwarded)?;
        let mut shown = Vec::new();
        for ((call, view), answer) in calls.iter().zip(&views).zip(answers) {
            let answer = match answer {
                Some(answer) => answer,
                None => {
                    let mut answer = came.iter().find(|one| one["id"] == call["id"])?.clone();
                    let method = call["method"].as_str().unwrap_or_default();
                    if answer.get("result").is_some() {
                        (ViewAt { view, head }).show(method, &call["params"], &mut answer);
                    }
                    answer
                }
            };
            shown.push(answer);
        }
        let whole = match request {
            Value::Array(_) => Value::Array(shown),
            _ => shown.pop()?,
        };
        Some((200, whole.to_string().into_bytes()))
    }

    /// Which node answers each of so many calls of one request.
    fn views_for(&self, calls: usize) -> Vec<View> {
        let mut state = self.lock();
        let turns = match state.turn {
            Turn::Request => 1,
            Turn::Call => calls.max(1),
        };
        let count = state.views.len();
        let first = state.next_view;
        state.next_view = (first + turns) % count;
        (0..calls)
            .map(|at| state.views[(first + at.min(turns - 1)) % count].clone())
            .collect()
    }

    fn call_node(&self, method: &str, params: Value) -> Option<Value> {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let (_, answer) = self.forward(call.to_string().as_bytes())?;
        let answer: Value = serde_json::from_slice(&answer).ok()?;
        answer.get("result").cloned()
    }

    fn forward_all(&self, calls: Vec<Value>) -> Option<Vec<Value>> {
        if calls.is_empty() {
            return Some(Vec::new());
        }
        let (_, answer) = self.forward(Value::Array(calls).to_string().as_bytes())?;
        serde_json::from_slice(&answer).ok()
    }

    fn forward(&self, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let node = self.lock().node.clone();
        let mut response = self
            .agent
            .post(&node)
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

    /// Changes the answers of the calls that rules concern; a call that is rejected or swallowed never reaches the node.
    fn rewrite(&self, request: &Value, rules: &[Rule]) -> Option<(u16, Vec<u8>)> {
        let mut kept = Vec::new();
        let mut answers = Vec::new();
        for call in elements(request) {
            let kept_from_it = rules.iter().find_map(|rule| match &rule.fault {
                Fault::Reject(error) if rule.concerns_call(call) => Some(("error", error)),
                Fault::Swallow(result) if rule.concerns_call(call) => Some(("result", result)),
                _ => None,
            });
            match kept_from_it {
                Some((member, value)) => {
                    answers.push(json!({"jsonrpc": "2.0", "id": call["id"], member: value}));
                }
                None => kept.push(call.clone()),
            }
        }
        if !kept.is_empty() {
            let kept = Value::Array(kept);
            let (_, came) = self.answer_by_views(kept.to_string().as_bytes(), &kept)?;
            answers.extend(serde_json::from_slice::<Vec<Value>>(&came).ok()?);
        }
        for one in &mut answers {
            let call = elements(request).iter().find(|call| call["id"] == one["id"])?;
            for rule in rules.iter().filter(|rule| rule.concerns_call(call)) {
                match &rule.fault {
                    Fault::Answer(result) => replace(one, "result", result.clone()),
                    Fault::RpcError(error) => replace(one, "error", error.clone()),
                    Fault::HeadAhead(blocks) => ahead(call, one, *blocks),
                    Fault::Edit(edit) => (edit.0)(&call["params"], one),
                    _ => {}
                }
            }
        }
        let whole = match request {
            Value::Array(_) => Value::Array(answers),
            _ => answers.pop()?,
        };
        Some((200, whole.to_string().into_bytes()))
    }
}

fn replace(one: &mut Value, member: &str, value: Value) {
    *one = json!({"jsonrpc": "2.0", "id": one["id"], (member): value});
}

fn ahead(call: &Value, one: &mut Value, blocks: u64) {
    let head = match call["method"].as_str() {
        Some("eth_blockNumber") => one.get_mut("result"),
        Some("eth_getBlockByNumber") if call["params"][0] == "latest" => one.pointer_mut("/result/number"),
        Some(_) | None => None,
    };
    if let Some(head) = head
        && let Some(number) = view::number(head)
    {
        *head = json!(format!("{:#x}", number.saturating_add(blocks)));
    }
}
