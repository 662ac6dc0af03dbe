//! The messages between the core and the process of an isolated plugin, over a socket pair.
//!
//! A message has a kind, an id and a body. It travels in frames of at most [`CHUNK_BYTES`]: a head of 16 bytes (length of the
//! frame's part of the body, kind, whether more follows, id) and the part. One long message at a time is in frames on a socket;
//! short ones, such as a cancellation, may come between its frames.
//!
//! Assumes nothing about what arrives: anything that is not of this form is [`Malformed`], and ends the process that sent it.

/// Longest part of a body in one frame.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;
const HEAD_BYTES: usize = 16;
/// What the head of a message in this module adds to a plugin's own longest message.
const OVERHEAD_BYTES: usize = 64 << 10;

/// What a message is about. Odd numbers are never sent, so that zeros are malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To the runner: [`Setup`](crate::runner::Setup), JSON. Its answer is `Sandboxed`.
    Setup,
    /// To the runner: open the file and create the instance. Its answer is `Created` or `Refused`.
    Create,
    /// To the runner: a call; its id is the answer's.
    Submit,
    /// To the runner: the caller of a call stopped waiting; the id is the call's id.
    Cancel,
    /// To the runner: the result of a host call; its id.
    HostDone,
    /// To the runner: destroy the instance and end.
    End,
    /// From the runner: [`Sandboxed`](crate::runner::Sandboxed), JSON.
    Sandboxed,
    /// From the runner: the instance is there.
    Created,
    /// From the runner: [`Refused`](crate::runner::Refused), JSON.
    Refused,
    /// From the runner: the result of a call.
    Answer,
    /// From the runner: a call to the host; its id is the result's.
    HostCall,
    /// From the runner: nobody waits for this host call any more.
    HostCancel,
    /// From the runner: a log line.
    Log,
    /// From the runner: a metric.
    Metric,
}

impl Kind {
    const ALL: [Self; 14] = [
        Self::Setup,
        Self::Create,
        Self::Submit,
        Self::Cancel,
        Self::HostDone,
        Self::End,
        Self::Sandboxed,
        Self::Created,
        Self::Refused,
        Self::Answer,
        Self::HostCall,
        Self::HostCancel,
        Self::Log,
        Self::Metric,
    ];

    const fn number(self) -> u8 {
        (self as u8 + 1) * 2
    }

    fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn new(kind: Kind, id: u64, body: Vec<u8>) -> Self {
        Self { kind, id, body }
    }

    /// Whether it needs more than one frame.
    pub(crate) fn is_long(&self) -> bool {
        self.body.len() > CHUNK_BYTES
    }

    /// The frame of the part that begins at `at`, and where the next part begins; `None` there after the last.
    pub(crate) fn frame(&self, at: usize) -> (Vec<u8>, Option<usize>) {
        let rest = self.body.get(at..).unwrap_or_default();
        let part = rest.get(..CHUNK_BYTES).unwrap_or(rest);
        let has_more = part.len() < rest.len();
        let mut frame = Vec::with_capacity(HEAD_BYTES + part.len());
        // At most CHUNK_BYTES.
        frame.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        frame.extend_from_slice(&[self.kind.number(), u8::from(has_more), 0, 0]);
        frame.extend_from_slice(&self.id.to_le_bytes());
        frame.extend_from_slice(part);
        (frame, has_more.then_some(at + part.len()))
    }

    /// All of its frames, in their order.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut at = Some(0);
        std::iter::from_fn(move || {
            let (frame, next) = self.frame(at?);
            at = next;
            Some(frame)
        })
    }
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Bytes from a socket, on their way to messages.
#[derive(Debug)]
pub(crate) struct Incoming {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
    /// The message of which not all frames are there.
    long: Option<Message>,
    /// Longest body of a message.
    longest: usize,
}

impl Incoming {
    /// For messages of a plugin with this largest message.
    pub(crate) fn new(message_bytes: usize) -> Self {
        Self {
            bytes: vec![0; 2 * (HEAD_BYTES + CHUNK_BYTES)],
            from: 0,
            to: 0,
            long: None,
            longest: message_bytes.saturating_add(OVERHEAD_BYTES),
        }
    }

    /// Where the next bytes go; never empty after [`Self::next`] answered that there is no message.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        self.bytes.get_mut(self.to..).unwrap_or_default()
    }

    /// `count` bytes were written to the start of [`Self::room`].
    pub(crate) fn filled(&mut self, count: usize) {
        self.to = self.to.saturating_add(count).min(self.bytes.len());
    }

    /// The next whole message; `None`: more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, Malformed> {
        loop {
            let there = self.bytes.get(self.from..self.to).unwrap_or_default();
            let Some((head, rest)) = there.split_first_chunk::<HEAD_BYTES>() else {
                return Ok(None);
            };
            let (len, kind, has_more, id) = parse(head)?;
            let Some(part) = rest.get(..len) else {
                return Ok(None);
            };
            if has_more && len != CHUNK_BYTES {
                return Err(Malformed("a frame that is not full, and is not the last"));
            }
            self.from += HEAD_BYTES + len;
            let is_next_part = self
                .long
                .as_ref()
                .is_some_and(|long| long.kind == kind && long.id == id);
            if is_next_part && let Some(mut long) = self.long.take() {
                if long.body.len() + len > self.longest {
                    return Err(Malformed("a message that is too long"));
                }
                long.body.extend_from_slice(part);
                if !has_more {
                    return Ok(Some(long));
                }
                self.long = Some(long);
                continue;
            }
            let message = Message::new(kind, id, part.to_vec());
            if !has_more {
                return Ok(Some(message));
            }
            if self.long.replace(message).is_some() {
                return Err(Malformed("a second long message before the first one's end"));
            }
        }
    }
}

