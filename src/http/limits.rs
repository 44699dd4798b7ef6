//! The settings of a [`ServiceBuilder`] that limit what each client may use.

use super::ServiceBuilder;
use crate::limits::{Network, Rate};

/// Limits. The defaults and their reasons stand in `docs/configuration.md`, under the same names. Where a
/// rate is asked for, `None` is no limit.
///
/// What is said of addresses applies where the host tells them, see [`PeerAddr`](crate::PeerAddr).
impl ServiceBuilder {
    /// A proxy, or a network of them, that is believed when it says in `Forwarded` or `X-Forwarded-For` for
    /// whom it speaks. None is by default.
    pub fn trusted_proxy(mut self, network: Network) -> Self {
        self.options.limits.trusted_proxies.push(network);
        self
    }

    /// A network that is served. With the first one, all others are refused with 403.
    pub fn allow(mut self, network: Network) -> Self {
        self.options.limits.allow.push(network);
        self
    }

    /// A network that is refused with 403, also if it lies in one that is allowed.
    pub fn deny(mut self, network: Network) -> Self {
        self.options.limits.deny.push(network);
        self
    }

    /// The networks that the limits below do not apply to, instead of those of this machine.
    pub fn exempt(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.options.limits.exempt = networks.into_iter().collect();
        self
    }

    /// How many bits IPv6 addresses have in common that count as one. The default is 64.
    pub fn ipv6_prefix(mut self, bits: usize) -> Self {
        self.options.limits.ipv6_prefix = bits;
        self
    }

    /// How many connections one address may have.
    pub fn connections_per_address_max(mut self, connections: usize) -> Self {
        self.options.limits.connections_per_address_max = connections;
        self
    }

    /// How often one address may try to connect.
    pub fn attempts_per_address(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.options.limits.attempts_per_address = rate.into();
        self
    }

    /// How many commands one connection may send. A list of topics counts as many.
    pub fn commands_per_connection(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.options.limits.per_connection.commands = rate.into();
        self
    }

    /// How many messages one connection may publish.
    pub fn publishes_per_connection(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.options.limits.per_connection.publishes = rate.into();
        self
    }

    /// How many bytes one connection may send.
    pub fn bytes_per_connection(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.options.limits.per_connection.bytes = rate.into();
        self
    }

    /// How many commands all connections and requests of one address may send together.
    pub fn commands_per_address(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.options.limits.per_address.commands = rate.into();
        self
    }

    /// How many messages all connections and requests of one address may publish together.
    pub fn publishes_per_address(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.options.limits.per_address.publishes = rate.into();
        self
    }

    /// How many bytes all connections and requests of one address may send together.
    pub fn bytes_per_address(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.options.limits.per_address.bytes = rate.into();
        self
    }

    /// How many messages a topic takes from all clients together that are not exempt.
    pub fn publishes_per_topic(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.options.limits.publishes_per_topic = rate.into();
        self
    }

    /// How many messages of one connection are answered with `rate_limited` before it is closed.
    pub fn refusals_per_connection(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.options.limits.refusals_per_connection = rate.into();
        self
    }

    /// How many addresses, and how many topics, are metered one by one.
    pub fn meters_max(mut self, meters: usize) -> Self {
        self.options.limits.meters_max = meters;
        self
    }
}
