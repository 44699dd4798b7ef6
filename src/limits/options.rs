//! What is limited to what.

use super::network::Network;
use super::rate::Rate;

/// The settings of [`Limits`](super::Limits).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LimitOptions {
    /// Peers that are believed when they say whom they speak for.
    pub(crate) trusted_proxies: Vec<Network>,
    /// The only clients that are served; everybody if it is empty.
    pub(crate) allow: Vec<Network>,
    /// Clients that are not served.
    pub(crate) deny: Vec<Network>,
    /// Clients whose connections and rates are not limited.
    pub(crate) exempt: Vec<Network>,
    /// IPv6 addresses count as one if they have so many bits in common.
    pub(crate) ipv6_prefix: usize,
    pub(crate) connections_per_address_max: usize,
    pub(crate) attempts_per_address: Option<Rate>,
    pub(crate) per_connection: Rates,
    pub(crate) per_address: Rates,
    pub(crate) publishes_per_topic: Option<Rate>,
    /// Messages of one connection that are answered with `rate_limited`; more of them end it.
    pub(crate) refusals_per_connection: Option<Rate>,
    /// Addresses, and likewise topics, that have meters of their own.
    pub(crate) meters_max: usize,
}

/// How much somebody may send; what is `None` is not limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) commands: Option<Rate>,
    pub(crate) publishes: Option<Rate>,
    pub(crate) bytes: Option<Rate>,
}

const MIB: u32 = 1024 * 1024;

/// The reasons stand in `docs/configuration.md`.
impl Default for LimitOptions {
    fn default() -> Self {
        LimitOptions {
            trusted_proxies: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            exempt: Network::loopback(),
            ipv6_prefix: 64,
            connections_per_address_max: 1_000,
            attempts_per_address: Some(Rate::new(20, 200)),
            per_connection: Rates {
                commands: Some(Rate::new(200, 2_000)),
                publishes: Some(Rate::new(100, 1_000)),
                bytes: Some(Rate::new(MIB / 4, 2 * MIB)),
            },
            per_address: Rates {
                commands: Some(Rate::new(1_000, 10_000)),
                publishes: Some(Rate::new(500, 5_000)),
                bytes: Some(Rate::new(2 * MIB, 16 * MIB)),
            },
            publishes_per_topic: Some(Rate::new(1_000, 10_000)),
            refusals_per_connection: Some(Rate::new(1, 64)),
            meters_max: 65_536,
        }
    }
}
