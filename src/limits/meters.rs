//! What one connection or request has used of its limits.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::options::Rates;
use super::pace::Pace;
use super::rate::{Meter, Moment, Rate};
use super::{Excess, Limit, Limits};

/// Each connection that is closed for passing rates again and again, or for commands that nobody can read, bars its
/// address for as long as so many attempts take: with each it would have the burst of a connection again, which is
/// most of what a flood costs.
const CLOSED_ATTEMPTS: u64 = 100;

/// Credentials that do not count, and what ends a connection because it is no WebSocket's, take as many attempts of
/// their address: to look at them is most of what a flood of them costs. Whoever has no more bars its address for as
/// long as that.
const FAULT_ATTEMPTS: u32 = 10;

/// An address is barred no longer than this, and not when it has stayed away for so long that its meters were let go.
const BARRED_MAX: Duration = Duration::from_secs(60);

/// What an address has used. Everything of it that is connected holds this.
#[derive(Debug)]
pub(super) struct AddressMeters {
    connections: AtomicUsize,
    attempts: Meter,
    /// A moment before which no attempt succeeds,
    barred_until: AtomicU64,
    /// and one before which no credentials of requests are looked at.
    distrusted_until: AtomicU64,
    /// Attempts that were refused with an answer.
    pub(super) refusals: Meter,
    sent: SentMeters,
    /// How what was refused is spaced out.
    pace: Pace,
}

/// What somebody has sent.
#[derive(Debug)]
struct SentMeters {
    commands: Meter,
    publishes: Meter,
    bytes: Meter,
}

/// What a connection has used by itself.
#[derive(Debug)]
struct OwnMeters {
    sent: SentMeters,
    /// Messages that were refused for a rate.
    refusals: Meter,
    /// Where no address is known.
    pace: Pace,
}

/// The meters of one connection, or of one HTTP request.
///
/// A connection asks its own first: one that is refused for what it does alone uses up nothing of its
/// address's.
#[derive(Debug)]
pub(crate) struct Meters {
    limits: Arc<Limits>,
    own: Option<OwnMeters>,
    address: Option<Arc<AddressMeters>>,
    /// Whether it counts among its address's connections.
    has_seat: bool,
    /// The message that is being carried out was too much by itself.
    message: Result<(), Excess>,
    /// Commands of that message that were refused for a rate.
    refused: u32,
}

impl AddressMeters {
    pub(super) fn new(attempts: Option<Rate>, rates: Rates) -> Self {
        AddressMeters {
            connections: AtomicUsize::new(0),
            attempts: Meter::new(attempts),
            barred_until: AtomicU64::new(0),
            distrusted_until: AtomicU64::new(0),
            refusals: Meter::new(attempts.map(Rate::tenth)),
            sent: SentMeters::new(rates),
            pace: Pace::default(),
        }
    }

    /// Counts an attempt, or says when to come back.
    pub(super) fn attempt(&self, now: Moment) -> Result<(), Duration> {
        rest(&self.barred_until, now)?;
        self.attempts.take(1, now)
    }

    /// Says when to come back if too many of its credentials did not count.
    pub(super) fn trusts(&self, now: Moment) -> Result<(), Duration> {
        rest(&self.distrusted_until, now)
    }

    /// Something was sent that is wrong in itself. Whether there was too much of that.
    fn fault(&self, rate: Option<Rate>, now: Moment) -> bool {
        let is_often = self.attempts.take(FAULT_ATTEMPTS, now).is_err();
        if is_often {
            extend(&self.barred_until, FAULT_ATTEMPTS.into(), rate, now);
        }
        is_often
    }

    /// Credentials have been shown that do not count.
    pub(super) fn refuse_credentials(&self, rate: Option<Rate>, now: Moment) {
        if self.fault(rate, now) {
            extend(&self.distrusted_until, FAULT_ATTEMPTS.into(), rate, now);
        }
    }

    /// Nobody of this address gets in for as long as so many attempts take.
    fn bar(&self, attempts: u64, rate: Option<Rate>, now: Moment) {
        extend(&self.barred_until, attempts, rate, now);
    }