/// Length of the part, kind, whether more follows, and id.
fn parse(head: &[u8; HEAD_BYTES]) -> Result<(usize, Kind, bool, u64), Malformed> {
    let mut body = Body(head);
    let len = body.u32()? as usize;
    let [kind, more, zeros @ ..] = body.array::<4>()?;
    let id = body.u64()?;
    let kind = Kind::of_number(kind).ok_or(Malformed("a frame of an unknown kind"))?;
    if more > 1 || zeros != [0; 2] {
        return Err(Malformed("a frame with unknown flags"));
    }
    if len > CHUNK_BYTES {
        return Err(Malformed("a frame that is too long"));
    }
    Ok((len, kind, more == 1, id))
}

/// The body of a message, read from its start.
#[derive(Debug)]
pub(crate) struct Body<'a>(pub(crate) &'a [u8]);

impl<'a> Body<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes with their length.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a name that is not UTF-8"))
    }

    /// What is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}

const SHORT: Malformed = Malformed("a message that is too short");

/// Writes a body that [`Body`] reads.
#[derive(Debug, Default)]
pub(crate) struct BodyWriter(Vec<u8>);

impl BodyWriter {
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn i32(mut self, number: i32) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(crate) fn u64(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    /// At most 4 GiB of them.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&len.to_le_bytes());
        self.rest(bytes)
    }

    /// Bytes up to the end, without their length.
    pub(crate) fn rest(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAP: usize = 300 << 10;

    fn frames(message: &Message) -> Vec<Vec<u8>> {
        message.frames().collect()
    }

    /// The messages in these bytes, which arrive in pieces of this size.
    fn received(bytes: &[u8], piece: usize) -> Result<Vec<Message>, Malformed> {
        let mut incoming = Incoming::new(CAP);
        let mut messages = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = incoming.room();
            let count = piece.min(room.len()).min(rest.len());
            assert!(count > 0, "room for more");
            let (now, later) = rest.split_at(count);
            room[..count].copy_from_slice(now);
            incoming.filled(count);
            rest = later;
            while let Some(message) = incoming.next()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn a_short_message_comes_between_the_frames_of_a_long_one() {
        let long = Message::new(Kind::Submit, 7, vec![1; 200 << 10]);
        let cancel = Message::new(Kind::Cancel, 6, Vec::new());
        let mut wire = frames(&long);
        assert_eq!(wire.len(), 4);
        wire.insert(2, cancel.frame(0).0);
        let messages = received(&wire.concat(), 1_000).expect("well formed");
        assert_eq!(messages, [cancel, long]);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut frame = Message::new(Kind::Log, 1, vec![0; 8]).frame(0).0;
            change(&mut frame);
            received(&frame, 9).expect_err("malformed").0
        };
        assert_eq!(refused(&|frame| frame[4] = 0), "a frame of an unknown kind");
        assert_eq!(refused(&|frame| frame[4] = 3), "a frame of an unknown kind");
        assert_eq!(refused(&|frame| frame[5] = 2), "a frame with unknown flags");
        assert_eq!(refused(&|frame| frame[7] = 1), "a frame with unknown flags");
        assert_eq!(refused(&|frame| frame[3] = 1), "a frame that is too long");
        assert_eq!(
            refused(&|frame| frame[5] = 1),
            "a frame that is not full, and is not the last"
        );
        let long = |id| frames(&Message::new(Kind::Log, id, vec![0; CHUNK_BYTES + 1]));
        let two = [long(1)[0].clone(), long(2)[0].clone()].concat();
        assert_eq!(
            received(&two, 999).expect_err("two at once").0,
            "a second long message before the first one's end"
        );
        let endless = frames(&Message::new(Kind::Log, 1, vec![0; CAP + OVERHEAD_BYTES + 1])).concat();
        assert_eq!(
            received(&endless, 50_000).expect_err("too long").0,
            "a message that is too long"
        );
    }

    proptest! {
        #[test]
        fn every_message_arrives_as_it_was(
            lengths in prop::collection::vec(0_usize..CAP, 1..4), id in any::<u64>(), piece in 1_usize..100_000,
        ) {
            let messages: Vec<Message> = lengths
                .iter()
                .zip(Kind::ALL)
                .map(|(len, kind)| Message::new(kind, id, vec![kind.number(); *len]))
                .collect();
            let wire: Vec<u8> = messages.iter().flat_map(frames).flatten().collect();
            prop_assert_eq!(received(&wire, piece), Ok(messages));
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..4_096), piece in 1_usize..999) {
            let _ = received(&bytes, piece);
            let mut body = Body(&bytes);
            while let Ok(part) = body.bytes() {
                prop_assert!(part.len() <= bytes.len());
            }
            let _ = body.text();
        }
    }
}
