//! Compression: which of a run's frames have to be made, and by whom.
//!
//! A message is compressed once for all shards. Two shards that meet at a run share the work: each
//! claims what nobody has claimed, and only what is finished, up to the first frame that is not, is
//! fanned out now. Neither waits for the other.

use super::shard::Shard;
use crate::broker::{Form, Made};
use crate::ring::Seq;

/// How many bytes of one topic are compressed before others have their turn: about two milliseconds.
pub(super) const DEFLATE_BYTES_MAX: usize = 64 * 1024;

/// How many times as much work a byte is to compress as it is to copy and write.
const DEFLATE_COST: usize = 8;

const COUNT: usize = Form::COUNT - 2;

/// How many members of a list want each compressed form.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Forms([u32; COUNT]);

impl Forms {
    pub(super) fn add(&mut self, form: Form) {
        if form.window().is_some() {
            self.0[form.index() - 2] += 1;
        }
    }

    pub(super) fn remove(&mut self, form: Form) {
        if form.window().is_some() {
            self.0[form.index() - 2] -= 1;
        }
    }

    pub(super) fn add_all(&mut self, others: &Forms) {
        for (count, other) in self.0.iter_mut().zip(others.0) {
            *count += other;
        }
    }

    fn in_use(&self) -> impl Iterator<Item = Form> {
        (0..COUNT).filter(|&number| self.0[number] > 0).map(|number| Form::of_index(number + 2))
    }
}

impl Shard {
    /// Compresses what has been added to the pass since `begun`, entries of `topic` from `from` on, for
    /// the forms in use. Gives how many of the messages have all their frames.
    pub(super) fn make_frames(&mut self, number: u32, begun: usize, forms: Forms, from: Seq) -> usize {
        let topic = &self.slots[number].topic;
        let messages = self.pass.since(begun);
        let mut ready = messages.len();
        let mut work = 0;
        for form in forms.in_use() {
            let mut made = 0;
            for (seq, message) in (from.0..).map(Seq).zip(messages) {
                if work >= DEFLATE_BYTES_MAX {
                    break;
                }
                made += 1;
                if let Made::Now { from, to } = message.make(form, self.options.deflate_bytes_min, topic, seq) {
                    work += from;
                    self.mailbox.stats().deflated(from, to);
                }
            }
            // What another shard was making may be finished by now.
            let finished = (from.0..).map(Seq).zip(&messages[..made]).take_while(|(seq, message)| {
                message.make(form, self.options.deflate_bytes_min, topic, *seq) != Made::Elsewhere
            });
            ready = ready.min(finished.count());
        }
        self.pass.count(work * DEFLATE_COST);
        ready
    }
}