    /// Takes one of so many places, if one is free.
    pub(super) fn sit_down(&self, places: usize) -> bool {
        let one_more = |taken: usize| (taken < places).then_some(taken + 1);
        self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn get_up(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is left until a moment that has not come.
fn rest(until: &AtomicU64, now: Moment) -> Result<(), Duration> {
    let rest = until.load(Ordering::Relaxed).saturating_sub(now.0);
    if rest > 0 { Err(Duration::from_nanos(rest)) } else { Ok(()) }
}

/// Puts a moment off by as long as so many attempts take.
fn extend(until: &AtomicU64, attempts: u64, rate: Option<Rate>, now: Moment) {
    let Some(rate) = rate else { return };
    let latest = now.0 + BARRED_MAX.as_nanos() as u64;
    let longer = |until: u64| Some((until.max(now.0) + attempts * rate.interval_ns()).min(latest));
    // It always has a next value.
    let _ = until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, longer);
}

impl SentMeters {
    fn new(rates: Rates) -> Self {
        SentMeters {
            commands: Meter::new(rates.commands),
            publishes: Meter::new(rates.publishes),
            bytes: Meter::new(rates.bytes),
        }
    }

    fn take(&self, limit: Limit, count: u32, now: Moment) -> Result<(), Duration> {
        match limit {
            Limit::Commands => self.commands.take(count, now),
            Limit::Publishes => self.publishes.take(count, now),
            Limit::Bytes => self.bytes.take(count, now),
            Limit::Attempts | Limit::Credentials | Limit::Connections | Limit::Topic => Ok(()),
        }
    }
}

impl Meters {
    /// With the meters of the address, if there is one, and whether it has sat down there.
    pub(super) fn of_connection(limits: Arc<Limits>, address: Option<(Arc<AddressMeters>, bool)>) -> Self {
        let options = &limits.options;
        let own = OwnMeters {
            sent: SentMeters::new(options.per_connection),
            refusals: Meter::new(options.refusals_per_connection),
            pace: Pace::default(),
        };
        let (address, has_seat) = address.map_or((None, false), |(address, has_seat)| (Some(address), has_seat));
        Meters { limits, own: Some(own), address, has_seat, message: Ok(()), refused: 0 }
    }

    pub(super) fn of_request(limits: Arc<Limits>, address: Arc<AddressMeters>) -> Self {
        Meters { limits, own: None, address: Some(address), has_seat: false, message: Ok(()), refused: 0 }
    }

    pub(crate) fn now(&self) -> Moment {
        self.limits.now()
    }

    /// A message of so many bytes has come. If that is too much, all the commands in it
    /// are.
    pub(crate) fn message(&mut self, bytes: usize, now: Moment) {
        self.refused = 0;
        self.message = self.bytes(bytes, now);
    }

    /// Counts the body of a request.
    pub(crate) fn body(&mut self, bytes: usize) -> Result<(), Excess> {
        self.message(bytes, self.now());
        self.message
    }

    /// Counts an answer, half of what may come at once at most: who asks for it has just used some of its rate,
    /// and to wait for all of it would be to wait for ever.
    pub(crate) fn answer(&self, bytes: usize, now: Moment) -> Result<(), Excess> {
        let options = &self.limits.options;
        let own = self.own.as_ref().and(options.per_connection.bytes);
        let address = self.address.as_ref().and(options.per_address.bytes);
        let most = [own, address].into_iter().flatten().map(Rate::half_burst).min().unwrap_or(usize::MAX);
        self.bytes(bytes.min(most), now)
    }

    fn bytes(&self, bytes: usize, now: Moment) -> Result<(), Excess> {
        self.take(Limit::Bytes, u32::try_from(bytes).unwrap_or(u32::MAX), now)
    }

    /// Counts a command that asks for `weight` things.
    pub(crate) fn command(&self, weight: usize, now: Moment) -> Result<(), Excess> {
        self.message?;
        self.take(Limit::Commands, u32::try_from(weight).unwrap_or(u32::MAX), now)
    }

    /// Counts a publish to that topic.
    pub(crate) fn publish(&self, topic: &str, now: Moment) -> Result<(), Excess> {
        self.take(Limit::Publishes, 1, now)?;
        let limits = &self.limits;
        if limits.options.publishes_per_topic.is_none() {
            return Ok(());
        }
        let (meter, _) = limits.topics.of(limits.topic_hasher.hash_one(topic), now);
        meter.take(1, now).map_err(|wait| limits.excess(Limit::Topic, wait))
    }

    /// A command has been refused. Whether the connection is to be closed for it, as it has gone on like this
    /// through too many messages.
    pub(crate) fn refuse(&mut self, now: Moment) -> bool {
        self.refused += 1;
        let Some(own) = self.own.as_ref().filter(|_| self.refused == 1) else { return false };
        let ends = own.refusals.take(1, now).is_err();
        if ends {
            self.limits.closed.fetch_add(1, Ordering::Relaxed);
            self.bar(now);
        }
        ends
    }

    /// The connection is closed for what it sent: its address is to stay away for a while.
    pub(crate) fn bar(&self, now: Moment) {
        if let Some(address) = self.own_address() {
            address.bar(CLOSED_ATTEMPTS, self.limits.options.attempts_per_address, now);
        }
    }

    /// The connection is closed for what is no WebSocket's, or too large for one.
    pub(crate) fn fault(&self, now: Moment) {
        if let Some(address) = self.own_address() {
            address.fault(self.limits.options.attempts_per_address, now);
        }
    }

    /// Credentials have been shown that do not count.
    pub(crate) fn refuse_credentials(&self, now: Moment) {
        if let Some(address) = self.own_address() {
            address.refuse_credentials(self.limits.options.attempts_per_address, now);
        }
    }

    /// The address, if it has meters to itself: nobody else's is to pay for what this one does.
    fn own_address(&self) -> Option<&AddressMeters> {
        self.address.as_deref().filter(|_| self.has_seat)
    }

    /// For how long nothing more is to be read, after a message: not at all unless some of it was refused.
    pub(crate) fn pause(&self, now: Moment) -> Duration {
        let pace = self.address.as_ref().map(|address| &address.pace).or(self.own.as_ref().map(|own| &own.pace));
        pace.filter(|_| self.refused > 0).map_or(Duration::ZERO, |pace| pace.wait(self.refused, now))
    }

    fn take(&self, limit: Limit, count: u32, now: Moment) -> Result<(), Excess> {
        let own = self.own.as_ref().map_or(Ok(()), |own| own.sent.take(limit, count, now));
        let both =
            own.and_then(|()| self.address.as_ref().map_or(Ok(()), |address| address.sent.take(limit, count, now)));
        both.map_err(|wait| self.limits.excess(limit, wait))
    }
}

impl Drop for Meters {
    fn drop(&mut self) {
        if let Some(address) = self.own_address() {
            address.get_up();
        }
    }
}
