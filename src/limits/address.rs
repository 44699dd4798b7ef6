//! Whose address counts: the peer's, or the one a trusted proxy speaks for.

use std::net::IpAddr;

use http::HeaderMap;

use super::forwarded::{self, FORWARDED, Hop, X_FORWARDED_FOR};
use super::network::{Network, first_of};

/// The address of the peer at the other end of the connection, as the host of a
/// [`Service`](crate::Service) knows it.
///
/// A host puts it into the extensions of each request; without it a service knows no addresses, and what
/// is limited per address is not limited. Proxies that the service was told to trust are looked through
/// from there.
///
/// # Examples
///
/// With axum, which knows the address as `ConnectInfo`:
///
/// ```no_run
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::net::SocketAddr;
///
/// use axum::Router;
/// use axum::extract::{ConnectInfo, Request};
/// use axum::middleware::{Next, from_fn};
/// use fanfare::{Broker, PeerAddr, Service};
///
/// async fn tell(ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request, next: Next) -> axum::response::Response {
///     request.extensions_mut().insert(PeerAddr(peer.ip()));
///     next.run(request).await
/// }
///
/// let app = Router::new().nest_service("/events", Service::new(Broker::new())).layer(from_fn(tell));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub IpAddr);

/// What is known of a request's sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// The client's address, in its canonical form; `None` where the host has told none.
    pub(crate) address: Option<IpAddr>,
    /// Whether what is said of it could be followed to the end. If not, `address` is the last one that
    /// somebody trusted vouches for, and shared with others.
    pub(super) is_certain: bool,
    /// Whether the peer speaks for others, though nobody trusts it.
    pub(super) claims: bool,
}

impl Client {
    /// The sender of a request that came from `peer` with these headers.
    pub(super) fn of(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[Network]) -> Client {
        let peer = peer.map(|peer| peer.to_canonical());
        let (has_forwarded, has_x) = (headers.contains_key(FORWARDED), headers.contains_key(X_FORWARDED_FOR));
        let direct = Client { address: peer, is_certain: true, claims: false };
        let Some(address) = peer.filter(|_| has_forwarded || has_x) else { return direct };
        if !contain(trusted, address) {
            return Client { claims: true, ..direct };
        }
        let forwarded = has_forwarded.then(|| walk(address, &forwarded::forwarded(headers), trusted));
        let x = has_x.then(|| walk(address, &forwarded::x_forwarded_for(headers), trusted));
        match (forwarded, x) {
            (Some(one), None) | (None, Some(one)) => one,
            (Some(forwarded), Some(x)) if forwarded == x => x,
            // A proxy that writes the one and passes the other on, as the client made it up: which is
            // which cannot be told, so neither counts.
            _ => Client { is_certain: false, ..direct },
        }
    }
}

/// From the nearest hop to the first that is not trusted, or the farthest if all are.
fn walk(peer: IpAddr, hops: &[Hop], trusted: &[Network]) -> Client {
    let mut address = peer;
    for hop in hops.iter().rev() {
        let Some(hop) = *hop else { return Client { address: Some(address), is_certain: false, claims: false } };
        address = hop;
        if !contain(trusted, hop) {
            break;
        }
    }
    Client { address: Some(address), is_certain: true, claims: false }
}

