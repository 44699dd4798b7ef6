//! What a topic's ring holds: a payload with its finished frames.
//!
//! A message's WebSocket frame exists once per [`Form`] and is shared by every shard and every
//! subscriber. A plain one is made by whoever needs it first; two may race, the first to store wins,
//! and nobody waits. A compressed one costs more to make: a shard claims it, and others come back for
//! it later. A frame holds nothing that depends on its receiver.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use once_cell::race::OnceBox;

use super::form::Form;
use super::topic::Topic;
use crate::protocol::{Data, Encoding, Epoch, render_message};
use crate::ring::{Entry, Seq};
use crate::ws::{self, Window};

/// What a retained message costs beside its payload and name: the structs, their allocations and
/// the slot, rounded up.
const OVERHEAD_BYTES: usize = 256;

/// Payloads begin here in a frame's bytes; the header is put in front, up against them.
const HEAD_BYTES_MAX: usize = 10;

/// A connection's number: unique in the process and hard to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

impl fmt::Display for ConnectionId {
    /// As clients see it, in base 36.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Epoch(self.0).fmt(f)
    }
}

/// One published message, as the ring keeps it.
#[derive(Debug)]
pub(crate) struct Message {
    data: Data,
    at_ms: u64,
    weight: usize,
    /// The connection it is left out for: a publisher that asked for `echo:false`.
    skip: Option<ConnectionId>,
    /// What it is about: of several with the same key only the newest counts.
    key: Option<Box<str>>,
    /// Who published it, proven, in a topic whose messages say so.
    from: Option<Arc<str>>,
    /// Which publish it is, for those who may repeat it: scope and key.
    mark: Option<Box<str>>,
    /// Which compressed frames somebody makes or has made, a bit for each.
    claims: AtomicU8,
    plain: [OnceBox<Frame>; 2],
    deflated: OnceBox<Deflated>,
}

/// The compressed frames of a message: `None` where compressing does not make it shorter.
type Deflated = [OnceBox<Option<Frame>>; Form::COUNT - 2];

const _: () = assert!(Form::COUNT - 2 == 2 * Window::ALL.len() && Form::COUNT - 2 <= 8);

/// A finished WebSocket frame: `bytes[start..]`.
#[derive(Debug)]
struct Frame {
    /// 0 <= start <= 8: the header is 2 to 10 bytes long and ends at 10.
    start: usize,
    bytes: Box<[u8]>,
    _counted: Option<Counted>,
}

/// What became of the frame that a shard asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// It was there, or there is nothing to be made.
    Ready,
    /// It was compressed for this call, to so many bytes; to as many as before if it did not shrink.
    Now { from: usize, to: usize },
    /// Another shard is at it.
    Elsewhere,
}

impl Message {
    #[inline]
    pub(crate) fn new(topic_bytes: usize, data: Data, skip: Option<ConnectionId>, at_ms: u64) -> Self {
        // Charged for the payload and for one frame of about its size. Further frames are counted as
        // they are made.
        let weight = OVERHEAD_BYTES + topic_bytes + 2 * data.bytes().len();
        Message {
            data,
            at_ms,
            weight,
            skip,
            key: None,
            from: None,
            mark: None,
            claims: AtomicU8::new(0),
            plain: Default::default(),
            deflated: OnceBox::new(),
        }
    }

    /// The same, about `key`.
    #[inline]
    pub(crate) fn about(mut self, key: Option<&str>) -> Self {
        self.key = key.map(Into::into);
        self.weight += key.map_or(0, str::len);
        self
    }

    /// The same, published by `subject`.
    #[inline]
    pub(crate) fn by(mut self, subject: Option<&Arc<str>>) -> Self {
        self.from = subject.cloned();
        self.weight += subject.map_or(0, |subject| subject.len());
        self
    }

    /// The same, as the publish that `scope` calls `key`: it is placed once however often it comes.
    #[inline]
    pub(crate) fn marked(mut self, scope: &str, key: Option<&str>) -> Self {
        // No topic, subject or key holds a NUL unless it means no other one by it.
        self.mark = key.map(|key| format!("{scope}\0{key}").into());
        self
    }

    /// About how long the frame of a message is that weighs so much.
    pub(super) fn frame_bytes(weight: usize, topic_bytes: usize) -> usize {
        const ENVELOPE_BYTES: usize = 48;
        weight.saturating_sub(OVERHEAD_BYTES + topic_bytes) / 2 + topic_bytes + ENVELOPE_BYTES
    }

