//! What a subscriber makes of what it hears: which message it is, whether it is right, how long it took.

use crate::protocol::Encoding;

use super::context::Context;
use super::dialect::{Since, Standing, Wanted};
use super::ledger::{Ledger, Verdict};
use super::plan::Plan;

#[derive(Debug)]
pub(super) struct Subscriber {
    index: usize,
    pub(super) ledger: Ledger,
    /// By topic, what a return has to name; empty unless returns recover.
    epochs: Vec<String>,
    /// Whether publishers wait for it.
    witness: bool,
    /// Bytes that it may read until its next turn, if it reads slowly.
    pub(super) credit: Option<usize>,
    /// Whether something waits to be read.
    pub(super) unread: bool,
}

/// A message, as it came.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) encoding: Encoding,
    pub(super) topic: Option<&'a [u8]>,
    pub(super) offset: Option<u64>,
    pub(super) data: &'a [u8],
    /// When the connection was ready, in nanoseconds since the run began: what was due before was not waited for.
    pub(super) since: u64,
}

impl Subscriber {
    pub(super) fn new(plan: &Plan, index: usize) -> Subscriber {
        let recover = if plan.recover { plan.layout.follow } else { 0 };
        Subscriber {
            index,
            ledger: Ledger::new(plan.layout, index),
            epochs: vec![String::new(); recover],
            witness: plan.witnesses.contains(&index),
            credit: (index < plan.slow).then_some(0),
            unread: false,
        }
    }

    /// What to subscribe to, and from where.
    pub(super) fn wanted<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = Wanted<'a>> {
        plan.layout.topics_of(self.index).enumerate().map(|(place, topic)| {
            let epoch = self.epochs.get(place).map_or("", String::as_str);
            let since = match self.ledger.position(place) {
                Some(offset) if !epoch.is_empty() => Some(Since { epoch, offset }),
                _ => None,
            };
            Wanted { topic: &plan.topics[topic], since }
        })
    }

    /// A subscription stands, or all of them if it is not said which.
    pub(super) fn subscribed(&mut self, standing: &Standing, ctx: &mut Context) {
        let plan = &ctx.plan;
        let recovered = standing.recovered == Some(true);
        match standing.recovered {
            Some(true) => ctx.counts.recovered += 1,
            Some(false) => ctx.counts.unrecovered += 1,
            None => {}
        }
        let named = plan.number_of(&standing.topic).and_then(|topic| plan.layout.place(self.index, topic));
        for place in named.map_or(0..plan.layout.follow, |place| place..place + 1) {
            self.ledger.subscribed(place, standing.offset, recovered, &|stream| ctx.shared.issued(stream));
            if let Some(epoch) = self.epochs.get_mut(place) {
                *epoch = standing.epoch.clone().unwrap_or_default();
            }
        }
    }

    #[inline]
    pub(super) fn message(&mut self, message: &Message<'_>, ctx: &mut Context) {
        let plan = &*ctx.plan;
        let counts = &mut ctx.counts;
        let Some(stamp) = plan.payloads.read(message.encoding, message.data) else {
            counts.wrong_bytes += 1;
            return;
        };
        let stream = stamp.stream as usize;
        match self.ledger.message(stamp) {
            Verdict::Next { missing: 0 } => {}
            Verdict::Next { missing } => counts.missing += u64::from(missing),
            Verdict::Late => {
                counts.reordered += 1;
                counts.missing = counts.missing.saturating_sub(1);
            }
            Verdict::Again => counts.duplicated += 1,
            Verdict::Foreign => {
                counts.wrong_topic += 1;
                return;
            }
        }
        let number = plan.layout.topic_of(stream);
        if message.topic.is_some_and(|topic| topic != plan.topics[number].as_bytes()) {
            counts.wrong_topic += 1;
        }
        if let Some(offset) = message.offset
            && let Some(place) = plan.layout.place(self.index, number)
            && !self.ledger.offset(place, offset)
        {
            counts.misnumbered += 1;
        }
        if self.credit.is_some() {
            counts.slow_delivered += 1;
            return;
        }
        counts.delivered += 1;
        if stamp.at >= message.since {
            ctx.times.latency.record(ctx.now.saturating_sub(stamp.at) / 1000);
        } else {
            counts.replayed += 1;
        }
        if self.witness {
            let publisher = stream % plan.layout.publishers.max(1);
            ctx.shared.see(stream, stamp.number, plan.thread_of_publisher(publisher));
        }
    }

    /// The server says that it left out some messages.
    pub(super) fn gap(&mut self, topic: &str, from: u64, to: u64, ctx: &mut Context) {
        let number = ctx.plan.number_of(topic);
        let Some(place) = number.and_then(|number| ctx.plan.layout.place(self.index, number)) else {
            ctx.counts.wrong_topic += 1;
            return;
        };
        let count = self.ledger.gap(place, from, to);
        if self.credit.is_some() {
            ctx.counts.slow_gaps += count;
        } else {
            ctx.counts.gaps += count;
            ctx.counts.gap_events += 1;
        }
    }
}
