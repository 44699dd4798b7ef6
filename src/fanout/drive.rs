//! Runs shards as tasks of whatever runtime the host has.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use super::backlogs::Backlogs;
use super::headcount::{Counted, Headcount};
use super::mail::Mailbox;
use super::options::ShardOptions;
use super::shard::{Shard, Turn};
use super::stats::Totals;
use super::survey::Surveyed;
use crate::broker::Broker;

/// The shards of a service.
///
/// A shard begins when its first connection comes, as a task of the runtime that the connection runs
/// on, and ends when the pool is gone and its last connection has left. A shard whose runtime was shut
/// down is begun anew on the next.
#[derive(Debug)]
pub(crate) struct Pool {
    broker: Broker,
    options: ShardOptions,
    shards: Vec<Arc<Mailbox>>,
    next: AtomicUsize,
    /// Connections that are on their way to a shard or with it.
    connections: Arc<Headcount>,
    /// Shards hold it weakly: they end when it is gone.
    alive: Arc<()>,
}

impl Pool {
    pub(crate) fn new(broker: Broker, options: ShardOptions, shards: usize) -> Self {
        let shards = Backlogs::of(shards.max(1)).map(|backlogs| Arc::new(Mailbox::new(backlogs))).collect();
        Pool { broker, options, shards, next: AtomicUsize::new(0), connections: Arc::default(), alive: Arc::new(()) }
    }

    /// The shard of that number, or one after the other. Must be called within a runtime.
    pub(crate) fn shard(&self, number: Option<usize>) -> Arc<Mailbox> {
        let number = number.unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed));
        let mailbox = &self.shards[number % self.shards.len()];
        if !mailbox.served().swap(true, Ordering::AcqRel) {
            let shard = Box::new(Shard::new(self.broker.clone(), Arc::clone(mailbox), self.options));
            let served = Served { shard, _unserved: Unserved(Arc::clone(mailbox)) };
            tokio::spawn(drive(served, Arc::downgrade(&self.alive)));
        }
        Arc::clone(mailbox)
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for shard in &self.shards {
            totals.add(shard.stats());
        }
        totals
    }

    /// Asks every shard about its connections.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: it is only asked.
    pub(crate) async fn survey(&self) -> Vec<Surveyed> {
        let asked: Vec<_> = self.shards.iter().map(|shard| shard.survey()).collect();
        let mut found = Vec::new();
        for shard in asked {
            found.extend(shard.await.unwrap_or_default());
        }
        found
    }

    /// Connections that are open or about to be.
    pub(crate) fn connections(&self) -> &Headcount {
        &self.connections
    }

    /// Counts one more connection, unless there are `max`.
    pub(crate) fn admit(&self, max: u64) -> Option<Counted> {
        self.connections.enter(max)
    }

    /// Says goodbye to everybody, see [`Mailbox::drain`].
    pub(crate) fn drain(&self, spread_ms: u64) {
        for shard in &self.shards {
            shard.drain(spread_ms);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.alive = Arc::new(());
        for shard in &self.shards {
            shard.inbox().bell().ring();
        }
    }
}

/// A shard that marks its mailbox as unserved once it is gone, by its end, its runtime's or a panic.
struct Served {
    // Dropped in this order.
    shard: Box<Shard>,
    _unserved: Unserved,
}

struct Unserved(Arc<Mailbox>);

impl Drop for Unserved {
    fn drop(&mut self) {
        self.0.served().store(false, Ordering::SeqCst);
        // What was posted to the shard after its end.
        self.0.break_all();
    }
}

async fn drive(mut served: Served, alive: Weak<()>) {
    let shard = &mut *served.shard;
    let mailbox = Arc::clone(&shard.mailbox);
    let started = tokio::time::Instant::now();
    let tick_ms = shard.wheel.tick_ms();
    let mut ticks = tokio::time::interval(Duration::from_millis(tick_ms));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    // Set to what is due next, if anything is.
    let mut alarm = pin!(tokio::time::sleep(Duration::ZERO));
    let mut alarm_ms = None;
    let mut sweeps = false;
    loop {
        let turn = shard.turn();
        // Also while there is always more to do: pings and evictions must not wait for a quiet moment.
        let tick = (started.elapsed().as_millis() as u64 / tick_ms) as u32;
        if tick != shard.tick {
            shard.tick(tick);
            sweeps = true;
        }
        // Every shard asks; the broker sees to it that one of them does it.
        sweeps = sweeps && shard.broker.registry().sweep_if_due(shard.broker.now_ms());
        if turn == Turn::Again || sweeps {
            // The connections' reads have their turn.
            tokio::task::yield_now().await;
            continue;
        }
        crate::ring::reclaim::collect();
        if shard.is_empty() && alive.strong_count() == 0 {
            return;
        }
        let due_ms = shard.due_ms();
        if due_ms != alarm_ms {
            alarm_ms = due_ms;
            if let Some(due_ms) = due_ms {
                let left = Duration::from_millis(due_ms.saturating_sub(shard.broker.now_ms()));
                alarm.as_mut().reset(tokio::time::Instant::now() + left);
            }
        }
        poll_fn(|cx| {
            let rung = mailbox.inbox().bell().poll_rung(cx);
            // Without connections and topics nothing happens as time goes by.
            let has_time = !shard.is_empty() || shard.broker.registry().topics() > 0;
            let ticked = has_time && ticks.poll_tick(cx).is_ready();
            let is_due = alarm_ms.is_some() && alarm.as_mut().poll(cx).is_ready();
            if rung.is_ready() || ticked || is_due { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
