//! Connections by their secrets, for those who take their place.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use foldhash::quality::RandomState;

use crate::broker::ConnectionId;
use crate::fanout::{Goodbye, Link, Mailbox, What};
use crate::protocol::{CloseCode, Epoch};

/// What a connection is told in its `welcome`, and nobody else: 128 bits that nobody can guess.
///
/// As bytes: a number of so many bits would have places of 16 bytes alone for what is beside it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Secret([u8; 16]);

/// All connections of a service.
#[derive(Default)]
pub(crate) struct Resumables(Mutex<BySecret>);

/// Nothing but pointers: a table is half empty at times.
type BySecret = HashSet<Known, RandomState>;

/// A place, found by its secret.
struct Known(Arc<Place>);

#[derive(Clone)]
struct Place {
    secret: Secret,
    id: ConnectionId,
    /// Gone if the connection was lost; then its members stay for a while.
    link: Weak<Link>,
    mailbox: Arc<Mailbox>,
    /// Who has it, and may take it from another connection.
    subject: Option<Arc<str>>,
    /// The client's, IPv4 mapped; unspecified where it is not known. Half the size of what it stands for.
    address: Ipv6Addr,
    /// Since when it has been there, in milliseconds since 1970.
    since_ms: u64,
}

/// A place that may be taken.
pub(super) enum Taken {
    /// Of a connection that is there.
    From(Arc<Link>),
    /// Of one that was lost.
    Left(ConnectionId),
}

/// A connection, as an operator is shown it.
#[derive(Clone, Debug)]
pub(crate) struct Connected {
    pub(crate) id: ConnectionId,
    /// The client's, where it is known.
    pub(crate) address: Option<IpAddr>,
    pub(crate) subject: Option<Arc<str>>,
    /// Since when, in milliseconds since 1970.
    pub(crate) since_ms: u64,
}

/// A connection, or what it leaves behind, can be found by its secret for as long as this lives.
pub(super) struct Resumable {
    place: Arc<Place>,
    all: Arc<Resumables>,
}

impl Borrow<Secret> for Known {
    fn borrow(&self) -> &Secret {
        &self.0.secret
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.secret == other.0.secret
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.secret.hash(state);
    }
}

impl Secret {
    fn new() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system gives randomness");
        Secret(bytes)
    }

    /// In base 36, always as long.
    pub(super) fn text(self) -> String {
        const DIGITS: usize = 25;
        let mut number = u128::from_le_bytes(self.0);
        let mut digits = [b'0'; DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize];
            number /= 36;
        }
        digits.into_iter().map(char::from).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 36).ok().map(|number| Secret(number.to_le_bytes()))
    }
}

impl Taken {
    /// Whose it was.
    pub(super) fn id(&self) -> ConnectionId {
        match self {
            Taken::From(link) => link.id,
            Taken::Left(connection) => *connection,
        }
    }
}

impl Resumables {
    /// Makes a secret for a connection.
    pub(super) fn add(
        self: &Arc<Self>,
        link: &Arc<Link>,
        mailbox: &Arc<Mailbox>,
        subject: Option<Arc<str>>,
        address: Option<IpAddr>,
    ) -> Resumable {
        let secret = Secret::new();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let address = match address {
            Some(IpAddr::V4(address)) => address.to_ipv6_mapped(),
            Some(IpAddr::V6(address)) => address,
            None => Ipv6Addr::UNSPECIFIED,
        };
        let (id, link, mailbox) = (link.id, Arc::downgrade(link), Arc::clone(mailbox));
        let place = Arc::new(Place { secret, id, link, mailbox, subject, address, since_ms });
        self.lock().insert(Known(Arc::clone(&place)));
        Resumable { place, all: Arc::clone(self) }
    }

    /// The place of the connection that was told this, if `subject` has it; and where it is served.
    pub(super) fn find(&self, text: &str, subject: Option<&Arc<str>>) -> Option<(Taken, Arc<Mailbox>)> {
        let all = self.lock();
        let Known(place) = all.get(&Secret::parse(text)?).filter(|Known(place)| place.subject.as_ref() == subject)?;
        let taken = place.link.upgrade().map_or(Taken::Left(place.id), Taken::From);
        Some((taken, Arc::clone(&place.mailbox)))
    }

    /// All connections, in no order.
    pub(crate) fn list(&self) -> Vec<Connected> {
        let all = self.lock();
        let connected = all.iter().filter_map(|Known(place)| {
            let Place { subject, address, since_ms, .. } = &**place;
            if place.link.strong_count() == 0 {
                return None;
            }
            let address = (*address != Ipv6Addr::UNSPECIFIED).then(|| IpAddr::V6(*address).to_canonical());
            Some(Connected { id: place.id, address, subject: subject.clone(), since_ms: *since_ms })
        });
        connected.collect()
    }

    /// Sends a connection away for an operator; false if there is none of that name.
    pub(crate) fn expel(&self, connection: &str) -> bool {
        let Some(id) = Epoch::parse(connection).map(|number| ConnectionId(number.0)) else { return false };
        let found = {
            let all = self.lock();
            let place = all.iter().find(|Known(place)| place.id == id);
            place.and_then(|Known(place)| Some((place.link.upgrade()?, Arc::clone(&place.mailbox))))
        };
        let Some((link, mailbox)) = found else { return false };
        let goodbye = Some(Goodbye { reconnect_ms: None });
        mailbox.post(&link, What::Close { code: CloseCode::FORBIDDEN, reason: "removed by an operator", goodbye });
        true
    }

    fn lock(&self) -> MutexGuard<'_, BySecret> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resumable {
    /// What the connection is told.
    pub(super) fn secret(&self) -> Secret {
        self.place.secret
    }

    /// All that there are beside it.
    pub(super) fn all(&self) -> &Resumables {
        &self.all
    }

    /// From now on `subject` has the connection.
    pub(super) fn belong_to(&mut self, subject: Option<Arc<str>>) {
        self.place = Arc::new(Place { subject, ..Place::clone(&self.place) });
        self.all.lock().replace(Known(Arc::clone(&self.place)));
    }
}

impl Drop for Resumable {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        all.remove(&self.place.secret);
        // What a crowd needed is given back once it has left.
        if all.capacity() > 1_024 && all.len() < all.capacity() / 8 {
            all.shrink_to_fit();
        }
    }
}

// By hand, so that no log line ever holds a secret.
impl std::fmt::Debug for Resumables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resumables").field("connections", &self.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_it_was_written() {
        let numbers = [0, 35, 36, u128::MAX].map(|number| Secret(number.to_le_bytes()));
        for secret in numbers.into_iter().chain([Secret::new()]) {
            assert!(Secret::parse(&secret.text()) == Some(secret));
        }
        for text in ["", "-1", "z".repeat(26).as_str(), "\u{e9}"] {
            assert!(Secret::parse(text).is_none(), "{text}");
        }
    }
}
