//! The core's end of the socket to an isolated plugin: frames are written at once where the socket takes them, and queued
//! otherwise. Nothing here waits.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sdk_plugin::operation::OperationKind;
use sdk_plugin::{Fault, FaultKind};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::frame::{BodyWriter, Kind, Message};

/// Most bytes that wait for a process before calls are refused.
const MOST_WAITING_BYTES: usize = 32 << 20;

/// The process that makes a host call, and the plugin's id of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct HostCallKey {
    /// Counts the processes of an isolated plugin; 0 for code in this process.
    pub(super) generation: u32,
    pub(super) id: u64,
}

/// The way to an instance's process, whichever it is now.
#[derive(Debug)]
pub(crate) struct Link {
    state: Mutex<State>,
    /// Wakes the keeper: something waits for the socket.
    changed: Notify,
    ended: Notify,
}

#[derive(Debug)]
struct State {
    /// Counts the processes.
    generation: u32,
    up: Option<Up>,
    /// Why there is no process, as a sentence.
    why_down: String,
    /// The instance is no longer needed.
    over: bool,
}

#[derive(Debug)]
struct Up {
    socket: Arc<UnixStream>,
    waiting: Waiting,
    /// `plugin.start` was answered.
    started: bool,
}

impl Link {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                generation: 0,
                up: None,
                why_down: "its process starts".to_owned(),
                over: false,
            }),
            changed: Notify::new(),
            ended: Notify::new(),
        })
    }

    /// A process is there. Returns its generation.
    pub(super) fn up(&self, socket: Arc<UnixStream>) -> u32 {
        let mut state = self.state.lock();
        state.generation = state.generation.saturating_add(1);
        state.up = Some(Up {
            socket,
            waiting: Waiting::default(),
            started: false,
        });
        state.generation
    }

    /// There is no process.
    pub(super) fn down(&self, why: String) {
        let mut state = self.state.lock();
        state.up = None;
        state.why_down = why;
    }

    /// The process takes calls.
    pub(crate) fn started(&self) {
        if let Some(up) = &mut self.state.lock().up {
            up.started = true;
        }
    }

    /// Passes a call on. Its answer has the same key.
    pub(crate) fn submit(
        &self,
        key: u64,
        call_id: u64,
        operation: OperationKind,
        limit: Duration,
        request: &[u8],
    ) -> Result<(), Fault> {
        let body = BodyWriter::with_room(request.len() + 64)
            .u64(call_id)
            .u64(u64::try_from(limit.as_nanos()).unwrap_or(0))
            .bytes(operation.name().as_bytes())
            .rest(request)
            .done();
        let mut state = self.state.lock();
        if state.over {
            return Err(Fault::new(FaultKind::Shutdown, "the plugin is ending"));
        }
        let is_start = operation == OperationKind::Start;
        let up = match &mut state.up {
            Some(up) if up.started || is_start => up,
            Some(_) => return Err(Fault::unavailable("the plugin's process starts")),
            None => return Err(Fault::unavailable(state.why_down.clone())),
        };
        if up.waiting.bytes > MOST_WAITING_BYTES {
            let message = "the plugin's process reads slower than it is called";
            return Err(Fault::new(FaultKind::Overloaded, message));
        }
        self.push(up, Message::new(Kind::Submit, key, body));
        Ok(())
    }

    /// The caller of a call stopped waiting. Overtakes what is queued.
    pub(crate) fn cancel(&self, call_id: u64) {
        self.send(Message::new(Kind::Cancel, call_id, Vec::new()));
    }

    /// The result of a host call, for the process that made it.
    pub(crate) fn host_done(&self, key: HostCallKey, status: i32, body: &[u8]) {
        let body = BodyWriter::with_room(body.len() + 8)
            .i32(status)
            .rest(body)
            .done();
        let mut state = self.state.lock();
        if state.generation == key.generation
            && let Some(up) = &mut state.up
        {
            self.push(up, Message::new(Kind::HostDone, key.id, body));
        }
    }

    /// The instance is no longer needed.
    pub(crate) fn end(&self) {
        self.state.lock().over = true;
        self.send(Message::new(Kind::End, 0, Vec::new()));
        self.ended.notify_waiters();
    }

    pub(super) fn is_over(&self) -> bool {
        self.state.lock().over
    }

    /// Returns when the instance is no longer needed.
    pub(super) async fn over(&self) {
        let ended = self.ended.notified();
        if !self.is_over() {
            ended.await;
        }
    }

    pub(super) fn send(&self, message: Message) {
        if let Some(up) = &mut self.state.lock().up {
            self.push(up, message);
        }
    }

    fn push(&self, up: &mut Up, message: Message) {
        up.waiting.push(message);
        if !up.waiting.write(&up.socket) {
            self.changed.notify_one();
        }
    }

    /// Returns when something waits for the socket.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether something waits for the socket to take more.
    pub(super) fn is_waiting(&self) -> bool {
        let state = self.state.lock();
        state.up.as_ref().is_some_and(|up| up.waiting.bytes > 0)
    }

    /// The socket takes more.
    pub(super) fn write(&self) {
        if let Some(up) = &mut self.state.lock().up {
            up.waiting.write(&up.socket);
        }
    }
}

/// Messages that wait for the socket.
#[derive(Debug, Default)]
struct Waiting {
    /// Cancellations, before everything else.
    urgent: VecDeque<Message>,
    queue: VecDeque<Message>,
    /// Where the next frame of the first one in `queue` begins.
    at: usize,
    /// The frame that is being written, and how much of it is.
    frame: Vec<u8>,
    written: usize,
    /// Bytes of all of them, and of each one's head.
    bytes: usize,
}

impl Waiting {
    /// Counts a message without a body.
    const HEAD: usize = 1;

    fn push(&mut self, message: Message) {
        self.bytes = self.bytes.saturating_add(message.body.len() + Self::HEAD);
        match message.kind {
            Kind::Cancel => self.urgent.push_back(message),
            _ => self.queue.push_back(message),
        }
    }

    /// Writes what the socket takes; `false`: it takes no more now.
    fn write(&mut self, socket: &UnixStream) -> bool {
        loop {
            if self.written == self.frame.len() && !self.next_frame() {
                return true;
            }
            let rest = self.frame.get(self.written..).unwrap_or_default();
            match socket.try_write(rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // The process has ended; the keeper reads that.
                Err(_) => return true,
            }
        }
    }

    /// Begins the next frame; `false`: there is none.
    fn next_frame(&mut self) -> bool {
        self.written = 0;
        self.frame.clear();
        if let Some(message) = self.urgent.pop_front() {
            self.frame = message.frame(0).0;
            self.bytes = self.bytes.saturating_sub(Self::HEAD);
            return true;
        }
        let Some(message) = self.queue.front() else {
            return false;
        };
        let (frame, next) = message.frame(self.at);
        self.frame = frame;
        self.at = next.unwrap_or_default();
        if next.is_none()
            && let Some(sent) = self.queue.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(sent.body.len() + Self::HEAD);
        }
        true
    }
}
