//! `/metrics`: the figures as Prometheus text. No label holds a name that a client chose.

use http::{Response, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::reply::{self, Body};
use super::service::Shared;
use super::stats::Figures;

const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The figures of one moment.
#[derive(Debug)]
struct Snapshot(Figures);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Snapshot(figures) = self;
        let mut write = |name: &str, help: &str, metric: &dyn Metric| metric.write(&mut encoder, name, help);
        let counter = |value: u64| ConstCounter::new(value);
        let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        write("connections", "WebSocket connections now", &gauge(figures.connections))?;
        write("event_streams", "Event streams (SSE) now", &gauge(figures.event_streams))?;
        write("subscriptions", "Subscriptions of connections and event streams now", &gauge(figures.subscriptions))?;
        write("topics", "Topics now", &gauge(figures.topics))?;
        write("stalled_connections", "Connections now whose socket takes no more", &gauge(figures.stalled))?;
        write("retained_bytes", "Weight of all histories", &gauge(figures.retained_bytes))?;
        write(
            "unreclaimed_bytes",
            "Weight of evicted messages that are not freed yet",
            &gauge(figures.unreclaimed_bytes),
        )?;
        write("store_bytes", "Length of the file that histories are written to", &gauge(figures.store_bytes))?;
        write(
            "store_failing",
            "Whether histories could not be written the last time: 1 or 0",
            &gauge(figures.store_failing.into()),
        )?;
        write("store_writes", "Times that histories were written", &counter(figures.store_writes))?;
        write("store_failures", "Times that they could not be written", &counter(figures.store_failures))?;
        write("memory_bytes", "Resident memory of the process", &gauge(figures.memory_bytes))?;
        write("published", "Messages accepted", &counter(figures.published))?;
        write("delivered", "Messages handed to sockets", &counter(figures.delivered))?;
        write("delivered_bytes", "Bytes handed to sockets", &counter(figures.delivered_bytes))?;
        write("writes", "System calls that wrote to sockets", &counter(figures.writes))?;
        write("deflated", "Messages compressed, once for all who want it", &counter(figures.deflated))?;
        write("deflated_from_bytes", "What they were before", &counter(figures.deflated_from_bytes))?;
        write("deflated_to_bytes", "What they became", &counter(figures.deflated_to_bytes))?;
        write("inflated", "Compressed messages received", &counter(figures.inflated))?;
        write("gaps", "Gap events sent to slow subscribers", &counter(figures.gaps))?;
        write("skipped", "Messages that gaps announced as left out", &counter(figures.skipped))?;
        write("conflated", "Messages passed over for a newer one of their key", &counter(figures.conflated))?;
        write("closed_slow", "Connections closed for being too slow", &counter(figures.closed_slow))?;
        write("closed_silent", "Connections closed for answering no ping", &counter(figures.closed_silent))?;
        write(
            "closed_expired",
            "Connections closed because their credentials ended or none came",
            &counter(figures.closed_expired),
        )?;
        write("refused_credentials", "Credentials shown that did not count", &counter(figures.refused_credentials))?;
        write("refused_origins", "Requests refused for their Host or Origin", &counter(figures.refused_origins))?;
        write("refused", "Connections refused, the server being full or draining", &counter(figures.refused))?;
        write(
            "limited_attempts",
            "Connections refused, too many having come from an address",
            &counter(figures.limited_attempts),
        )?;
        write(
            "limited_credentials",
            "Requests refused with their credentials unseen, too many of their address not having counted",
            &counter(figures.limited_credentials),
        )?;
        write(
            "limited_connections",
            "Connections refused, an address having as many as it may",
            &counter(figures.limited_connections),
        )?;
        write("limited_commands", "Commands refused for a rate", &counter(figures.limited_commands))?;
        write(
            "limited_publishes",
            "Publishes refused for the rate of a connection or an address",
            &counter(figures.limited_publishes),
        )?;
        write("limited_bytes", "Messages refused for a rate of bytes", &counter(figures.limited_bytes))?;
        write("limited_topics", "Publishes refused for the rate of a topic", &counter(figures.limited_topics))?;
        write(
            "limited_subscriptions",
            "Subscriptions refused, a connection having as many as it may",
            &counter(figures.limited_subscriptions),
        )?;
        write(
            "limited_members",
            "Members refused, a topic having as many as it may",
            &counter(figures.limited_members),
        )?;
        write(
            "limited_backlogs",
            "Connections closed for what all together are owed",
            &counter(figures.limited_backlogs),
        )?;
        write(
            "limited_new_topics",
            "Topics refused, there being as many as there may be",
            &counter(figures.limited_new_topics),
        )?;
        write(
            "limited_sizes",
            "Messages, batches, labels and bodies that were too large",
            &counter(figures.limited_sizes),
        )?;
        write("limited_time", "HTTP requests that took too long to arrive", &counter(figures.limited_time))?;
        write("limited_waits", "Publishes that waited too long for room", &counter(figures.limited_waits))?;
        write(
            "limited_lanes",
            "Times a connection was not read from, too many of its replies having waited",
            &counter(figures.limited_lanes),
        )?;
        write(
            "closed_malformed",
            "Connections closed for malformed commands in a row",
            &counter(figures.closed_malformed),
        )?;
        write(
            "closed_limited",
            "Connections closed for passing rates again and again",
            &counter(figures.closed_limited),
        )?;
        write("denied", "Requests from networks that are not served", &counter(figures.denied))?;
        write("metered", "Addresses and topics that have meters now", &gauge(figures.metered))?;
        write("unmetered", "Looks at meters that were shared for want of room", &counter(figures.unmetered))?;
        write("cpu_ms", "CPU time of the process in milliseconds", &counter(figures.cpu_ms))
    }
}

/// A metric of either kind.
trait Metric {
    fn write(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> Result<(), std::fmt::Error>;
}

impl<M: EncodeMetric> Metric for M {
    fn write(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> Result<(), std::fmt::Error> {
        let metric = encoder.encode_descriptor(name, help, None, self.metric_type())?;
        self.encode(metric)
    }
}

pub(super) fn render(shared: &Shared) -> Response<Body> {
    let mut registry = Registry::with_prefix("fanfare");
    registry.register_collector(Box::new(Snapshot(Figures::now(shared))));
    let mut text = String::new();
    // A string takes everything that is written to it.
    if encode(&mut text, &registry).is_err() {
        return reply::text(StatusCode::INTERNAL_SERVER_ERROR, "the figures could not be written\n");
    }
    reply::with_type(StatusCode::OK, KIND, text.into())
}
