//! Addresses, host names and origins, as far as their text goes.

use std::net::{IpAddr, Ipv6Addr};

use super::error::Fault;

/// The path of a Unix socket, written as `unix:/run/fanfare.sock`.
pub(crate) fn unix_path(address: &str) -> Option<&str> {
    address.strip_prefix("unix:")
}

/// Refuses what is neither `unix:/PATH` nor `HOST:PORT`, with an IP literal (IPv6 in brackets) or a name.
pub(crate) fn check(address: &str) -> Result<(), Fault> {
    // The kernel takes paths of up to 107 bytes. A relative one would depend on where the server is started.
    let is_path = unix_path(address).is_some_and(|path| path.starts_with('/') && path.len() < 108);
    if is_path || split(address).is_some() {
        Ok(())
    } else {
        let expected = "HOST:PORT such as 127.0.0.1:7070, [::1]:7070 or localhost:7070, or unix:/PATH";
        Err(Fault::value(expected, format!("{address:?}")))
    }
}

/// Whether only this machine can reach an address that [`check`] lets pass.
pub(crate) fn is_loopback(address: &str) -> bool {
    if unix_path(address).is_some() {
        return true;
    }
    match split(address) {
        Some((Host::Address(ip), _)) => ip.to_canonical().is_loopback(),
        Some((Host::Name(name), _)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

/// Refuses what a `Host` header cannot name: the port is left out, for any counts.
pub(crate) fn check_host(name: &str) -> Result<(), Fault> {
    if is_name(name) {
        Ok(())
    } else {
        Err(Fault::value("a host name without scheme and port, such as push.example.org", format!("{name:?}")))
    }
}

/// Refuses what a browser never sends as `Origin`: it would be compared in vain for ever.
pub(crate) fn check_origin(origin: &str) -> Result<(), Fault> {
    let right = match origin.split_once("://") {
        Some(("http" | "https", authority)) => is_name(authority) || split(authority).is_some() || is_ip(authority),
        _ => false,
    };
    if right {
        Ok(())
    } else {
        Err(Fault::value("an origin without path, such as https://app.example.org", format!("{origin:?}")))
    }
}

enum Host<'a> {
    Address(IpAddr),
    Name(&'a str),
}

fn split(address: &str) -> Option<(Host<'_>, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    // `u16::from_str` would take a sign.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let port = port.parse().ok()?;
    let host = if let Some(inner) = host.strip_prefix('[') {
        let ip: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        Host::Address(ip.into())
    } else if let Ok(ip) = host.parse() {
        match ip {
            IpAddr::V4(_) => Host::Address(ip),
            // Without brackets `::1:7070` could be either an address or one with a port.
            IpAddr::V6(_) => return None,
        }
    } else if is_name(host) {
        Host::Name(host)
    } else {
        return None;
    };
    Some((host, port))
}

fn is_ip(authority: &str) -> bool {
    authority.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(authority).parse::<IpAddr>().is_ok()
}

/// RFC 1123, 2.1: letters, digits and hyphens between dots. The underscore is no host name by that
/// rule, but container networks hand such names out.
fn is_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::{check, check_host, check_origin, is_loopback};

    #[test]
    fn addresses_are_host_and_port() {
        for right in
            ["127.0.0.1:0", "0.0.0.0:80", "[::]:7070", "localhost:7070", "db_1.internal:65535", "unix:/run/a.sock"]
        {
            assert!(check(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "7070",
            ":7070",
            "127.0.0.1",
            "localhost:",
            "::1:7070",
            "[::1]",
            "a:65536",
            "a:+1",
            "a b:1",
            "http://a:1",
            "*:1",
            "unix:",
            "unix:a.sock",
            "/run/a.sock",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        for near in ["unix:/run/a.sock", "127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "LocalHost:1"]
        {
            assert!(is_loopback(near), "{near}");
        }
        for far in
            ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1", "example.org:1", "localhost.example.org:1"]
        {
            assert!(!is_loopback(far), "{far}");
        }
    }

    #[test]
    fn hosts_have_neither_scheme_nor_port() {
        for (host, right) in [
            ("a.example", true),
            ("a.example:80", false),
            ("http://a", false),
            ("a/b", false),
            ("", false),
            ("*", false),
        ] {
            assert_eq!(check_host(host).is_ok(), right, "{host}");
        }
    }

    #[test]
    fn origins_have_a_scheme_and_no_path() {
        for right in
            ["https://a.example", "http://localhost:3000", "http://127.0.0.1", "http://[::1]:80", "http://[::1]"]
        {
            assert!(check_origin(right).is_ok(), "{right}");
        }
        for wrong in ["a.example", "https://a.example/", "null", "*", "ftp://a", "https://", "https://a:b"] {
            assert!(check_origin(wrong).is_err(), "{wrong}");
        }
    }
}
