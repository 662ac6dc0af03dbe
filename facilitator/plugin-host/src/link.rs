//! The core's end of the socket to an isolated plugin: frames are written at once where the socket takes them, and queued
//! otherwise. Nothing here waits.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;

use parking_lot::Mutex;
use sdk_plugin::operation::OperationKind;
use sdk_plugin::{Fault, FaultKind};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::frame::{BodyWriter, Kind, Message};
use super::functions::Handed;

/// From so many waiting bytes on, nothing more is read of the process: what it requests would only add to them.
const CLOGGED_BYTES: usize = 4 << 20;
/// Most bytes that wait for a process. From then on calls are refused, and a result that does not fit ends the process.
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
    /// It did not read results that it had requested.
    overfull: bool,
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
            overfull: false,
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
    pub(crate) fn submit(&self, handed: &Handed, request: &[u8]) -> Result<(), Fault> {
        let (key, operation) = (handed.key, handed.operation);
        let trace = handed.trace.as_deref().unwrap_or_default();
        let body = BodyWriter::with_room(request.len() + 128)
            .u64(handed.call_id)
            .u64(handed.timeout_ns())
            .bytes(operation.name().as_bytes())
            .bytes(trace.as_bytes())
            .rest(request)
            .done();
        let mut state = self.state.lock();
        if state.over {
            return Err(down("the plugin is ending"));
        }
        let is_start = operation == OperationKind::Start;
        let up = match &mut state.up {
            Some(up) if up.started || is_start => up,
            Some(_) => return Err(down("the plugin's process starts")),
            None => return Err(down(&state.why_down)),
        };
        if up.waiting.bytes() > MOST_WAITING_BYTES {
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
            if up.waiting.bytes() > MOST_WAITING_BYTES {
                up.overfull = true;
                self.changed.notify_one();
                return;
            }
            self.push(up, Message::new(Kind::HostDone, key.id, body));
        }
    }

    /// Whether the process has to end, because it did not read results that it had requested.
    pub(super) fn is_overfull(&self) -> bool {
        self.state.lock().up.as_ref().is_some_and(|up| up.overfull)
    }

    /// Whether so much waits for the process that nothing more is read of it.
    pub(super) fn is_clogged(&self) -> bool {
        let state = self.state.lock();
        state
            .up
            .as_ref()
            .is_some_and(|up| up.waiting.bytes() > CLOGGED_BYTES)
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
        state.up.as_ref().is_some_and(|up| up.waiting.bytes() > 0)
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
    /// Bytes of those in the queues, and of each one's head.
    queued: usize,
}

impl Waiting {
    /// Counts a message without a body.
    const HEAD: usize = 1;

    fn push(&mut self, message: Message) {
        self.queued = self.queued.saturating_add(message.body.len() + Self::HEAD);
        match message.kind {
            Kind::Cancel => self.urgent.push_back(message),
            _ => self.queue.push_back(message),
        }
    }

    /// Bytes that the socket has not taken.
    fn bytes(&self) -> usize {
        let rest = self.frame.len().saturating_sub(self.written);
        self.queued.saturating_add(rest)
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
            self.queued = self.queued.saturating_sub(Self::HEAD);
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
            self.queued = self.queued.saturating_sub(sent.body.len() + Self::HEAD);
        }
        true
    }
}

/// Not a fault of a node: those who call learn that the plugin itself does not run.
fn down(why: &str) -> Fault {
    Fault::new(FaultKind::Shutdown, why)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as StdStream;

    use std::time::Duration;

    use super::*;
    use crate::frame::Incoming;

    fn pair() -> (Arc<UnixStream>, UnixStream) {
        let (ours, theirs) = StdStream::pair().expect("a pair");
        let [ours, theirs] = [ours, theirs].map(|end| {
            end.set_nonblocking(true).expect("it can");
            UnixStream::from_std(end).expect("a runtime")
        });
        (Arc::new(ours), theirs)
    }

    /// Reads until nothing comes for a while.
    async fn drain(socket: &UnixStream, incoming: &mut Incoming) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            while let Some(message) = incoming.next().expect("well formed") {
                messages.push(message);
            }
            let ready = tokio::time::timeout(Duration::from_millis(20), socket.readable());
            if ready.await.is_err() {
                return messages;
            }
            if let Ok(count) = socket.try_read(incoming.room()) {
                incoming.filled(count);
            }
        }
    }

    #[tokio::test]
    async fn whatever_the_socket_does_not_take_waits_until_it_does() {
        // The last frame of the last message, too: for each number of messages another part is what waits.
        for count in 1..=12_u64 {
            let (ours, theirs) = pair();
            let link = Link::new();
            let generation = link.up(ours);
            let mut incoming = Incoming::new(1 << 20);
            for id in 0..count {
                link.host_done(HostCallKey { generation, id }, 0, &[7; 40 << 10]);
            }
            let mut arrived = Vec::new();
            loop {
                arrived.extend(drain(&theirs, &mut incoming).await);
                if !link.is_waiting() {
                    break;
                }
                link.write();
            }
            arrived.extend(drain(&theirs, &mut incoming).await);
            let ids: Vec<u64> = arrived.iter().map(|message| message.id).collect();
            assert_eq!(ids, (0..count).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_cancellation_overtakes_what_waits() {
        let (ours, theirs) = pair();
        let link = Link::new();
        let generation = link.up(ours);
        for id in 0..4 {
            link.host_done(HostCallKey { generation, id }, 0, &[7; 900 << 10]);
        }
        link.cancel(99);
        let mut incoming = Incoming::new(1 << 20);
        let mut first = Vec::new();
        while first.is_empty() {
            first = drain(&theirs, &mut incoming).await;
            link.write();
        }
        assert_eq!(
            first.first().map(|message| (message.kind, message.id)),
            Some((Kind::Cancel, 99))
        );
    }

    #[tokio::test]
    async fn a_process_that_reads_nothing_costs_a_bounded_amount_of_memory() {
        let (ours, _theirs) = pair();
        let link = Link::new();
        let generation = link.up(ours);
        let done = |id| link.host_done(HostCallKey { generation, id }, 0, &[7; 1 << 20]);
        (0..3).for_each(done);
        assert!(!link.is_clogged());
        (0..4).for_each(done);
        assert!(link.is_clogged() && !link.is_overfull());
        (0..1_000).for_each(done);
        assert!(link.is_overfull());
        let waiting = link.state.lock().up.as_ref().map(|up| up.waiting.bytes());
        assert!(
            waiting.is_some_and(|bytes| bytes <= MOST_WAITING_BYTES + (2 << 20)),
            "{waiting:?}"
        );
        let handed = Handed {
            key: 1,
            call_id: 1,
            operation: OperationKind::Start,
            timeout: Duration::ZERO,
            trace: None,
        };
        let refused = link.submit(&handed, b"{}");
        assert_eq!(refused.expect_err("too much waits").kind, FaultKind::Overloaded);
    }
}
