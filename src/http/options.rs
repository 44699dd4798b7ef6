//! The settings of a [`Service`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use super::Service;
use super::service::Shared;
use crate::auth::{Authenticator, Hooks, Permissions};
use crate::broker::Broker;
use crate::fanout::turns::Turns;
use crate::fanout::{Pool, ShardOptions};
use crate::gate::{Gate, Rules};
use crate::limits::{LimitOptions, Limits};
use crate::session::SessionOptions;

/// What a service allows.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) hosts: Vec<String>,
    pub(crate) origins: Vec<String>,
    pub(crate) connections_max: usize,
    /// Whether permessage-deflate is agreed on with those who offer it.
    pub(crate) compression: bool,
    pub(crate) http_body_bytes_max: usize,
    /// How long a request's body may take to arrive, in all.
    pub(crate) http_body_time: Duration,
    pub(crate) limits: LimitOptions,
    /// Whether `/metrics` needs the admin right.
    pub(crate) protect_metrics: bool,
    pub(crate) session: SessionOptions,
    pub(crate) shard: ShardOptions,
    pub(crate) shards: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            hosts: Vec::new(),
            origins: Vec::new(),
            // Memory, not sockets, would bound it: about 2.5 KB for each that idles.
            connections_max: 100_000,
            compression: true,
            http_body_bytes_max: 1024 * 1024,
            http_body_time: Duration::from_secs(10),
            limits: LimitOptions::default(),
            protect_metrics: false,
            session: SessionOptions::default(),
            shard: ShardOptions::default(),
            shards: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }
}

/// Settings of a [`Service`], see [`Service::builder`].
#[must_use]
pub struct ServiceBuilder {
    pub(crate) broker: Broker,
    pub(crate) options: Options,
    rules: Rules,
}

impl ServiceBuilder {
    pub(crate) fn new(broker: Broker) -> Self {
        let mut options = Options::default();
        options.session.message_bytes_max = broker.registry().options().message_bytes_max;
        ServiceBuilder { broker, options, rules: Rules::default() }
    }

    /// Who says who somebody is. With one, everybody has to show credentials, or has the rights of
    /// [`anonymous`](Self::anonymous). The default is none: nobody is asked who they are.
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.rules.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// What those may do who show no credentials, where there is an
    /// [`authenticator`](Self::authenticator). The default is nothing: they are to show some within
    /// [`first_command`](Self::first_command).
    pub fn anonymous(mut self, permissions: Permissions) -> Self {
        self.rules.anonymous = Arc::new(permissions);
        self
    }

    /// What is asked when somebody comes, follows, publishes and goes.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.rules.hooks = Some(Arc::new(hooks));
        self
    }

    /// How long a connection that shows no credentials may take to send an `auth` command where they are
    /// needed. The default is ten seconds.
    pub fn first_command(mut self, within: Duration) -> Self {
        self.options.session.first_command_ms = ms(within);
        self
    }

    /// How long a member of a topic stays whose connection was lost, so that a page which is loaded again is not
    /// seen to leave and come back; zero for not at all. The default is two seconds.
    pub fn presence_grace(mut self, grace: Duration) -> Self {
        self.options.shard.presence_grace_ms = ms(grace);
        self
    }

    /// How long before its credentials end a client is told, so that it can show new ones. The default is
    /// thirty seconds.
    pub fn expiring(mut self, before: Duration) -> Self {
        self.options.shard.expiring_ms = ms(before);
        self
    }

    /// Whether `/metrics` needs the admin right. The default is no: it names nothing that a client chose.
    pub fn protect_metrics(mut self, protected: bool) -> Self {
        self.options.protect_metrics = protected;
        self
    }

    /// A name that requests may address the server by, beside IP addresses and `localhost`. A page
    /// whose name was pointed at this machine by somebody else (DNS rebinding) is refused by this.
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.options.hosts.push(name.into());
        self
    }

    /// An origin whose pages may connect, such as `https://app.example.com`, beside the service's own
    /// host and, without credentials, pages of this machine.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.options.origins.push(origin.into());
        self
    }

    /// How many connections there may be. The default is 100,000, at some 2.5 KB for each that idles.
    pub fn connections_max(mut self, connections: usize) -> Self {
        self.options.connections_max = connections;
        self
    }

    /// How many topics and patterns one connection may subscribe to. The default is 1,000.
    pub fn subscriptions_per_connection_max(mut self, subscriptions: usize) -> Self {
        self.options.shard.subscriptions_per_connection_max = subscriptions;
        self
    }

    /// Whether messages are compressed for clients that offer permessage-deflate. The default is yes:
    /// it is done once for all of them.
    pub fn compression(mut self, enabled: bool) -> Self {
        self.options.compression = enabled;
        self
    }

    /// How often a silent connection hears something, and how long it may take to answer a ping. The
    /// defaults are 25 and 20 seconds: most proxies give up on a connection after 60.
    pub fn heartbeat(mut self, every: Duration, answer_within: Duration) -> Self {
        self.options.shard.heartbeat_ms = ms(every);
        self.options.shard.timeout_ms = ms(answer_within);
        self.options.session.heartbeat_ms = ms(every);
        self
    }

    /// How many tasks share the work of writing. The default is one per core.
    pub fn shards(mut self, shards: usize) -> Self {
        self.options.shards = shards;
        self
    }

    /// The service, ready to be mounted.
    pub fn build(self) -> Service {
        let pool = Pool::new(self.broker.clone(), self.options.shard, self.options.shards);
        let session_options = Arc::new(self.options.session);
        let shared = Shared {
            gate: Gate::new(self.broker.clone(), self.rules),
            refusals: Arc::default(),
            broker: self.broker,
            pool,
            session_options,
            limits: Limits::new(self.options.limits.clone()),
            resumables: Arc::default(),
            turns: Turns::new(self.options.shards),
            options: self.options,
            draining: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            refused_origins: AtomicU64::new(0),
            large_bodies: AtomicU64::new(0),
            slow_requests: AtomicU64::new(0),
            stats_served: AtomicBool::new(false),
            streams: Arc::default(),
        };
        Service { shared: Arc::new(shared), shard: None, arrival: None, attendance: None }
    }
}

impl fmt::Debug for ServiceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBuilder")
            .field("broker", &self.broker)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