pub(super) fn contain(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// What is metered as one: an IPv4 address, or all IPv6 addresses with the same first bits.
///
/// RFC 6177, 2: a site gets a /64 or more, and picks addresses within as it pleases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AddressKey(IpAddr);

impl AddressKey {
    pub(super) fn new(address: IpAddr, ipv6_prefix: usize) -> Self {
        match address.to_canonical() {
            address @ IpAddr::V4(_) => AddressKey(address),
            address @ IpAddr::V6(_) => AddressKey(first_of(address, ipv6_prefix)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn client(peer: &str, headers: &[(&str, &str)]) -> Client {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            map.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().expect("a network"));
        Client::of(Some(peer.parse().expect("an address")), &map, &trusted)
    }

    /// The request counts as that address's, for certain.
    #[track_caller]
    fn check(peer: &str, headers: &[(&str, &str)], expected: &str) {
        let address = Some(expected.parse().expect("an address"));
        assert_eq!(client(peer, headers), Client { address, is_certain: true, claims: false }, "{headers:?}");
    }

    /// The request counts as that proxy's, who knows no better.
    #[track_caller]
    fn check_uncertain(peer: &str, headers: &[(&str, &str)], expected: &str) {
        let address = Some(expected.parse().expect("an address"));
        assert_eq!(client(peer, headers), Client { address, is_certain: false, claims: false }, "{headers:?}");
    }

    #[test]
    fn the_peer_counts_where_nobody_speaks_for_another() {
        check("192.0.2.1", &[], "192.0.2.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("::ffff:192.0.2.1", &[], "192.0.2.1");
        assert_eq!(Client::of(None, &HeaderMap::new(), &[]).address, None);
    }

    #[test]
    fn what_an_untrusted_peer_says_is_not_believed() {
        for header in [("Forwarded", "for=198.51.100.1"), ("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-For", "")]
        {
            let client = client("192.0.2.1", &[header]);
            assert_eq!(client.address, Some("192.0.2.1".parse().expect("an address")));
            assert!(client.claims);
        }
    }

    #[test]
    fn trusted_hops_are_walked_from_the_right_to_the_first_untrusted_one() {
        check("10.0.0.1", &[("X-Forwarded-For", "198.51.100.1")], "198.51.100.1");
        check("10.0.0.1", &[("X-Forwarded-For", "1.1.1.1, 198.51.100.1, 10.9.9.9")], "198.51.100.1");
        check("10.0.0.1", &[("X-Forwarded-For", "garbage, 198.51.100.1")], "198.51.100.1");
        check("10.0.0.1", &[("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "198.51.100.1")], "198.51.100.1");
        check(
            "2001:db8::9",
            &[("Forwarded", "for=1.1.1.1, for=\"[2001:db9::1]\""), ("Forwarded", "for=10.1.1.1")],
            "2001:db9::1",
        );
        check("10.0.0.1", &[("Forwarded", "for=\"198.51.100.1:5\";by=10.0.0.1")], "198.51.100.1");
        check("::ffff:10.0.0.1", &[("X-Forwarded-For", "::ffff:198.51.100.1")], "198.51.100.1");
    }

    #[test]
    fn where_all_are_trusted_the_farthest_counts() {
        check("10.0.0.1", &[("X-Forwarded-For", "10.3.3.3, 10.2.2.2")], "10.3.3.3");
    }

    #[test]
    fn a_hop_without_an_address_ends_the_walk() {
        check_uncertain("10.0.0.1", &[("Forwarded", "for=198.51.100.1, for=unknown")], "10.0.0.1");
        check_uncertain("10.0.0.1", &[("Forwarded", "for=198.51.100.1, for=_x, for=10.2.2.2")], "10.2.2.2");
        check_uncertain("10.0.0.1", &[("Forwarded", "for=\"198.51.100.1")], "10.0.0.1");
        check_uncertain("10.0.0.1", &[("X-Forwarded-For", "")], "10.0.0.1");
    }

    #[test]
    fn two_headers_count_only_if_they_agree() {
        let both = |forwarded, x| [("Forwarded", forwarded), ("X-Forwarded-For", x)];
        check("10.0.0.1", &both("for=198.51.100.1", "198.51.100.1"), "198.51.100.1");
        // The client's own header beside the proxy's, whichever of the two that is.
        check_uncertain("10.0.0.1", &both("for=203.0.113.9", "198.51.100.1"), "10.0.0.1");
        check_uncertain("10.0.0.1", &both("for=198.51.100.1", "203.0.113.9"), "10.0.0.1");
        check_uncertain("10.0.0.1", &both("", "198.51.100.1"), "10.0.0.1");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_mapped_addresses_as_ipv4() {
        let key = |address: &str, prefix| AddressKey::new(address.parse().expect("an address"), prefix);
        assert_eq!(key("2001:db8::1", 64), key("2001:db8::ffff:1:2:3", 64));
        assert_ne!(key("2001:db8::1", 64), key("2001:db8:0:1::1", 64));
        assert_eq!(key("2001:db8::1", 56), key("2001:db8:0:ff::1", 56));
        assert_ne!(key("2001:db8::1", 128), key("2001:db8::2", 128));
        assert_eq!(key("::ffff:192.0.2.1", 64), key("192.0.2.1", 64));
        assert_ne!(key("::ffff:192.0.2.1", 64), key("::ffff:192.0.2.2", 64));
    }
}