    pub(super) fn mark(&self) -> Option<&str> {
        self.mark.as_deref()
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Who published it, if that was kept.
    pub(crate) fn from(&self) -> Option<&str> {
        self.from.as_deref()
    }

    /// When it was published, in milliseconds since 1970.
    pub(crate) fn published_ms(&self) -> u64 {
        self.at_ms
    }

    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    pub(crate) fn skip(&self) -> Option<ConnectionId> {
        self.skip
    }

    /// Sees to it that the frame in `form` can be had, unless another shard is making it. Only those
    /// of at least `bytes_min` are compressed.
    pub(crate) fn make(&self, form: Form, bytes_min: usize, topic: &Topic, seq: Seq) -> Made {
        let Some(window) = form.window() else { return Made::Ready };
        let from = self.plain(form, topic, seq).get().len();
        if from < bytes_min {
            return Made::Ready;
        }
        match self.claim(form) {
            Ok(claim) => Made::Now { from, to: claim.fill(window, topic, seq) },
            Err(made) => made,
        }
    }

    /// The right to make the compressed frame in `form`: somebody has it first, and once.
    pub(crate) fn claim(&self, form: Form) -> Result<Claim<'_>, Made> {
        let slots = self.deflated.get_or_init(Box::default);
        let number = form.index() - 2;
        if slots[number].get().is_some() {
            return Err(Made::Ready);
        }
        let bit = 1 << number;
        // Acquire: what the slot holds is looked at again, and whoever gave a claim up made nothing.
        if self.claims.fetch_or(bit, Ordering::Acquire) & bit != 0 {
            return Err(if slots[number].get().is_some() { Made::Ready } else { Made::Elsewhere });
        }
        Ok(Claim { message: self, form, slot: &slots[number] })
    }

    /// `form` if the message can be had in it now, else the plain form. The answer must be kept with a
    /// frame that has been written in part.
    pub(crate) fn settled(&self, form: Form) -> Form {
        if self.deflated(form).is_some() { form } else { form.plain() }
    }

    /// The whole frame in `form`, as far as it has been made, else the plain one: header and payload,
    /// ready to be written.
    pub(crate) fn frame(&self, form: Form, topic: &Topic, seq: Seq) -> &[u8] {
        self.deflated(form).unwrap_or_else(|| self.plain(form, topic, seq)).get()
    }

    /// The `message` event alone, without a frame's header: the same bytes for everybody.
    pub(super) fn event(&self, encoding: Encoding, topic: &Topic, seq: Seq) -> &[u8] {
        &self.plain(Form::new(encoding, None), topic, seq).bytes[HEAD_BYTES_MAX..]
    }

    fn plain(&self, form: Form, topic: &Topic, seq: Seq) -> &Frame {
        self.plain[form.plain().index()].get_or_init(|| Box::new(self.render(form, topic, seq)))
    }

    fn deflated(&self, form: Form) -> Option<&Frame> {
        form.window()?;
        self.deflated.get()?[form.index() - 2].get()?.as_ref()
    }

    fn render(&self, form: Form, topic: &Topic, seq: Seq) -> Frame {
        let mut bytes = Vec::with_capacity(HEAD_BYTES_MAX + 64 + topic.name().len() + self.data.bytes().len());
        bytes.extend_from_slice(&[0; HEAD_BYTES_MAX]);
        let epoch = (seq == Seq(1)).then(|| topic.epoch());
        let at = topic.says_at().then_some(self.at_ms);
        render_message(form.encoding(), topic.name(), seq.0, epoch, at, self.from(), &self.data, &mut bytes);
        // The header's length is known only now, so it is put in front, up against the payload.
        let head = ws::head(form.opcode(), bytes.len() - HEAD_BYTES_MAX);
        let start = HEAD_BYTES_MAX - head.len();
        bytes[start..HEAD_BYTES_MAX].copy_from_slice(&head);
        let is_first = self.plain.iter().all(|frame| frame.get().is_none());
        let counted = (!is_first).then(|| Counted::new(topic.frame_bytes(), bytes.len()));
        Frame { start, bytes: bytes.into_boxed_slice(), _counted: counted }
    }
}

/// See [`Message::claim`]. Dropped, it is somebody else's to have.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    message: &'a Message,
    form: Form,
    slot: &'a OnceBox<Option<Frame>>,
}

impl Claim<'_> {
    /// Makes the frame; gives how many bytes it has, those of the plain one if that is not longer.
    pub(crate) fn fill(self, window: Window, topic: &Topic, seq: Seq) -> usize {
        let plain = self.message.plain(self.form, topic, seq);
        let frame = ws::deflate(&plain.bytes[HEAD_BYTES_MAX..], window, |deflated| {
            let head = ws::head(self.form.opcode(), deflated.len()).deflated();
            let bytes = [&head, deflated].concat().into_boxed_slice();
            let counted = Counted::new(topic.frame_bytes(), bytes.len());
            Frame { start: 0, bytes, _counted: Some(counted) }
        });
        let to = frame.as_ref().map_or(plain.get().len(), |frame| frame.bytes.len());
        // Nobody else stores: the claim was ours.
        let _ = self.slot.set(Box::new(frame));
        to
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.slot.get().is_none() {
            // Release: pairs with the Acquire in `claim`.
            self.message.claims.fetch_and(!(1 << (self.form.index() - 2)), Ordering::Release);
        }
    }
}

impl Frame {
    fn get(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl Entry for Message {
    fn weight(&self) -> usize {
        self.weight
    }

    fn at_ms(&self) -> u64 {
        self.at_ms
    }
}

/// Bytes that count as held for as long as this lives.
#[derive(Debug)]
struct Counted {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

impl Counted {
    fn new(total: &Arc<AtomicUsize>, bytes: usize) -> Self {
        total.fetch_add(bytes, Ordering::Relaxed);
        Counted { total: Arc::clone(total), bytes }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
