//! What proxies say of whom they speak for: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Both are lists to which each proxy appends whom it was spoken to by. All but the right end may be a
//! client's invention, so nothing here decides whom to believe; that is `address`.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, HeaderName, HeaderValue};

/// RFC 7239, 4.
pub(super) const FORWARDED: HeaderName = http::header::FORWARDED;
/// Never standardised, and what most proxies write.
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// One entry: an address, or nothing that could be told from others (`unknown`, an obfuscated name, an
/// entry without `for`, something malformed).
pub(super) type Hop = Option<IpAddr>;

/// The hops of all `Forwarded` lines in the order of the request, the nearest last.
pub(super) fn forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let mut hops = Vec::new();
    for line in headers.get_all(FORWARDED) {
        let before = hops.len();
        if elements(line.as_bytes(), &mut hops).is_none() {
            // Where its entries end cannot be told, and so not whose the last one is.
            hops.truncate(before);
            hops.push(None);
        }
    }
    hops
}

/// The hops of all `X-Forwarded-For` lines in the order of the request, the nearest last.
pub(super) fn x_forwarded_for(headers: &HeaderMap) -> Vec<Hop> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
    let entries = lines.flat_map(|line| line.split(|byte| *byte == b','));
    entries.map(|entry| std::str::from_utf8(entry.trim_ascii()).ok().and_then(node_lenient)).collect()
}

/// RFC 7239, 4: `Forwarded = 1#forwarded-element`, each a list of `token "=" value` with semicolons
/// between. `None` if the line is not of that form.
fn elements(line: &[u8], hops: &mut Vec<Hop>) -> Option<()> {
    let mut rest = line.trim_ascii();
    // Of the element that is being read: its `for`, and whether it has any pair at all.
    let (mut node_of, mut has_pair) = (None, false);
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            [b';', behind @ ..] => rest = behind,
            [b',', ..] | [] => {
                // RFC 9110, 5.6.1: empty elements of a list are passed over.
                if has_pair {
                    hops.push(node_of.take().flatten());
                }
                has_pair = false;
                match rest {
                    [_, behind @ ..] => rest = behind,
                    [] => return Some(()),
                }
            }
            _ => {
                let Pair { name, value, behind } = pair(rest)?;
                has_pair = true;
                if name.eq_ignore_ascii_case(b"for") {
                    // RFC 7239, 4: each parameter must not occur more than once.
                    if node_of.is_some() {
                        return None;
                    }
                    node_of = Some(std::str::from_utf8(&value).ok().and_then(node));
                }
                rest = behind.trim_ascii_start();
                if !matches!(rest, [b';' | b',', ..] | []) {
                    return None;
                }
            }
        }
    }
}

/// A parameter at the front of a text, and what is behind it.
struct Pair<'a> {
    name: &'a [u8],
    value: Cow<'a, [u8]>,
    behind: &'a [u8],
}

/// `token "=" ( token / quoted-string )`.
fn pair(text: &[u8]) -> Option<Pair<'_>> {
    let (name, behind) = token(text)?;
    // RFC 7239, 4: no space around the equals sign.
    let behind = behind.strip_prefix(b"=")?;
    let Some(quoted) = behind.strip_prefix(b"\"") else {
        let (value, behind) = token(behind)?;
        return Some(Pair { name, value: value.into(), behind });
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter();
    loop {
        match *bytes.next()? {
            b'"' => return Some(Pair { name, value: value.into(), behind: bytes.as_slice() }),
            // RFC 9110, 5.6.4: a backslash quotes the one that follows.
            b'\\' => value.push(*bytes.next()?),
            byte => value.push(byte),
        }
    }
}

