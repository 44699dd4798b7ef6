//! The server's figures, and `$stats`, which carries them once a second while somebody follows it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::service::Shared;
use crate::ring::reclaim;

const TOPIC: &str = "$stats";
const EVERY: Duration = Duration::from_secs(1);

/// What is going on, at one moment. Totals count since the start.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    /// Milliseconds since 1970.
    at: u64,
    uptime_ms: u64,
    version: &'static str,
    pub(super) connections: u64,
    pub(super) event_streams: u64,
    pub(super) subscriptions: u64,
    pub(super) topics: u64,
    pub(super) published: u64,
    pub(super) delivered: u64,
    pub(super) delivered_bytes: u64,
    pub(super) writes: u64,
    pub(super) deflated: u64,
    pub(super) deflated_from_bytes: u64,
    pub(super) deflated_to_bytes: u64,
    pub(super) inflated: u64,
    pub(super) gaps: u64,
    pub(super) skipped: u64,
    pub(super) conflated: u64,
    pub(super) stalled: u64,
    pub(super) closed_slow: u64,
    pub(super) closed_silent: u64,
    pub(super) closed_expired: u64,
    pub(super) refused: u64,
    pub(super) limited_attempts: u64,
    pub(super) limited_credentials: u64,
    pub(super) limited_connections: u64,
    pub(super) limited_commands: u64,
    pub(super) limited_publishes: u64,
    pub(super) limited_bytes: u64,
    pub(super) limited_topics: u64,
    pub(super) limited_subscriptions: u64,
    pub(super) limited_members: u64,
    pub(super) limited_backlogs: u64,
    pub(super) limited_new_topics: u64,
    pub(super) limited_sizes: u64,
    pub(super) limited_time: u64,
    pub(super) limited_waits: u64,
    pub(super) limited_lanes: u64,
    pub(super) closed_limited: u64,
    pub(super) closed_malformed: u64,
    pub(super) denied: u64,
    pub(super) metered: u64,
    pub(super) unmetered: u64,
    pub(super) refused_credentials: u64,
    pub(super) refused_origins: u64,
    pub(super) retained_bytes: u64,
    pub(super) unreclaimed_bytes: u64,
    pub(super) store_bytes: u64,
    pub(super) store_failing: bool,
    pub(super) store_writes: u64,
    pub(super) store_failures: u64,
    pub(super) memory_bytes: u64,
    pub(super) cpu_ms: u64,
    shards: u64,
}

impl Figures {
    pub(super) fn now(shared: &Shared) -> Self {
        let totals = shared.totals();
        let streamed = shared.streams.totals();
        let registry = shared.broker.registry();
        let limited = shared.limits.figures();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Figures {
            at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            uptime_ms: shared.broker.uptime_ms(),
            version: env!("CARGO_PKG_VERSION"),
            connections: totals.connections,
            event_streams: streamed.open,
            subscriptions: totals.subscriptions + streamed.subscriptions,
            topics: registry.topics() as u64,
            published: registry.published(),
            delivered: totals.delivered + streamed.delivered,
            delivered_bytes: totals.delivered_bytes + streamed.delivered_bytes,
            writes: totals.writes,
            deflated: totals.deflated,
            deflated_from_bytes: totals.deflated_from_bytes,
            deflated_to_bytes: totals.deflated_to_bytes,
            inflated: totals.inflated,
            gaps: totals.gaps + streamed.gaps,
            skipped: totals.skipped + streamed.skipped,
            conflated: totals.conflated,
            stalled: totals.stalled,
            closed_slow: totals.closed_slow,
            closed_silent: totals.closed_silent,
            closed_expired: totals.closed_expired,
            refused_credentials: shared.gate.refused(),
            refused: shared.refused.load(Ordering::Relaxed),
            refused_origins: shared.refused_origins.load(Ordering::Relaxed),
            limited_attempts: limited.attempts,
            limited_credentials: limited.credentials,
            limited_connections: limited.connections,
            limited_commands: limited.commands,
            limited_publishes: limited.publishes,
            limited_bytes: limited.bytes,
            limited_topics: limited.topic,
            limited_subscriptions: totals.limited_subscriptions,
            limited_members: totals.limited_members,
            limited_backlogs: totals.limited_backlogs,
            limited_new_topics: registry.refused(),
            limited_sizes: totals.limited_sizes + shared.large_bodies.load(Ordering::Relaxed),
            limited_time: shared.slow_requests.load(Ordering::Relaxed),
            limited_waits: totals.limited_waits,
            limited_lanes: totals.limited_lanes,
            closed_limited: limited.closed,
            closed_malformed: totals.closed_malformed,
            denied: limited.denied,
            metered: limited.metered,
            unmetered: limited.unmetered,
            retained_bytes: registry.retained_bytes() as u64,
            unreclaimed_bytes: reclaim::pending().bytes as u64,
            store_bytes: registry.store.bytes.load(Ordering::Relaxed),
            store_failing: registry.store.failing.load(Ordering::Relaxed),
            store_writes: registry.store.writes.load(Ordering::Relaxed),
            store_failures: registry.store.failures.load(Ordering::Relaxed),
            memory_bytes: memory_bytes(),
            cpu_ms: cpu_ms(),
            shards: shared.pool.len() as u64,
        }
    }
}

/// Says that the figures are published, until it is dropped: with its task, or the task's runtime.
#[derive(Debug)]
pub(super) struct Served(Weak<Shared>);

impl Served {
    /// `None` when somebody publishes them already.
    pub(super) fn begin(shared: &Arc<Shared>) -> Option<Served> {
        let is_served = shared.stats_served.swap(true, Ordering::AcqRel);
        (!is_served).then(|| Served(Arc::downgrade(shared)))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.stats_served.store(false, Ordering::Release);
        }
    }
}

/// Publishes the figures while the service lives.
pub(super) async fn publish(served: Served) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let Some(shared) = served.0.upgrade() else { return };
        let followed = shared.broker.registry().get(TOPIC).is_some_and(|topic| topic.subscribers() > 0);
        if followed {
            // Never refused for good: the name is legal, the payload small, the topic exists.
            let figures = Figures::now(&shared);
            if let Err(error) = shared.broker.publish(TOPIC, &figures).await {
                tracing::warn!(%error, "the server's figures could not be published");
            }
        }
    }
}

/// Resident memory of this process, 0 where the system does not tell.
fn memory_bytes() -> u64 {
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// CPU time of this process, 0 where the system does not tell.
fn cpu_ms() -> u64 {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return 0 };
    // The name in the second field may hold anything; fields are counted behind its last `)`.
    let Some((_, fields)) = stat.rsplit_once(')') else { return 0 };
    // utime and stime: fields 14 and 15 of proc_pid_stat(5), the 12th and 13th behind the name.
    let ticks: u64 =
        fields.split_ascii_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    ticks * 1_000 / rustix::param::clock_ticks_per_second()
}
