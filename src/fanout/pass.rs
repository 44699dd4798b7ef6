//! One pass: what is new in some topics, as runs of joined bytes, and who is to get it.

use std::ops::Range;
use std::sync::Arc;

use crate::broker::{ConnectionId, Form, Message, Topic};
use crate::ring::Seq;

/// The work of one pass. Its buffers are kept from pass to pass.
#[derive(Debug, Default)]
pub(super) struct Pass {
    pub(super) runs: Vec<Run>,
    /// Connections to write to, and how many of them have been written.
    pub(super) touched: Vec<u32>,
    pub(super) written: usize,
    messages: Vec<Arc<Message>>,
    bytes: usize,
    /// The joined frames of all runs.
    arena: Vec<u8>,
    /// Where in its run each message ends, run after run.
    ends: Vec<u32>,
}

/// What one topic has had since the shard's cursor.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) slot: u32,
    pub(super) topic: Arc<Topic>,
    /// The first entry.
    pub(super) from: Seq,
    /// Its messages, by their place in the pass.
    messages: Range<usize>,
    joined: [Option<Joined>; Form::COUNT],
    /// Whether some message is left out for somebody.
    skips: bool,
}

/// A run in one form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    /// `arena[start..end]`.
    start: usize,
    end: usize,
    /// `ends[ends..]` has one entry per message, counted from `start`.
    ends: usize,
}

impl Joined {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }
}

/// How far a write got within a run.
#[derive(Debug)]
pub(super) struct Reached {
    /// How many of its messages have been written whole.
    pub(super) whole: usize,
    /// How many bytes of the next one have been written.
    pub(super) part: usize,
}

impl Pass {
    /// Begins a run; `add` its messages next.
    pub(super) fn begin(&mut self) -> usize {
        self.messages.len()
    }

    pub(super) fn add(&mut self, message: &Arc<Message>) {
        self.messages.push(Arc::clone(message));
    }

    /// How many messages have been added since `begin`.
    pub(super) fn added(&self, begun: usize) -> usize {
        self.messages.len() - begun
    }

    /// Drops what has been added since `begin`.
    pub(super) fn abandon(&mut self, begun: usize) {
        self.messages.truncate(begun);
    }

    /// Drops all but the first `count` of what has been added since `begin`.
    pub(super) fn keep(&mut self, begun: usize, count: usize) {
        self.messages.truncate(begun + count);
    }

    /// What has been added since `begin`.
    pub(super) fn since(&self, begun: usize) -> &[Arc<Message>] {
        &self.messages[begun..]
    }

    /// Makes a run of what has been added since `begin`; gives its number.
    pub(super) fn finish(&mut self, begun: usize, slot: u32, topic: Arc<Topic>, from: Seq) -> u32 {
        let messages = begun..self.messages.len();
        let skips = self.messages[messages.clone()].iter().any(|message| message.skip().is_some());
        self.runs.push(Run { slot, topic, from, messages, joined: [None; Form::COUNT], skips });
        (self.runs.len() - 1) as u32
    }

    pub(super) fn is_written(&self) -> bool {
        self.written == self.touched.len()
    }

    /// So many bytes of payloads have been added.
    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// How many bytes of payloads have been added.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets everything but the buffers, which shrink to what is usual.
    pub(super) fn clear(&mut self) {
        const ARENA_BYTES_KEPT: usize = 256 * 1024;
        self.runs.clear();
        self.touched.clear();
        self.written = 0;
        self.messages.clear();
        self.bytes = 0;
        self.arena.clear();
        self.arena.shrink_to(ARENA_BYTES_KEPT);
        self.ends.clear();
    }

    /// Joins the run for all that use the form, unless a message is left out for just this connection.
    pub(super) fn share(&mut self, run: u32, form: Form, to: ConnectionId) {
        let run = &mut self.runs[run as usize];
        let messages = &self.messages[run.messages.clone()];
        if run.joined[form.index()].is_none() && !run.leaves_out(messages, to) {
            run.joined[form.index()] = Some(join(&mut self.arena, &mut self.ends, messages, run, form, None));
        }
    }

    /// The run's bytes for one connection, after [`share`](Self::share): those of all that use the form,
    /// or its own.
    pub(super) fn joined(&mut self, run: u32, form: Form, to: ConnectionId) -> Joined {
        let run = &self.runs[run as usize];
        let messages = &self.messages[run.messages.clone()];
        match run.joined[form.index()] {
            Some(joined) if !run.leaves_out(messages, to) => joined,
            _ => join(&mut self.arena, &mut self.ends, messages, run, form, Some(to)),
        }
    }

    /// How much is shared, for [`give_back`](Self::give_back).
    pub(super) fn mark(&self) -> (usize, usize) {
        (self.arena.len(), self.ends.len())
    }

    /// Frees what was joined for one connection alone.
    pub(super) fn give_back(&mut self, (arena, ends): (usize, usize)) {
        self.arena.truncate(arena);
        self.ends.truncate(ends);
    }

    pub(super) fn slice(&self, joined: Joined) -> &[u8] {
        &self.arena[joined.start..joined.end]
    }

    pub(super) fn len(&self, run: u32) -> usize {
        self.runs[run as usize].messages.len()
    }

    pub(super) fn message(&self, run: u32, index: usize) -> &Arc<Message> {
        &self.messages[self.runs[run as usize].messages.start + index]
    }

    /// Which message a write of `bytes` of `joined` ended in.
    pub(super) fn reached(&self, run: u32, joined: Joined, bytes: usize) -> Reached {
        let ends = &self.ends[joined.ends..joined.ends + self.len(run)];
        let whole = ends.partition_point(|&end| end as usize <= bytes);
        let start = whole.checked_sub(1).map_or(0, |last| ends[last] as usize);
        Reached { whole, part: bytes - start }
    }
}

impl Run {
    fn leaves_out(&self, messages: &[Arc<Message>], to: ConnectionId) -> bool {
        self.skips && messages.iter().any(|message| message.skip() == Some(to))
    }
}

fn join(
    arena: &mut Vec<u8>,
    ends: &mut Vec<u32>,
    messages: &[Arc<Message>],
    run: &Run,
    form: Form,
    without: Option<ConnectionId>,
) -> Joined {
    let (start, first_end) = (arena.len(), ends.len());
    for (seq, message) in (run.from.0..).zip(messages) {
        if without.is_none() || message.skip() != without {
            arena.extend_from_slice(message.frame(form, &run.topic, Seq(seq)));
        }
        ends.push((arena.len() - start) as u32);
    }
    Joined { start, end: arena.len(), ends: first_end }
}