/// RFC 9110, 5.6.2: one or more `tchar`.
fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = text.iter().position(|byte| !is_token(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// RFC 7239, 6: an IPv4 address, an IPv6 address in brackets, `unknown` or an obfuscated name, and behind
/// each a port, which may be obfuscated too. Whoever has no address is `None`.
fn node(text: &str) -> Hop {
    let (name, port) = match text.strip_prefix('[') {
        Some(inner) => {
            let (address, behind) = inner.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            (IpAddr::from(address), behind)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (address, behind) = text.split_at(end);
            (IpAddr::V4(address.parse().ok()?), behind)
        }
    };
    let port_is_right = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| {
            let is_number = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
            is_number || port.strip_prefix('_').is_some_and(is_obfuscated)
        });
    port_is_right.then(|| name.to_canonical())
}

/// RFC 7239, 6.3, behind the underscore.
fn is_obfuscated(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// As [`node`], and IPv6 addresses without brackets, which is how most proxies write them here.
fn node_lenient(text: &str) -> Hop {
    text.parse::<Ipv6Addr>().map_or_else(|_| node(text), |address| Some(IpAddr::from(address).to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the lines of a header say, as addresses with `?` for a hop without.
    #[track_caller]
    fn check(name: &HeaderName, lines: &[&str], expected: &[&str]) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_str(line).expect("a header's value"));
        }
        let hops = if *name == FORWARDED { forwarded(&headers) } else { x_forwarded_for(&headers) };
        let shown: Vec<String> = hops.iter().map(|hop| hop.map_or("?".to_owned(), |hop| hop.to_string())).collect();
        assert_eq!(shown, expected, "{lines:?}");
    }

    #[test]
    fn forwarded_is_read_as_in_the_examples_of_its_standard() {
        // RFC 7239, 4, 6.3, 7.1 and 7.4.
        check(&FORWARDED, &["for=\"_gazonk\""], &["?"]);
        check(&FORWARDED, &["For=\"[2001:db8:cafe::17]:4711\""], &["2001:db8:cafe::17"]);
        check(&FORWARDED, &["for=192.0.2.60;proto=http;by=203.0.113.43"], &["192.0.2.60"]);
        check(&FORWARDED, &["for=192.0.2.43, for=198.51.100.17"], &["192.0.2.43", "198.51.100.17"]);
        check(&FORWARDED, &["for=_hidden, for=_SEVKISEK"], &["?", "?"]);
        check(
            &FORWARDED,
            &["for=192.0.2.43,for=\"[2001:db8:cafe::17]\",for=unknown"],
            &["192.0.2.43", "2001:db8:cafe::17", "?"],
        );
        check(&FORWARDED, &["for=192.0.2.43", "for=198.51.100.17;by=203.0.113.60"], &["192.0.2.43", "198.51.100.17"]);
    }

    #[test]
    fn forwarded_has_ports_quotes_and_empty_elements() {
        check(&FORWARDED, &["for=\"192.0.2.43:47011\""], &["192.0.2.43"]);
        check(&FORWARDED, &["for=\"192.0.2.43:_port\""], &["192.0.2.43"]);
        check(&FORWARDED, &["for=\"192.0.2.\\43\""], &["192.0.2.43"]);
        check(&FORWARDED, &["for=\"[::ffff:192.0.2.43]\""], &["192.0.2.43"]);
        check(&FORWARDED, &[" , for=192.0.2.1 ; host=a ,, for=192.0.2.2;,"], &["192.0.2.1", "192.0.2.2"]);
        check(&FORWARDED, &["by=\"a, for=1.1.1.1\""], &["?"]);
        check(&FORWARDED, &[""], &[]);
    }

    #[test]
    fn a_malformed_line_is_one_hop_that_nobody_knows() {
        for line in [
            "for=\"192.0.2.1",
            "for=\"evil, for=192.0.2.1",
            "for=192.0.2.1;for=192.0.2.2",
            "for = 192.0.2.1",
            "for=[::1]",
            "for=192.0.2.1:80",
            "192.0.2.1",
            "for=192.0.2.1 for=192.0.2.2",
            "for=",
        ] {
            check(&FORWARDED, &[line, "for=192.0.2.9"], &["?", "192.0.2.9"]);
        }
    }

    #[test]
    fn nodes_that_are_no_addresses_are_nobody() {
        for node in [
            "\"[2001:db8::17\"",
            "\"2001:db8::17\"",
            "\"1.2.3.4:\"",
            "\"1.2.3.4:123456\"",
            "\"1.2.3.4x\"",
            "256.1.1.1",
            "\"\"",
        ] {
            check(&FORWARDED, &[&format!("for={node}")], &["?"]);
        }
    }

    #[test]
    fn x_forwarded_for_is_a_list_of_addresses_with_or_without_ports() {
        check(&X_FORWARDED_FOR, &["192.0.2.43, 198.51.100.17"], &["192.0.2.43", "198.51.100.17"]);
        check(
            &X_FORWARDED_FOR,
            &["2001:db8::1,[2001:db8::2],[2001:db8::3]:80", "192.0.2.1:80"],
            &["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1"],
        );
        check(&X_FORWARDED_FOR, &["unknown, ::ffff:192.0.2.1, , x"], &["?", "192.0.2.1", "?", "?"]);
        check(&X_FORWARDED_FOR, &[""], &["?"]);
    }
}
