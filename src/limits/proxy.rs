//! The PROXY protocol, versions 1 and 2: a proxy that does not read what it forwards says in front of it
//! whom it forwards.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>, 2.1 and 2.2. The parser does no I/O, and never
//! asks for a byte that could belong to what follows the header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a beginning of a connection amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// At least so many bytes more belong to it.
    Needs(usize),
    /// It is complete. `None` if the proxy speaks for itself, or cannot tell.
    Source(Option<IpAddr>),
}

/// Not the header of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection does not begin with the header of a PROXY protocol")]
pub(crate) struct NoHeader;

/// 2.1: what a receiver's buffer has to hold, the end of the line included.
const V1_BYTES_MAX: usize = 107;
/// "PROXY UNKNOWN" and the end of the line. Of version 2, 16 bytes are the least.
const V1_BYTES_MIN: usize = 15;

const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD_BYTES: usize = 16;
/// Additional values, such as certificates, are passed over; there is no end to them but this.
const V2_BYTES_MAX: usize = 4096;

/// Reads the bytes that a connection began with, none of them beyond the header.
pub(crate) fn parse(bytes: &[u8]) -> Result<Header, NoHeader> {
    if bytes.len() < V1_BYTES_MIN {
        return Ok(Header::Needs(V1_BYTES_MIN - bytes.len()));
    }
    if bytes.starts_with(V2_SIGNATURE) { parse_v2(bytes) } else { parse_v1(bytes) }
}

fn parse_v1(bytes: &[u8]) -> Result<Header, NoHeader> {
    let rest = bytes.strip_prefix(b"PROXY ").ok_or(NoHeader)?;
    let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
        // The end of the line is two bytes, of which one may be there.
        let needed = if rest.ends_with(b"\r") { 1 } else { 2 };
        return if bytes.len() + needed <= V1_BYTES_MAX { Ok(Header::Needs(needed)) } else { Err(NoHeader) };
    };
    if end + 2 != rest.len() || bytes.len() > V1_BYTES_MAX {
        return Err(NoHeader);
    }
    let line = std::str::from_utf8(&rest[..end]).map_err(|_| NoHeader)?;
    let mut fields = line.split(' ');
    let family = fields.next();
    // 2.1: whatever follows UNKNOWN is passed over.
    if family == Some("UNKNOWN") {
        return Ok(Header::Source(None));
    }
    let [source, target, ports @ ..] = &fields.collect::<Vec<_>>()[..] else { return Err(NoHeader) };
    let (source, target): (IpAddr, IpAddr) = match family {
        Some("TCP4") => (parsed::<Ipv4Addr>(source)?.into(), parsed::<Ipv4Addr>(target)?.into()),
        Some("TCP6") => (parsed::<Ipv6Addr>(source)?.into(), parsed::<Ipv6Addr>(target)?.into()),
        _ => return Err(NoHeader),
    };
    let are_right = ports.len() == 2 && ports.iter().all(|port| is_port(port)) && source.is_ipv4() == target.is_ipv4();
    if are_right { Ok(Header::Source(Some(source))) } else { Err(NoHeader) }
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, NoHeader> {
    text.parse().map_err(|_| NoHeader)
}

/// 2.1: a decimal number without leading zeros.
fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port.to_string() == text)
}

