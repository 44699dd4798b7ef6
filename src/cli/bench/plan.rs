//! A run, decided: what the arguments ask for, checked as far as that goes without a server.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::cli::target::{Place, TargetError};
use crate::protocol::{Encoding, TopicError, TopicName};

use super::args::BenchArguments;
use super::dialect::{Dialect, Setup, Spoken};
use super::host;
use super::ledger::Layout;
use super::payload::{NUMBER_MAX, Payloads, STREAMS_MAX, SizeError};
use super::tls::{self, TlsError};
use super::transport::Route;

#[derive(Debug)]
pub(super) struct Plan {
    /// As the user wrote it.
    pub(super) url: String,
    pub(super) spoken: Spoken,
    pub(super) dialect: Box<dyn Dialect>,
    pub(super) route: Route,
    /// The value of `Host`, and what is asked for there.
    pub(super) host: String,
    pub(super) path: String,
    /// What connections show, in turns; none show nothing.
    tokens: Vec<String>,
    pub(super) encoding: Encoding,
    pub(super) publish_encoding: Encoding,
    pub(super) compression: bool,
    pub(super) subscribers: usize,
    pub(super) layout: Layout,
    /// By number.
    pub(super) topics: Vec<String>,
    /// What all topics begin with, as far as their number.
    stem: String,
    /// What subscribers follow instead of topics.
    pub(super) pattern: Option<String>,
    pub(super) size: usize,
    pub(super) payloads: Payloads,
    pub(super) pace: Pace,
    pub(super) duration: Duration,
    pub(super) warmup: Duration,
    /// Messages after which the run ends.
    pub(super) messages: Option<u64>,
    pub(super) connect_rate: Option<f64>,
    pub(super) connect_timeout: Duration,
    pub(super) settle: Duration,
    pub(super) churn: f64,
    pub(super) storm: Option<Storm>,
    pub(super) recover: bool,
    pub(super) slow: usize,
    pub(super) slow_rate: usize,
    /// Whether at full speed what subscribers receive tells how fast to publish, and not what the server answers.
    pub(super) await_delivery: bool,
    /// The first subscriber of each topic, where it does.
    pub(super) witnesses: HashSet<usize>,
    pub(super) threads: usize,
    /// Whether they never wait for events.
    pub(super) spin: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// So many messages a second.
    Rate(f64),
    /// As many as fit, with so many of each publisher on their way.
    Full { window: u32 },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Storm {
    pub(super) every: Duration,
    /// Of all subscribers, 0 to 1.
    pub(super) share: f64,
    pub(super) away: Duration,
}

/// What cannot be done.
#[derive(Debug, Error)]
pub(super) enum PlanError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("cannot find {0}: {1}")]
    Resolve(String, io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Tokens(PathBuf, io::Error),
    #[error("{path}: not one token in it", path = .0.display())]
    NoTokens(PathBuf),
    #[error("the token holds characters that a header cannot carry")]
    Token,
    #[error("{0}: {1}")]
    Prefix(String, TopicError),
    #[error("{0:?} cannot begin the names of topics: use letters, digits, points, hyphens and underscores")]
    PrefixCharacters(String),
    #[error("{0} is at most {1}")]
    TooMany(&'static str, usize),
    #[error("{0} is at least 1")]
    TooFew(&'static str),
    #[error("a run of no length measures nothing")]
    Duration,
    #[error("at no messages a second nothing is ever published; --publishers 0 says that")]
    Rate,
    #[error("{0} is no address of this machine, so nothing can connect from it")]
    Source(IpAddr),
    #[error("{to} cannot be reached from {from}: one is IPv6, the other is not")]
    SourceFamily { from: IpAddr, to: IpAddr },
    #[error("subscribers cannot follow {follow} of {topics} topics")]
    Follow { follow: usize, topics: usize },
    #[error("only {slow} of {subscribers} subscribers can be slow")]
    Slow { slow: usize, subscribers: usize },
    #[error(transparent)]
    Size(#[from] SizeError),
    #[error("{0} has no patterns")]
    Pattern(&'static str),
    #[error("{0} has no MessagePack; leave out --format and --publish-format")]
    Format(&'static str),
    #[error("{0} has no topics: it takes one topic and one subscription")]
    Topics(&'static str),
    #[error("an nchan subscriber follows one topic: its URL is the topic's")]
    Channels,
    #[error("only fanfare can recover")]
    Recover,
    #[error("what followed a pattern cannot recover: patterns have no positions")]
    RecoverPattern,
    #[error("Pusher needs the app's secret, as --token, to publish")]
    Secret,
    #[error("process {0} cannot be looked at: it is not there, or another user's")]
    Process(u32),
    #[error("at full speed {0} needs a subscriber of every topic here: publishers wait for deliveries")]
    Unwatched(&'static str),
}

/// Connections, subscribed topics of all of them, and threads: what a process can hold of each.
const CONNECTIONS_MAX: usize = 1_000_000;
const SUBSCRIPTIONS_MAX: usize = 100_000_000;
const THREADS_MAX: usize = 256;
const WINDOW_MAX: usize = 1_000_000;

impl Plan {
    pub(super) fn new(arguments: &BenchArguments) -> Result<Plan, PlanError> {
        let spoken = arguments.dialect;
        let name = spoken.name();
        let subscribers = bounded(arguments.subscribers, "--subscribers", CONNECTIONS_MAX)?;
        let publishers = bounded(arguments.publishers, "--publishers", STREAMS_MAX)?;
        let topics = at_least_one(bounded(arguments.topics, "--topics", STREAMS_MAX)?, "--topics")?;
        let follow = if arguments.pattern {
            topics
        } else {
            at_least_one(bounded(arguments.follow, "--follow", STREAMS_MAX)?, "--follow")?
        };
        if follow > topics {
            return Err(PlanError::Follow { follow, topics });
        }
        let slow = bounded(arguments.slow, "--slow", CONNECTIONS_MAX)?;
        if slow > subscribers {
            return Err(PlanError::Slow { slow, subscribers });
        }
        if subscribers.saturating_mul(follow) > SUBSCRIPTIONS_MAX {
            return Err(PlanError::TooMany("the number of subscriptions of all subscribers", SUBSCRIPTIONS_MAX));
        }
        let layout = Layout { topics, publishers, follow };
        let payloads = Payloads::new(arguments.size)?;
        if arguments.duration.is_zero() {
            return Err(PlanError::Duration);
        }
        check_dialect(arguments, topics)?;
        if let Some(pid) = arguments.server_pid.filter(|pid| host::Process::of(*pid).is_none()) {
            return Err(PlanError::Process(pid));
        }

        let place = Place::parse(&arguments.server.url, if spoken == Spoken::Fanfare { "/ws" } else { "/" })?;
        let key = place.path.split('?').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let token = arguments.server.token.clone().filter(|token| !token.is_empty());
        let setup = Setup {
            recover: arguments.recover,
            secret: token.clone(),
            key: key.to_owned(),
            host: place.authority.clone(),
            base: place.path.trim_end_matches('/').to_owned(),
        };
        let dialect = spoken.dialect(&setup);
        let prefix = &arguments.prefix;
        check_prefix(prefix)?;
        let first = dialect.topic(prefix, 0);
        TopicName::parse(&dialect.topic(prefix, topics - 1).replace('/', "."))
            .map_err(|error| PlanError::Prefix(prefix.clone(), error))?;
        let pattern = match arguments.pattern {
            true => Some(dialect.pattern(prefix).ok_or(PlanError::Pattern(name))?),
            false => None,
        };
        let pace = if arguments.full_speed {
            let window = at_least_one(bounded(arguments.window, "--window", WINDOW_MAX)?, "--window")?;
            Pace::Full { window: window as u32 }
        } else if arguments.rate > 0.0 || publishers == 0 {
            Pace::Rate(arguments.rate)
        } else {
            return Err(PlanError::Rate);
        };
        let await_delivery = arguments.await_delivery || !dialect.answers_publishes();
        let witnesses = match pace {
            Pace::Full { .. } if publishers > 0 && await_delivery => {
                witnesses(layout, subscribers).ok_or(PlanError::Unwatched(name))?
            }
            _ => HashSet::new(),
        };
        // Nobody publishes faster than that, and numbers do not run out.
        let messages = arguments.messages.unwrap_or(u64::MAX).min(u64::from(NUMBER_MAX));
        Ok(Plan {
            url: arguments.server.url.clone(),
            spoken,
            route: route(arguments, &place)?,
            host: place.authority.clone(),
            path: dialect.path(&place.path),
            tokens: tokens(arguments, token)?,
            encoding: arguments.server.format.into(),
            publish_encoding: arguments.publish_format.unwrap_or(arguments.server.format).into(),
            compression: arguments.compression,
            subscribers,
            layout,
            topics: (0..topics).map(|number| dialect.topic(prefix, number)).collect(),
            stem: first.trim_end_matches('0').to_owned(),
            pattern,
            size: arguments.size,
            payloads,
            pace,
            duration: arguments.duration,
            warmup: arguments.warmup,
            messages: arguments.messages.map(|_| messages),
            connect_rate: arguments.connect_rate.filter(|rate| *rate > 0.0),
            connect_timeout: arguments.connect_timeout,
            settle: arguments.settle,
            churn: arguments.churn,
            storm: arguments.storm_every.filter(|every| !every.is_zero()).map(|every| Storm {
                every,
                share: arguments.storm_share,
                away: arguments.storm_away,
            }),
            recover: arguments.recover,
            slow,
            slow_rate: arguments.slow_rate,
            await_delivery,
            witnesses,
            threads: threads(arguments, subscribers + publishers)?,
            spin: arguments.spin,
            dialect,
        })
    }

    pub(super) fn connections(&self) -> usize {
        self.subscribers + self.layout.publishers
    }

    /// The token that a connection shows.
    pub(super) fn token(&self, connection: usize) -> Option<&str> {
        self.tokens.get(connection % self.tokens.len().max(1)).map(String::as_str)
    }

    /// The number of a topic, from its name.
    pub(super) fn number_of(&self, topic: &str) -> Option<usize> {
        topic.strip_prefix(&self.stem)?.parse().ok().filter(|number| *number < self.layout.topics)
    }

    /// Publishers come last first, so that they share a thread with subscribers only if they must.
    pub(super) fn thread_of_publisher(&self, publisher: usize) -> usize {
        self.threads - 1 - publisher % self.threads
    }

    /// The longest frame that has business here: messages, or answers to all subscriptions at once.
    pub(super) fn frame_bytes_max(&self) -> usize {
        const ENVELOPE_BYTES: usize = 64 * 1024;
        self.size + ENVELOPE_BYTES
    }

    /// Why a connection fails, in words that say what to do where something can be done.
    pub(super) fn explain(&self, error: &io::Error) -> String {
        let address = self.route.address;
        match error.kind() {
            io::ErrorKind::AddrNotAvailable => format!(
                "no port is left to connect to {address} from: widen net.ipv4.ip_local_port_range, or name more \
                 addresses with --source"
            ),
            _ if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
                "no file descriptor is left".to_owned()
            }
            _ => format!("cannot connect to {address}: {error}"),
        }
    }
}

fn bounded(count: u64, name: &'static str, max: usize) -> Result<usize, PlanError> {
    usize::try_from(count).ok().filter(|count| *count <= max).ok_or(PlanError::TooMany(name, max))
}

fn at_least_one(count: usize, name: &'static str) -> Result<usize, PlanError> {
    if count == 0 { Err(PlanError::TooFew(name)) } else { Ok(count) }
}

/// What a dialect does not have.
fn check_dialect(arguments: &BenchArguments, topics: usize) -> Result<(), PlanError> {
    let (spoken, name) = (arguments.dialect, arguments.dialect.name());
    let packed = [Some(arguments.server.format), arguments.publish_format].into_iter().flatten();
    if spoken != Spoken::Fanfare && packed.map(Encoding::from).any(|encoding| encoding == Encoding::MsgPack) {
        return Err(PlanError::Format(name));
    }
    if spoken == Spoken::Raw && topics > 1 {
        return Err(PlanError::Topics(name));
    }
    if spoken == Spoken::Nchan && arguments.follow > 1 {
        return Err(PlanError::Channels);
    }
    if arguments.recover && spoken != Spoken::Fanfare {
        return Err(PlanError::Recover);
    }
    if arguments.recover && arguments.pattern {
        return Err(PlanError::RecoverPattern);
    }
    if spoken == Spoken::Pusher && arguments.server.token.as_deref().is_none_or(str::is_empty) {
        return Err(PlanError::Secret);
    }
    Ok(())
}

/// Names go into frames as they are, so nothing may stand in them that any dialect would escape.
fn check_prefix(prefix: &str) -> Result<(), PlanError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if prefix.chars().all(plain) { Ok(()) } else { Err(PlanError::PrefixCharacters(prefix.to_owned())) }
}

/// For each topic its first subscriber, or `None` if a topic has none.
fn witnesses(layout: Layout, subscribers: usize) -> Option<HashSet<usize>> {
    let mut watched = vec![false; layout.topics];
    let mut left = layout.topics;
    let mut witnesses = HashSet::new();
    for subscriber in 0..subscribers {
        for topic in layout.topics_of(subscriber) {
            if !std::mem::replace(&mut watched[topic], true) {
                left -= 1;
                witnesses.insert(subscriber);
            }
        }
        if left == 0 {
            return Some(witnesses);
        }
    }
    None
}

fn route(arguments: &BenchArguments, place: &Place) -> Result<Route, PlanError> {
    let name = || format!("{}:{}", place.host, place.port);
    let resolved = (place.host.as_str(), place.port).to_socket_addrs();
    let mut addresses: Vec<SocketAddr> = resolved.map_err(|error| PlanError::Resolve(name(), error))?.collect();
    // `localhost` has both; most servers listen on the older one alone.
    addresses.sort_by_key(|address| matches!(address.ip(), IpAddr::V6(ip) if ip.is_loopback()));
    if let Some(source) = arguments.source.first() {
        addresses.sort_by_key(|address| address.is_ipv4() != source.is_ipv4());
    }
    let address = addresses.first().copied();
    let address = address.ok_or_else(|| PlanError::Resolve(name(), io::ErrorKind::AddrNotAvailable.into()))?;
    for from in &arguments.source {
        if from.is_ipv4() != address.is_ipv4() {
            return Err(PlanError::SourceFamily { from: *from, to: address.ip() });
        }
        if !host::is_here(*from) {
            return Err(PlanError::Source(*from));
        }
    }
    let tls = if place.tls { Some(tls::client(&place.host, arguments.ca.as_deref())?) } else { None };
    Ok(Route { address, tls, sources: arguments.source.clone() })
}

fn tokens(arguments: &BenchArguments, token: Option<String>) -> Result<Vec<String>, PlanError> {
    let tokens: Vec<String> = match &arguments.tokens {
        None => token.into_iter().collect(),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| PlanError::Tokens(path.clone(), error))?;
            let tokens: Vec<String> =
                text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
            if tokens.is_empty() {
                return Err(PlanError::NoTokens(path.clone()));
            }
            tokens
        }
    };
    let plain = |token: &String| token.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if tokens.iter().all(plain) { Ok(tokens) } else { Err(PlanError::Token) }
}

fn threads(arguments: &BenchArguments, connections: usize) -> Result<usize, PlanError> {
    let threads = match arguments.threads {
        Some(threads) => at_least_one(bounded(threads, "--threads", THREADS_MAX)?, "--threads")?,
        // The server needs some as well, where it is on the same machine.
        None => std::thread::available_parallelism().map_or(1, |count| (count.get() / 2).clamp(1, 8)),
    };
    Ok(threads.min(connections).max(1))
}

/// A run in a few words, for reports.
impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::new();
        let count = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        // Infallible: the writer is a Vec.
        let _ = write!(
            text,
            "{} of {} in {}, {}, {} bytes",
            count(self.subscribers, "subscriber"),
            match &self.pattern {
                Some(pattern) => pattern.clone(),
                None => format!("{} each", count(self.layout.follow, "topic")),
            },
            count(self.layout.topics, "topic"),
            count(self.layout.publishers, "publisher"),
            self.size,
        );
        let _ = match self.pace {
            Pace::Rate(1.0) => write!(text, ", 1 message a second"),
            Pace::Rate(rate) => write!(text, ", {rate} messages a second"),
            Pace::Full { window } => write!(text, ", full speed with {window} on their way"),
        };
        if self.compression {
            text.extend_from_slice(b", compressed");
        }
        if self.churn > 0.0 {
            let _ = write!(text, ", {} a second return", self.churn);
        }
        if let Some(storm) = self.storm {
            let _ = write!(text, ", {}% at once every {:?}", storm.share * 100.0, storm.every);
        }
        if self.slow > 0 {
            let _ = write!(text, ", {} slow", self.slow);
        }
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Pace, Plan, PlanError};
    use crate::cli::args::{Arguments, Command};

    fn plan(words: &str) -> Result<Plan, PlanError> {
        let url = if words.contains("--url") { "" } else { "--url ws://127.0.0.1:1" };
        let words = format!("fanfare bench {url} {words}");
        let arguments = Arguments::try_parse_from(words.split_whitespace()).expect("a command line");
        let Some(Command::Bench(arguments)) = arguments.command else {
            panic!("another command");
        };
        Plan::new(&arguments)
    }

    #[test]
    fn what_was_asked_for_is_planned() {
        let plan = plan("-s 10 -p 2 -t 5 --follow 2 --full-speed --window 7 --threads 3 --prefix a.b").expect("a plan");
        assert_eq!((plan.subscribers, plan.connections(), plan.threads), (10, 12, 3));
        assert_eq!(plan.pace, Pace::Full { window: 7 });
        assert_eq!(plan.topics, ["a.b.0", "a.b.1", "a.b.2", "a.b.3", "a.b.4"]);
        assert_eq!(plan.path, "/ws");
        assert_eq!(plan.number_of("a.b.4"), Some(4));
        assert_eq!(plan.number_of("a.b.5"), None);
        assert_eq!(plan.number_of("a.c.1"), None);
        assert!(plan.witnesses.is_empty(), "publishes are answered");
    }

    #[test]
    fn dialects_name_things_as_they_do() {
        let mqtt = plan("--dialect mqtt --pattern -t 3 --prefix a.b").expect("a plan");
        assert_eq!((mqtt.topics[2].as_str(), mqtt.pattern.as_deref()), ("a/b/2", Some("a/b/+")));
        let nats = plan("--dialect nats -t 3 --full-speed -s 9").expect("a plan");
        assert_eq!(nats.witnesses, [0, 1, 2].into());
        assert_eq!(nats.path, "/");
        let socketio = plan("--dialect socketio").expect("a plan");
        assert_eq!(socketio.path, "/socket.io/?EIO=4&transport=websocket");
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (words, reason) in [
            ("--topics 0", "--topics is at least 1"),
            ("--follow 2", "subscribers cannot follow 2 of 1 topics"),
            ("--slow 101", "only 101 of 100 subscribers can be slow"),
            ("--size 10", "messages have 55 to 16777216 bytes"),
            ("--duration 0s", "a run of no length"),
            ("--dialect pusher --token s --pattern", "pusher has no patterns"),
            ("--dialect pusher", "Pusher needs the app's secret"),
            ("--dialect mqtt --format msgpack", "mqtt has no MessagePack"),
            ("--dialect nats --publish-format msgpack", "nats has no MessagePack"),
            ("--dialect raw --topics 2", "raw has no topics"),
            ("--dialect nchan --topics 2 --follow 2", "an nchan subscriber follows one topic"),
            ("--dialect nchan --topics 2 --pattern", "nchan has no patterns"),
            ("--dialect raw --full-speed -s 0", "at full speed raw needs a subscriber"),
            ("--dialect nats --recover", "only fanfare can recover"),
            ("--recover --pattern", "patterns have no positions"),
            ("--prefix a\"b", "cannot begin the names"),
            ("--prefix a..b", "a..b: "),
            ("--threads 0", "--threads is at least 1"),
            ("-s 1000001", "--subscribers is at most 1000000"),
            ("--tokens /nonexistent", "/nonexistent: "),
            ("--tokens /dev/null", "/dev/null: not one token"),
            ("--rate 0", "--publishers 0"),
            ("--server-pid 4294967295", "process 4294967295 cannot be looked at"),
            ("--url wss://127.0.0.1:1 --ca /dev/null", "/dev/null holds no certificate"),
            ("--source 192.0.2.1", "192.0.2.1 is no address of this machine"),
            ("--source 127.0.0.1 --source ::1", "127.0.0.1 cannot be reached from ::1"),
        ] {
            let error = plan(words).expect_err(words).to_string();
            assert!(error.contains(reason), "{words}: {error}");
        }
    }
}
