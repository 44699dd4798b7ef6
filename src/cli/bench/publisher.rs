//! When which message is due, and what is on its way.

use std::collections::VecDeque;

use super::dialect::Publish;
use super::frame::Outbox;
use super::payload::Stamp;
use super::plan::{Pace, Plan};
use super::shared::Shared;

#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) index: usize,
    streams: Vec<usize>,
    /// Messages made so far.
    issued: u64,
    /// When those were due that have no answer yet, and their streams; empty where none come.
    unanswered: VecDeque<(u64, usize)>,
}

/// What a publisher writes ahead of its socket; beyond, its messages are made later, and are late.
pub(super) const UNSENT_BYTES_MAX: usize = 4 << 20;

impl Publisher {
    pub(super) fn new(plan: &Plan, index: usize) -> Publisher {
        Publisher { index, streams: plan.layout.streams_of(index).collect(), issued: 0, unanswered: VecDeque::new() }
    }

    pub(super) fn streams(&self) -> &[usize] {
        &self.streams
    }

    pub(super) fn issued(&self) -> u64 {
        self.issued
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// The oldest publish has been answered: when it was due, and its stream.
    pub(super) fn answered(&mut self) -> Option<(u64, usize)> {
        self.unanswered.pop_front()
    }

    /// Whether the window has room for another message, at full speed.
    pub(super) fn has_room(&self, window: u32, plan: &Plan, shared: &Shared) -> bool {
        if !plan.await_delivery {
            return self.unanswered.len() < window as usize;
        }
        let outstanding: u32 =
            self.streams.iter().map(|stream| shared.issued(*stream).saturating_sub(shared.seen(*stream))).sum();
        outstanding < window
    }

    /// Makes the next message, due at `due`.
    pub(super) fn publish(&mut self, due: u64, plan: &Plan, shared: &Shared, out: &mut Outbox) {
        let stream = self.streams[(self.issued % self.streams.len() as u64) as usize];
        self.issued += 1;
        let number = shared.issue(stream);
        // Streams and their numbers are bounded by the plan.
        let stamp = Stamp { at: due, number, stream: stream as u32 };
        let topic = &plan.topics[plan.layout.topic_of(stream)];
        let publish = Publish { encoding: plan.publish_encoding, topic, id: self.issued };
        plan.dialect.publish(&publish, &mut |out| plan.payloads.push(plan.publish_encoding, stamp, out), out);
        if plan.dialect.answers_publishes() {
            self.unanswered.push_back((due, stream));
        }
    }
}

/// How late a message leaves by the generator's own fault: not while a server that does not read held it back.
pub(super) fn lateness(due: u64, held_at: u64, now: u64) -> u64 {
    now.saturating_sub(due.max(held_at))
}

/// When the messages of one thread's publishers are due, at a rate: those of all threads together come at
/// even distances, and publishers take turns. Nothing that a server does moves it.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Nanoseconds between two messages of the run.
    period: f64,
    publishers: usize,
    /// The numbers of this thread's publishers, ascending.
    local: Vec<usize>,
    next: u64,
}

impl Schedule {
    /// `None` where there is no rate, or nobody to keep it.
    pub(super) fn new(plan: &Plan, local: Vec<usize>) -> Option<Schedule> {
        match plan.pace {
            Pace::Rate(rate) if !local.is_empty() => {
                Some(Schedule { period: 1e9 / rate, publishers: plan.layout.publishers, local, next: 0 })
            }
            _ => None,
        }
    }

    /// The next message: which of the run's it is, which of the thread's publishers it is for, and how many
    /// nanoseconds after the start it is due.
    pub(super) fn next(&self) -> (u64, usize, u64) {
        let count = self.local.len() as u64;
        let nth = (self.next % count) as usize;
        let number = self.next / count * self.publishers as u64 + self.local[nth] as u64;
        (number, nth, (number as f64 * self.period) as u64)
    }

    pub(super) fn advance(&mut self) {
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{Schedule, lateness};

    #[test]
    fn what_the_server_holds_back_is_not_late_by_the_generator_s_fault() {
        assert_eq!(lateness(100, 0, 130), 30);
        assert_eq!(lateness(100, 120, 130), 10);
        assert_eq!(lateness(100, 90, 130), 30, "that was another one");
        assert_eq!(lateness(100, 0, 90), 0);
    }

    #[test]
    fn threads_share_an_even_schedule() {
        let schedule = |local: &[usize]| Schedule { period: 1000.0, publishers: 5, local: local.to_vec(), next: 0 };
        let mut all = Vec::new();
        for mut schedule in [schedule(&[0, 2, 4]), schedule(&[1, 3])] {
            for _ in 0..schedule.local.len() * 4 {
                let (number, nth, due) = schedule.next();
                assert_eq!(number % 5, schedule.local[nth] as u64);
                all.push((number, due));
                schedule.advance();
            }
        }
        all.sort_unstable();
        let even: Vec<_> = (0..20).map(|number| (number, number * 1000)).collect();
        assert_eq!(all, even);
    }
}