fn parse_v2(bytes: &[u8]) -> Result<Header, NoHeader> {
    let Some((head, body)) = bytes.split_first_chunk::<V2_HEAD_BYTES>() else {
        return Ok(Header::Needs(V2_HEAD_BYTES - bytes.len()));
    };
    let [.., command, transport, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if V2_HEAD_BYTES + length > V2_BYTES_MAX || body.len() > length {
        return Err(NoHeader);
    }
    if body.len() < length {
        return Ok(Header::Needs(length - body.len()));
    }
    let source = match (command, transport) {
        // 2.2: LOCAL, the proxy's own connection; the rest is passed over. PROXY of an unspecified protocol, or between
        // Unix sockets, whose names say nothing here.
        (0x20, _) | (0x21, 0x00 | 0x31) => None,
        // TCP over IPv4 and over IPv6: source, target, their ports.
        (0x21, 0x11) if length >= 12 => body.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
        (0x21, 0x21) if length >= 36 => body.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into()),
        _ => return Err(NoHeader),
    };
    Ok(Header::Source(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stream amounts to that is read as the parser asks for it; and that it asks for no more.
    fn read(stream: &[u8]) -> Result<Option<IpAddr>, NoHeader> {
        let mut taken = 0;
        loop {
            match parse(&stream[..taken])? {
                Header::Source(source) => {
                    assert_eq!(taken, stream.len(), "it ends where the header does");
                    return Ok(source);
                }
                Header::Needs(count) => {
                    assert!(count > 0 && taken + count <= stream.len(), "byte {} is not its own", taken + count);
                    taken += count;
                }
            }
        }
    }

    #[track_caller]
    fn check(stream: &[u8], expected: Option<&str>) {
        let expected = expected.map(|address| address.parse().expect("an address"));
        assert_eq!(read(stream), Ok(expected), "{}", stream.escape_ascii());
    }

    fn v2(command: u8, transport: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([command, transport]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn version_1_is_a_line() {
        // 2.1: the examples.
        check(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Some("255.255.255.255"));
        let longest: &[u8] = b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
            ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        check(longest, Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
        check(b"PROXY UNKNOWN\r\n", None);
        let unknown: &[u8] = b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
            ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!(unknown.len(), V1_BYTES_MAX);
        check(unknown, None);
        check(b"PROXY TCP4 1.2.3.4 5.6.7.8 0 1\r\n", Some("1.2.3.4"));
        check(b"PROXY TCP6 ::1 ::2 1 2\r\n", Some("::1"));
    }

    #[test]
    fn version_2_is_a_block() {
        check(&v2(0x21, 0x11, &[192, 0, 2, 1, 10, 0, 0, 1, 1, 0, 2, 0]), Some("192.0.2.1"));
        let mut six = [0; 36];
        (six[0], six[15]) = (0x20, 1);
        check(&v2(0x21, 0x21, &six), Some("2000::1"));
        // What follows the addresses is passed over.
        check(&v2(0x21, 0x11, &[&[192, 0, 2, 1, 10, 0, 0, 1, 1, 0, 2, 0], &[7; 300][..]].concat()), Some("192.0.2.1"));
        check(&v2(0x20, 0x00, b""), None);
        check(&v2(0x20, 0x11, &[1; 12]), None);
        check(&v2(0x21, 0x00, &[1; 5]), None);
        check(&v2(0x21, 0x31, &[1; 216]), None);
    }

    #[test]
    fn what_is_no_header_is_noticed() {
        let lines: [&[u8]; 16] = [
            b"GET / HTTP/1.1\r\n",
            b"proxy UNKNOWN\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            b"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
            b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
            b"PROXY \xFF\xFF\xFF 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY UNKNOWN\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n",
            b"\r\n\r\n\0\r\nQUIT\r\n\r\n",
        ];
        for line in lines {
            assert_eq!(read(line), Err(NoHeader), "{}", line.escape_ascii());
        }
        for (command, transport, body) in [
            (0x11, 0x11, &[1; 12][..]),
            (0x22, 0x11, &[1; 12]),
            (0x21, 0x12, &[1; 12]),
            (0x21, 0x11, &[1; 11]),
            (0x21, 0x21, &[1; 35]),
            (0x21, 0x41, &[1; 12]),
            (0x20, 0x00, &[1; V2_BYTES_MAX]),
        ] {
            assert_eq!(read(&v2(command, transport, body)), Err(NoHeader), "{command:x} {transport:x}");
        }
    }
}
