//! Who a request counts for, and how much of everything that one may have.
//!
//! The address is the peer's, or the one that trusted proxies vouch for. Connections, attempts at them,
//! commands, publishes and bytes are metered per connection and per address, publishes per topic too.
//! Nothing here answers anybody: what is too much is an [`Excess`], which says when to come back.

mod address;
mod forwarded;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod meters;
mod network;
mod options;
mod pace;
#[cfg(any(feature = "server", test, fuzzing))]
pub(crate) mod proxy;
mod rate;
mod table;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;

pub(crate) use address::Client;
pub use address::PeerAddr;
pub(crate) use meters::Meters;
pub use network::{Network, NetworkError};
pub(crate) use options::LimitOptions;
pub(crate) use rate::Moment;
pub use rate::{Rate, RateError};

use address::{AddressKey, contain};
use meters::AddressMeters;
use options::Rates;
use rate::Meter;
use table::Table;

/// When to come back to an address that has as many connections as it may: nobody knows when one ends.
const CONNECTIONS_RETRY_MS: u64 = 5_000;

/// The limits of a service, and what has been used of them.
#[derive(Debug)]
pub(crate) struct Limits {
    options: LimitOptions,
    addresses: Table<AddressKey, AddressMeters>,
    /// By the name's hash: what collides, one pair in 2^64, shares a meter.
    topics: Table<u64, Meter>,
    topic_hasher: foldhash::quality::RandomState,
    excesses: [AtomicU64; Limit::COUNT],
    /// Requests from networks that are not served.
    denied: AtomicU64,
    /// Connections closed for going on and on.
    closed: AtomicU64,
    /// Whether it has been said that somebody exempt speaks for others.
    warned: AtomicBool,
    begun: Instant,
}

/// What there was too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Attempts,
    /// Credentials that do not count.
    Credentials,
    Connections,
    Commands,
    Publishes,
    Bytes,
    Topic,
}

/// What is known of a connection when it is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Whose it is will be known from what it says: its attempt counts then.
    Open,
    /// It has been counted.
    Admitted,
    /// It has been counted, and is one too many.
    Refused(Excess),
    /// One of so many too many that they are not worth an answer.
    Flood,
}

/// Too much of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) limit: Limit,
    pub(crate) retry_after_ms: u64,
}

/// How often each limit was met, and how much is kept for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LimitFigures {
    pub(crate) attempts: u64,
    pub(crate) credentials: u64,
    pub(crate) connections: u64,
    pub(crate) commands: u64,
    pub(crate) publishes: u64,
    pub(crate) bytes: u64,
    pub(crate) topic: u64,
    pub(crate) denied: u64,
    pub(crate) closed: u64,
    pub(crate) metered: u64,
    pub(crate) unmetered: u64,
}

impl Limits {
    pub(crate) fn new(options: LimitOptions) -> Arc<Self> {
        let (attempts, rates) = (options.attempts_per_address, options.per_address);
        let slowest = |rates: &[Option<Rate>]| rates.iter().flatten().map(|rate| rate.fills_in()).max();
        let idle = slowest(&[attempts, rates.commands, rates.publishes, rates.bytes]).unwrap_or_default();
        let per_topic = options.publishes_per_topic;
        let topic_idle = slowest(&[per_topic]).unwrap_or_default();
        Arc::new(Limits {
            addresses: Table::new(options.meters_max, idle, move || AddressMeters::new(attempts, rates)),
            topics: Table::new(options.meters_max, topic_idle, move || Meter::new(per_topic)),
            topic_hasher: foldhash::quality::RandomState::default(),
            excesses: Default::default(),
            denied: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            warned: AtomicBool::new(false),
            begun: Instant::now(),
            options,
        })
    }

