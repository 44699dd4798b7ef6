//! Networks: what `10.0.0.0/8` stands for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// All addresses that begin with the same bits, such as `10.0.0.0/8`, `2001:db8::/32` or one alone,
/// `192.0.2.7`.
///
/// IPv4 addresses in their IPv6 form (`::ffff:192.0.2.7`) are IPv4 addresses here and everywhere.
///
/// # Examples
///
/// ```
/// use fanfare::Network;
///
/// let network: Network = "10.0.0.0/8".parse()?;
/// assert!(network.contains("10.1.2.3".parse()?));
/// assert!(network.contains("::ffff:10.1.2.3".parse()?));
/// assert!("10.1.2.3/8".parse::<Network>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// No bit is set behind the first `prefix`.
    first: IpAddr,
    prefix: usize,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not of the form `ADDRESS` or `ADDRESS/BITS`.
    #[error("neither an address nor ADDRESS/BITS")]
    Form,
    /// Bits are set beyond the prefix: one of the two is not what was meant.
    #[error("its first address is {0}")]
    NotFirst(IpAddr),
}

impl Network {
    /// Whether the address lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(_), address @ IpAddr::V4(_)) | (IpAddr::V6(_), address @ IpAddr::V6(_)) => {
                first_of(address, self.prefix) == self.first
            }
            _ => false,
        }
    }

    /// The addresses of this machine to itself: `127.0.0.0/8` and `::1`.
    pub(crate) fn loopback() -> Vec<Network> {
        vec![
            Network { first: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 },
            Network { first: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 },
        ]
    }
}

/// The address with all bits behind the first `prefix` cleared.
pub(super) fn first_of(address: IpAddr, prefix: usize) -> IpAddr {
    let prefix = u32::try_from(prefix).unwrap_or(u32::MAX);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let written: IpAddr = address.parse().map_err(|_| NetworkError::Form)?;
        let width = if written.is_ipv4() { 32 } else { 128 };
        let prefix = match bits {
            None => width,
            // `u8::from_str` would take a sign.
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= width).ok_or(NetworkError::Form)?
            }
            Some(_) => return Err(NetworkError::Form),
        };
        if first_of(written, prefix) != written {
            return Err(NetworkError::NotFirst(first_of(written, prefix)));
        }
        let first = written.to_canonical();
        // A mapped address has its 96 bits in front of the IPv4 one.
        let prefix = if first == written { prefix } else { prefix.checked_sub(96).ok_or(NetworkError::Form)? };
        Ok(Network { first, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(network: &str, inside: &[&str], outside: &[&str]) {
        let network: Network = network.parse().expect("a network");
        for (addresses, expected) in [(inside, true), (outside, false)] {
            for address in addresses {
                assert_eq!(network.contains(address.parse().expect("an address")), expected, "{network} {address}");
            }
        }
    }

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        check("10.0.0.0/8", &["10.0.0.0", "10.255.1.2", "::ffff:10.1.1.1"], &["11.0.0.0", "::10.0.0.1", "::1"]);
        check("192.0.2.7", &["192.0.2.7"], &["192.0.2.6"]);
        check("0.0.0.0/0", &["1.2.3.4", "::ffff:1.2.3.4"], &["::1"]);
        check("::/0", &["::1", "2001:db8::"], &["1.2.3.4", "::ffff:1.2.3.4"]);
        check("2001:db8::/33", &["2001:db8:7fff::1"], &["2001:db8:8000::1"]);
        check("::ffff:10.0.0.0/104", &["10.9.9.9"], &["11.0.0.1"]);
        check("10.0.0.0/31", &["10.0.0.1"], &["10.0.0.2"]);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0/8", "::/129", "a", "10.0.0.0/8/8", "::/95x"]
        {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Form), "{text}");
        }
        assert_eq!("::ffff:0.0.0.0/95".parse::<Network>().ok(), None);
        let first = "10.0.0.0".parse().expect("an address");
        assert_eq!("10.1.2.3/8".parse::<Network>(), Err(NetworkError::NotFirst(first)));
    }

    #[test]
    fn loopback_is_written_as_in_the_configuration() {
        let written: Vec<String> = Network::loopback().iter().map(ToString::to_string).collect();
        assert_eq!(written, ["127.0.0.0/8", "::1/128"]);
    }
}
