//! The grammar of `fanfare bench`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::args::{Format, ServerArguments};

use super::dialect::Spoken;
use super::expect::Expectation;
use super::units::{bytes, count, duration, number, share};

#[derive(Debug, Args)]
pub(in crate::cli) struct BenchArguments {
    #[command(flatten)]
    pub(super) server: ServerArguments,
    /// The protocol to speak
    #[arg(long, value_enum, default_value_t = Spoken::Fanfare)]
    pub(super) dialect: Spoken,
    /// What publishers speak, if it is not what subscribers do
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(super) publish_format: Option<Format>,
    /// Offer permessage-deflate for what subscribers receive
    #[arg(long)]
    pub(super) compression: bool,

    /// Connections that follow topics
    #[arg(long, short, value_name = "N", default_value_t = 100, value_parser = count, help_heading = LOAD)]
    pub(super) subscribers: u64,
    /// Connections that publish
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = count, help_heading = LOAD)]
    pub(super) publishers: u64,
    /// Topics, which publishers take turns in
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = count, help_heading = LOAD)]
    pub(super) topics: u64,
    /// Topics that each subscriber follows
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count, help_heading = LOAD)]
    pub(super) follow: u64,
    /// Have each subscriber follow all topics by one pattern
    #[arg(long, conflicts_with = "follow", help_heading = LOAD)]
    pub(super) pattern: bool,
    /// What the names of topics begin with
    #[arg(long, value_name = "NAME", default_value = "bench", help_heading = LOAD)]
    pub(super) prefix: String,
    /// Bytes of data in each message, such as 128, 1k
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = bytes, help_heading = LOAD)]
    pub(super) size: usize,
    /// Messages a second, all publishers together, whatever the server does
    #[arg(long, short, value_name = "N", default_value = "100", value_parser = number, help_heading = LOAD)]
    pub(super) rate: f64,
    /// Publish as fast as the server takes it, instead of at a rate
    #[arg(long, conflicts_with = "rate", help_heading = LOAD)]
    pub(super) full_speed: bool,
    /// Messages of a publisher that may be on their way, at full speed
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = count, help_heading = LOAD)]
    pub(super) window: u64,
    /// At full speed, wait for the first subscriber of a topic, even where the server answers publishes
    #[arg(long, requires = "full_speed", help_heading = LOAD)]
    pub(super) await_delivery: bool,
    /// How long to measure
    #[arg(long, short, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = LOAD)]
    pub(super) duration: Duration,
    /// How long to publish before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration, help_heading = LOAD)]
    pub(super) warmup: Duration,
    /// End after so many messages, even if there is time left
    #[arg(long, value_name = "N", value_parser = count, help_heading = LOAD)]
    pub(super) messages: Option<u64>,

    /// Connections to open a second; without it, as fast as they are accepted
    #[arg(long, value_name = "N", value_parser = number, help_heading = CONNECTIONS)]
    pub(super) connect_rate: Option<f64>,
    /// How long a connection may take to become ready
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = CONNECTIONS)]
    pub(super) connect_timeout: Duration,
    /// How long to leave everybody alone before publishing: memory is looked at then
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration, help_heading = CONNECTIONS)]
    pub(super) settle: Duration,
    /// Subscribers a second that leave and return
    #[arg(long, value_name = "N", default_value = "0", value_parser = number, help_heading = CONNECTIONS)]
    pub(super) churn: f64,
    /// Have subscribers hang up without a word, and return all at once, so often
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = CONNECTIONS)]
    pub(super) storm_every: Option<Duration>,
    /// How many of them
    #[arg(long, value_name = "SHARE", default_value = "100%", value_parser = share, help_heading = CONNECTIONS)]
    pub(super) storm_share: f64,
    /// How long they stay away
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration, help_heading = CONNECTIONS)]
    pub(super) storm_away: Duration,
    /// Have those who return ask for what they missed
    #[arg(long, help_heading = CONNECTIONS)]
    pub(super) recover: bool,
    /// Subscribers that read slowly; they are counted by themselves
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = count, help_heading = CONNECTIONS)]
    pub(super) slow: u64,
    /// Bytes a second that each of them reads
    #[arg(long, value_name = "BYTES", default_value = "1k", value_parser = bytes, help_heading = CONNECTIONS)]
    pub(super) slow_rate: usize,
    /// A file with a token in each line, which connections take turns in
    #[arg(long, value_name = "FILE", conflicts_with = "token", help_heading = CONNECTIONS)]
    pub(super) tokens: Option<PathBuf>,
    /// An address of this machine to connect from; repeatable
    #[arg(long, value_name = "ADDRESS", help_heading = CONNECTIONS)]
    pub(super) source: Vec<IpAddr>,
    /// Certificates to trust, besides the system's (PEM)
    #[arg(long, value_name = "FILE", help_heading = CONNECTIONS)]
    pub(super) ca: Option<PathBuf>,
    /// Threads; without it, one, or half of the processors if those are more than two
    #[arg(long, value_name = "N", value_parser = count, help_heading = CONNECTIONS)]
    pub(super) threads: Option<u64>,
    /// Look for events without ever waiting for them: each thread takes a processor of its own
    #[arg(long, help_heading = CONNECTIONS)]
    pub(super) spin: bool,

    /// Limits to keep, such as p99<20ms,lost=0: the exit status says whether they held
    #[arg(long, value_name = "LIMITS", value_delimiter = ',', help_heading = RESULTS)]
    pub(super) expect: Vec<Expectation>,
    /// Print the results as JSON
    #[arg(long, help_heading = RESULTS)]
    pub(super) json: bool,
    /// Write a report with charts
    #[arg(long, value_name = "FILE", help_heading = RESULTS)]
    pub(super) html: Option<PathBuf>,
    /// The server's process, if it is on this machine and not found by its port
    #[arg(long, value_name = "PID", help_heading = RESULTS)]
    pub(super) server_pid: Option<u32>,
}

const LOAD: &str = "Load";
const CONNECTIONS: &str = "Connections";
const RESULTS: &str = "Results";
