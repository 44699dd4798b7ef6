//! Options of the server: defaults, then a TOML file, then the environment, then flags.
//!
//! Every setting is one row of the table in `schema`, which names its key, its type and its range;
//! files, environment and the suggestions for misspelt keys all go by that table. Everything that is
//! wrong is reported at once, with the place it stands at, and nothing is taken over from a source
//! that has a mistake in it unnoticed. The module opens no socket and resolves no name: it says what
//! was asked for, and `server` does it.

mod address;
mod credentials;
mod environment;
mod error;
mod file;
mod nearest;
mod schema;
#[cfg(test)]
mod tests;
mod value;

use std::fs;
use std::path::Path;

use crate::broker::Overflow;
use crate::limits::LimitOptions;
use crate::protocol::topic::Filter;

pub(crate) use address::{is_loopback, unix_path};
pub(crate) use credentials::{Anonymous, Auth, BackendKey};
pub(crate) use error::{ConfigErrors, OpenToAll, Place, Problem};

use error::Fault;

/// Everything the server can be told, complete: what nobody set has its default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Config {
    /// Where it listens and which web pages it serves.
    pub(crate) server: Server,
    /// How it tells who somebody is.
    pub(crate) auth: Auth,
    /// What those may do who show no credentials, where there are any.
    pub(crate) anonymous: Anonymous,
    /// Keys of backends.
    pub(crate) keys: Vec<BackendKey>,
    /// The bound of everything that a peer could make grow.
    pub(crate) limits: Limits,
    /// Whether messages are compressed.
    pub(crate) compression: Compression,
    /// How dead connections are told from quiet ones.
    pub(crate) keep_alive: KeepAlive,
    /// How it ends.
    pub(crate) drain: Drain,
    /// What a topic keeps when no rule says otherwise.
    pub(crate) history: History,
    pub(crate) presence: Presence,
    /// Rules for some topics, in the order of the file: the first whose pattern matches counts.
    pub(crate) topics: Vec<TopicRule>,
    /// What it says to standard error.
    pub(crate) log: Log,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    /// `HOST:PORT` or `unix:/PATH`, one or more; port 0 is any free port.
    pub(crate) listen: Vec<String>,
    /// More of those, on which a proxy introduces each connection by the PROXY protocol.
    pub(crate) proxy_protocol: Vec<String>,
    /// Names, besides IP literals and `localhost`, that a `Host` header may carry.
    pub(crate) hosts: Vec<String>,
    /// Origins, besides the server's own, whose web pages are served.
    pub(crate) origins: Vec<String>,
    /// Threads that serve connections; 0 is one per core.
    pub(crate) threads: usize,
    /// Whether to listen beyond loopback though nobody is asked who they are. Only a flag sets it:
    /// in a file it would be copied along to machines it was never meant for.
    pub(crate) insecure_open: bool,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Limits {
    /// Connections in all; one more is refused with 503.
    pub(crate) connections: usize,
    /// Bytes of one WebSocket message from a client, all fragments together.
    pub(crate) message_bytes: usize,
    /// Commands in one batch.
    pub(crate) batch_items: usize,
    /// Topics and patterns that one connection follows at a time.
    pub(crate) subscriptions_per_connection: usize,
    /// Topics in all.
    pub(crate) topics: usize,
    /// Replies that may wait for one connection, in bytes, before its commands are left unread.
    pub(crate) control_lane_bytes: usize,
    /// Messages retained by all topics together, in bytes.
    pub(crate) retained_bytes: usize,
    /// Members of one topic.
    pub(crate) members_per_topic: usize,
    /// Publishes with an `idempotency_key` that are remembered,
    pub(crate) idempotency_keys: usize,
    /// and for how long.
    pub(crate) idempotency_ms: u64,
    /// Topics in which one slow connection may stand at a place of its own.
    pub(crate) behind_topics: usize,
    /// What all connections together may be owed, in bytes.
    pub(crate) backlog_bytes: usize,
    /// Time for the head of an HTTP request to arrive.
    pub(crate) header_ms: u64,
    /// Bytes of the body of an HTTP request.
    pub(crate) http_body_bytes: usize,
    /// Malformed commands in a row that one connection may send.
    pub(crate) malformed_in_a_row: usize,
    /// How long a publisher waits for room before it is refused.
    pub(crate) publish_wait_ms: u64,
    /// What each client may use, and whose address counts for it; the lists stand in `[server]`.
    pub(crate) clients: LimitOptions,
}

/// `[compression]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Compression {
    /// Whether clients that offer permessage-deflate get it.
    pub(crate) enabled: bool,
    /// Messages shorter than this, with frame and envelope, are sent as they are.
    pub(crate) min_bytes: usize,
}

/// `[keep_alive]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeepAlive {
    /// The server sends something at least this often.
    pub(crate) heartbeat_ms: u64,
    /// How long the answer to a ping may take.
    pub(crate) timeout_ms: u64,
}

/// `[drain]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Drain {
    /// The span over which clients are asked to come back.
    pub(crate) spread_ms: u64,
    /// When the server ends, whoever is still connected.
    pub(crate) deadline_ms: u64,
}

/// `[history]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct History {
    /// Messages retained per topic.
    pub(crate) entries: usize,
    /// Bytes retained per topic.
    pub(crate) bytes: usize,
    /// How long a message is retained.
    pub(crate) age_ms: u64,
    /// How long a topic that nobody follows and that retains nothing keeps its numbering.
    pub(crate) linger_ms: u64,
    /// The directory in which all of it outlasts the process; none if empty.
    pub(crate) data_dir: String,
    /// How often it is written there.
    pub(crate) sync_ms: u64,
}

/// `[presence]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Presence {
    /// How long a member stays whose connection was lost.
    pub(crate) grace_ms: u64,
}