    /// The time, for all that is asked about one message.
    pub(crate) fn now(&self) -> Moment {
        Moment(u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Whom a request counts for.
    pub(crate) fn client(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Client {
        let client = Client::of(peer, headers, &self.options.trusted_proxies);
        if client.claims
            && let Some(address) = client.address
            && contain(&self.options.exempt, address)
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                %address,
                "a peer whose address is exempt from limits speaks for others, and is limited like them; \
                 if it is a proxy, it belongs into the trusted ones"
            );
        }
        client
    }

    /// Whether the client's network is served at all.
    pub(crate) fn serves(&self, client: &Client) -> bool {
        let LimitOptions { allow, deny, .. } = &self.options;
        let serves = match client.address {
            Some(address) => !contain(deny, address) && (allow.is_empty() || contain(allow, address)),
            // Who cannot be told to be on the list is not.
            None => allow.is_empty(),
        };
        if !serves {
            self.denied.fetch_add(1, Ordering::Relaxed);
        }
        serves
    }

    /// Counts an attempt to connect.
    pub(crate) fn attempt(&self, client: &Client, now: Moment) -> Result<(), Excess> {
        let Some((meters, _)) = self.address_of(client, now) else { return Ok(()) };
        meters.attempt(now).map_err(|wait| self.excess(Limit::Attempts, wait))
    }

    /// Counts a connection that has been accepted, if it cannot be somebody else's than the peer's.
    pub(crate) fn arrive(&self, peer: IpAddr, now: Moment) -> Arrival {
        let client = Client::of(Some(peer), &HeaderMap::new(), &[]);
        let speaks_for_others = contain(&self.options.trusted_proxies, peer);
        let Some((meters, _)) = self.address_of(&client, now).filter(|_| !speaks_for_others) else {
            return Arrival::Open;
        };
        match meters.attempt(now) {
            Ok(()) => Arrival::Admitted,
            Err(wait) => {
                let excess = self.excess(Limit::Attempts, wait);
                if meters.refusals.take(1, now).is_ok() { Arrival::Refused(excess) } else { Arrival::Flood }
            }
        }
    }

    /// The meters of a connection, and its place among those of its address, until they are dropped.
    /// `None` if nothing of it is metered.
    pub(crate) fn connect(self: &Arc<Self>, client: &Client, now: Moment) -> Result<Option<Box<Meters>>, Excess> {
        if self.is_exempt(client) {
            return Ok(None);
        }
        let address = match self.address_of(client, now) {
            // Addresses that share their meters are many: together they may have more than one may.
            Some((meters, false)) => {
                if !meters.sit_down(self.options.connections_per_address_max) {
                    return Err(self.excess(Limit::Connections, Duration::from_millis(CONNECTIONS_RETRY_MS)));
                }
                Some((meters, true))
            }
            Some((meters, true)) => Some((meters, false)),
            None => None,
        };
        Ok(Some(Box::new(Meters::of_connection(Arc::clone(self), address))))
    }

    /// The meters of a single request. `None` if nothing of it is metered.
    pub(crate) fn request(self: &Arc<Self>, client: &Client, now: Moment) -> Option<Meters> {
        let (meters, _) = self.address_of(client, now)?;
        Some(Meters::of_request(Arc::clone(self), meters))
    }

    /// Whether credentials are looked at that a single request shows: not while too many of its address did not count,
    /// or a flood of forged ones would cost on an open connection what it may not cost on new ones.
    pub(crate) fn credentials(&self, client: &Client, now: Moment) -> Result<(), Excess> {
        let Some((meters, _)) = self.address_of(client, now) else { return Ok(()) };
        meters.trusts(now).map_err(|wait| self.excess(Limit::Credentials, wait))
    }

    /// A single request has shown credentials that do not count.
    pub(crate) fn refuse_credentials(&self, client: &Client, now: Moment) {
        // Only if the address is its own: nobody else's is to pay for it.
        if let Some((meters, false)) = self.address_of(client, now) {
            meters.refuse_credentials(self.options.attempts_per_address, now);
        }
    }

    pub(crate) fn figures(&self) -> LimitFigures {
        let count = |limit: Limit| self.excesses[limit as usize].load(Ordering::Relaxed);
        LimitFigures {
            attempts: count(Limit::Attempts),
            credentials: count(Limit::Credentials),
            connections: count(Limit::Connections),
            commands: count(Limit::Commands),
            publishes: count(Limit::Publishes),
            bytes: count(Limit::Bytes),
            topic: count(Limit::Topic),
            denied: self.denied.load(Ordering::Relaxed),
            closed: self.closed.load(Ordering::Relaxed),
            metered: (self.addresses.held() + self.topics.held()) as u64,
            unmetered: self.addresses.overflowed() + self.topics.overflowed(),
        }
    }

    /// The meters of the client's address, and whether it shares them. `None` if it is exempt or has none.
    fn address_of(&self, client: &Client, now: Moment) -> Option<(Arc<AddressMeters>, bool)> {
        let address = client.address.filter(|_| !self.is_exempt(client))?;
        Some(self.addresses.of(AddressKey::new(address, self.options.ipv6_prefix), now))
    }

    fn is_exempt(&self, client: &Client) -> bool {
        client.is_certain
            && !client.claims
            && client.address.is_some_and(|address| contain(&self.options.exempt, address))
    }

    fn excess(&self, limit: Limit, wait: Duration) -> Excess {
        self.excesses[limit as usize].fetch_add(1, Ordering::Relaxed);
        // Rounded up: to come back early would be refused again.
        let ms = wait.as_nanos().div_ceil(1_000_000).max(1);
        Excess { limit, retry_after_ms: u64::try_from(ms).unwrap_or(u64::MAX) }
    }
}

impl Limit {
    const COUNT: usize = Limit::Topic as usize + 1;

    /// For whoever is refused.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Limit::Attempts => "too many connections in a short time from that address",
            Limit::Credentials => "too many credentials that do not count from that address",
            Limit::Connections => "as many connections as one address may have",
            Limit::Commands => "command rate exceeded",
            Limit::Publishes => "publish rate exceeded",
            Limit::Bytes => "byte rate exceeded",
            Limit::Topic => "publish rate of that topic exceeded",
        }
    }
}

/// What a connection that is not exempt does for each publish of so many bytes, for the bench that tells what it
/// costs; false when it is refused.
#[doc(hidden)]
pub fn publishes(address: IpAddr, rate: Rate) -> impl FnMut(usize, &str) -> bool {
    let rates = Rates { commands: Some(rate), publishes: Some(rate), bytes: Some(rate) };
    let limits = Limits::new(LimitOptions {
        per_connection: rates,
        per_address: rates,
        publishes_per_topic: Some(rate),
        ..LimitOptions::default()
    });
    let client = limits.client(Some(address), &HeaderMap::new());
    let meters = limits.connect(&client, limits.now()).ok().flatten();
    let mut meters = meters.expect("the first connection of an address that is not exempt");
    move |bytes, topic| {
        let now = meters.now();
        meters.message(bytes, now);
        meters.command(1, now).and_then(|()| meters.publish(topic, now)).is_ok()
    }
}

/// Attempts to connect from any address, for the bench that tells what they cost and leave behind.
#[doc(hidden)]
pub fn attempts() -> impl FnMut(IpAddr) -> bool {
    let limits = Limits::new(LimitOptions::default());
    move |address| {
        let client = limits.client(Some(address), &HeaderMap::new());
        limits.attempt(&client, limits.now()).is_ok()
    }
}

#[cfg(test)]
mod tests;
