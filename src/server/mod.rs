//! The `fanfare` server: a runtime per core, listeners, signals, drain.

pub(crate) mod credentials;
mod demo;
mod descriptors;
mod durable;
mod listen;
mod log;
mod socket;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::broker::{Broker, History, TopicFilter, TopicRule};
use crate::config::Config;
use crate::http::Service;
use crate::store::StoreError;
use credentials::UnusableKey;
use durable::Writer;
use listen::Acceptor;
use socket::{Bound, Listeners};

/// For how long the last write to the store is not cut short by signals: whoever wants an end sends them in
/// pairs at times, and the write takes milliseconds where the disk is in order.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// What can keep a server from starting.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("cannot listen on {address}: {error}")]
    Listen { address: String, error: io::Error },
    #[error(transparent)]
    Key(#[from] UnusableKey),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("cannot write the address to standard output: {0}")]
    Announce(io::Error),
}

/// Serves until a signal ends it.
pub(crate) fn serve(config: &Config, demo: bool) -> ExitCode {
    log::start(&config.log);
    match run(config, demo) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Config, demo: bool) -> Result<(), StartError> {
    descriptors::raise(config.limits.connections);
    let broker = broker(config);
    let threads = match config.server.threads {
        0 => thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    };
    let service = service(config, broker.clone(), threads)?;
    // Before the store is opened: a server that cannot listen must not touch what another one has written.
    let listeners = Listeners::bind(config)?;
    let writer = Writer::start(&config.history, &broker)?;
    let (stop, stopped) = watch::channel(false);
    let acceptor = Arc::new(Acceptor::new(config, stopped));

    for number in 0..threads {
        let listeners = listeners.share()?;
        let (acceptor, service) = (Arc::clone(&acceptor), service.on_shard(number));
        // Detached: a thread ends with the process, when drain is over.
        thread::Builder::new()
            .name(format!("fanfare-{number}"))
            .spawn(move || serve_core(listeners, &acceptor, &service))
            .map_err(StartError::Thread)?;
    }

    let runtime = Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
        announce(&listeners).map_err(StartError::Announce)?;
        if demo {
            tokio::spawn(demo::publish(broker));
        }
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!(connections = service.connections(), "draining");
        if let Some(writer) = &writer {
            writer.write();
        }
        let drain = drain(config, &service, &acceptor, &stop);
        tokio::select! {
            () = drain => {}
            _ = interrupt.recv() => tracing::info!("ended by a second signal"),
            _ = terminate.recv() => tracing::info!("ended by a second signal"),
        }
        if let Some(writer) = writer {
            let cut_short = async {
                sleep(LAST_WRITE).await;
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            };
            tokio::select! {
                () = writer.finish() => {}
                () = cut_short => tracing::warn!("ended by a signal before everything was written"),
            }
        }
        Ok(())
    })
}

/// One core: a runtime whose tasks never leave it.
fn serve_core(listeners: Vec<Bound>, acceptor: &Arc<Acceptor>, service: &Service) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "a core has no runtime and serves nobody");
            return;
        }
    };
    runtime.block_on(acceptor.serve(listeners, service));
}

fn broker(config: &Config) -> Broker {
    let history =
        History { entries: config.history.entries, bytes: config.history.bytes, age_ms: config.history.age_ms };
    let builder = Broker::builder()
        .history(history)
        .linger_ms(config.history.linger_ms)
        .topics_max(config.limits.topics)
        .retained_bytes_max(config.limits.retained_bytes)
        .message_bytes_max(config.limits.message_bytes)
        .idempotency(config.limits.idempotency_keys, config.limits.idempotency_ms);
    let rules = config.topics.iter().map(|rule| TopicRule {
        pattern: TopicFilter(rule.pattern.clone()),
        history: History {
            entries: rule.history_entries.unwrap_or(history.entries),
            bytes: rule.history_bytes.unwrap_or(history.bytes),
            age_ms: rule.history_age_ms.unwrap_or(history.age_ms),
        },
        overflow: rule.overflow.unwrap_or_default(),
        at: rule.at,
        from: rule.from,
    });
    rules.fold(builder, crate::broker::Builder::topic_rule).build()
}

fn service(config: &Config, broker: Broker, threads: usize) -> Result<Service, UnusableKey> {
    let limits = &config.limits;
    let mut builder = Service::builder(broker)
        .connections_max(limits.connections)
        .subscriptions_per_connection_max(limits.subscriptions_per_connection)
        .heartbeat(
            Duration::from_millis(config.keep_alive.heartbeat_ms),
            Duration::from_millis(config.keep_alive.timeout_ms),
        )
        .presence_grace(Duration::from_millis(config.presence.grace_ms))
        .first_command(Duration::from_millis(config.auth.first_command_ms))
        .expiring(Duration::from_millis(config.auth.expiring_ms))
        .protect_metrics(config.auth.protect_metrics)
        .anonymous(config.anonymous.claims().permissions(None))
        .shards(threads);
    if let Some(authenticator) = credentials::authenticator(config)? {
        builder = builder.authenticator(authenticator);
    }
    builder.options.hosts.clone_from(&config.server.hosts);
    builder.options.origins.clone_from(&config.server.origins);
    builder.options.limits.clone_from(&limits.clients);
    builder.options.http_body_bytes_max = limits.http_body_bytes;
    builder.options.http_body_time = Duration::from_millis(limits.header_ms);
    builder.options.shard.behind_topics_max = limits.behind_topics;
    builder.options.shard.backlog_bytes_max = limits.backlog_bytes;
    builder.options.shard.members_per_topic_max = limits.members_per_topic;
    builder.options.compression = config.compression.enabled;
    builder.options.shard.deflate_bytes_min = config.compression.min_bytes;
    let session = &mut builder.options.session;
    session.batch_items_max = limits.batch_items;
    session.control_lane_bytes_max = limits.control_lane_bytes;
    session.malformed_in_a_row_max = limits.malformed_in_a_row;
    session.publish_wait = Duration::from_millis(limits.publish_wait_ms);
    Ok(builder.build())
}

/// Standard output gets the addresses, one a line, and nothing else.
fn announce(listeners: &Listeners) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for address in listeners.addresses() {
        writeln!(out, "{address}")?;
        tracing::info!(%address, "listening");
    }
    out.flush()
}

/// Sends everybody away and waits until they have gone or the deadline has come.
async fn drain(config: &Config, service: &Service, acceptor: &Acceptor, stop: &watch::Sender<bool>) {
    stop.send_replace(true);
    service.drain(Duration::from_millis(config.drain.spread_ms));
    let all_gone = async {
        // In this order: a handshake that is under way counts with the service before it stops to count here.
        acceptor.emptied().await;
        service.drained().await;
    };
    if timeout(Duration::from_millis(config.drain.deadline_ms), all_gone).await.is_err() {
        tracing::warn!(connections = service.connections(), "the deadline has come before everybody left");
    }
}