/// One `[[topics]]`: what is not given stands in [`History`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TopicRule {
    /// The topics it is for.
    pub(crate) pattern: Filter,
    /// Instead of `history.entries`.
    pub(crate) history_entries: Option<usize>,
    /// Instead of `history.bytes`.
    pub(crate) history_bytes: Option<usize>,
    /// Instead of `history.age_ms`.
    pub(crate) history_age_ms: Option<u64>,
    /// What becomes of subscribers that fall behind; `gap` if nothing is said.
    pub(crate) overflow: Option<Overflow>,
    /// Whether messages say when they were published.
    pub(crate) at: bool,
    /// Whether messages say who published them.
    pub(crate) from: bool,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Log {
    /// How a line looks.
    pub(crate) format: LogFormat,
    /// Which lines: a level, or a list of `TARGET=LEVEL`.
    pub(crate) level: String,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One object a line, for programs.
    Json,
}

/// What the command line says; it has the last word.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    /// `--listen`, repeatable: replaces `server.listen` unless empty.
    pub(crate) listen: Vec<String>,
    /// `--insecure-open`.
    pub(crate) insecure_open: bool,
    /// `FANFARE_LOG`, in place of `log.level`.
    pub(crate) log: Option<String>,
}

impl Config {
    /// Puts together what the four sources say.
    ///
    /// Of the environment only names of the form `FANFARE_SECTION__KEY` are looked at.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in any of the sources, in the order in which they were read.
    pub(crate) fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<Config, ConfigErrors> {
        let mut config = Config::default();
        let mut problems = Vec::new();
        if let Some(path) = file {
            match fs::read_to_string(path) {
                Ok(text) => file::read(&text, path, &mut config, &mut problems),
                Err(error) => problems.push(Problem {
                    place: Place::file(path, None),
                    key: None,
                    fault: Fault::Unreadable(error),
                }),
            }
        }
        environment::read(environment, &mut config, &mut problems);
        flags.apply(&mut config, &mut problems);
        if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
    }

    /// Whether anything is said about who may come in. Rights of the anonymous count as well: they would mean
    /// nothing if everybody had all rights.
    pub(crate) fn asks(&self) -> bool {
        let auth = &self.auth;
        let lists = [&auth.secrets, &auth.secret_files, &auth.public_key_files];
        lists.into_iter().any(|list| !list.is_empty())
            || !auth.jwks_file.is_empty()
            || !self.keys.is_empty()
            || self.anonymous != Anonymous::default()
    }

    /// Refuses a server that anybody on the network could use.
    ///
    /// Without credentials everybody may publish and subscribe, which is right for loopback and for
    /// whoever says `--insecure-open`, and an accident everywhere else.
    ///
    /// # Errors
    ///
    /// The first address that is not loopback. A name other than `localhost` counts as one: what
    /// it resolves to may change after it was looked at.
    pub(crate) fn refuse_open(&self) -> Result<(), OpenToAll> {
        if self.server.insecure_open || self.asks() {
            return Ok(());
        }
        let Server { listen, proxy_protocol, .. } = &self.server;
        match listen.iter().chain(proxy_protocol).find(|address| !is_loopback(address)) {
            Some(address) => Err(OpenToAll(address.clone())),
            None => Ok(()),
        }
    }
}

impl Flags {
    fn apply(&self, config: &mut Config, problems: &mut Vec<Problem>) {
        let mut refuse = |flag: &'static str, key: &str, fault| {
            problems.push(Problem { place: Place::Flag(flag), key: Some(key.to_owned()), fault });
        };
        for address in &self.listen {
            if let Err(fault) = address::check(address) {
                refuse("--listen", "server.listen", fault);
            }
        }
        if !self.listen.is_empty() {
            config.server.listen.clone_from(&self.listen);
        }
        if let Some(level) = &self.log {
            match schema::check_log_level(level) {
                Ok(()) => config.log.level.clone_from(level),
                Err(fault) => refuse("FANFARE_LOG", "log.level", fault),
            }
        }
        config.server.insecure_open |= self.insecure_open;
    }
}

impl Default for Server {
    fn default() -> Self {
        Server {
            listen: vec!["127.0.0.1:7070".to_owned()],
            proxy_protocol: Vec::new(),
            hosts: Vec::new(),
            origins: Vec::new(),
            threads: 0,
            insecure_open: false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 100_000,
            message_bytes: 64 * 1024,
            batch_items: 1_000,
            subscriptions_per_connection: 1_000,
            topics: 1_000_000,
            control_lane_bytes: 64 * 1024,
            retained_bytes: 256 * 1024 * 1024,
            members_per_topic: 10_000,
            idempotency_keys: 100_000,
            idempotency_ms: 300_000,
            behind_topics: 4_096,
            backlog_bytes: 268_435_456,
            header_ms: 10_000,
            http_body_bytes: 1024 * 1024,
            malformed_in_a_row: 16,
            publish_wait_ms: 5_000,
            clients: LimitOptions::default(),
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        Compression { enabled: true, min_bytes: 256 }
    }
}

impl Default for KeepAlive {
    fn default() -> Self {
        KeepAlive { heartbeat_ms: 25_000, timeout_ms: 20_000 }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Drain { spread_ms: 5_000, deadline_ms: 10_000 }
    }
}

impl Default for History {
    fn default() -> Self {
        History {
            entries: 256,
            bytes: 256 * 1024,
            age_ms: 300_000,
            linger_ms: 60_000,
            data_dir: String::new(),
            sync_ms: 5_000,
        }
    }
}

impl Default for Presence {
    fn default() -> Self {
        Presence { grace_ms: 2_000 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Auto, level: "info".to_owned() }
    }
}
