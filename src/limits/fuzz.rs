//! What the fuzz targets of this module do. The bodies live here, so that tests run them as well.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Client;
use super::forwarded::{FORWARDED, X_FORWARDED_FOR};
use super::network::Network;
use super::proxy::{self, Header};

const PROXY: &str = "10.0.0.1";
/// Nobody that anything trusts, and whom no input is about to name by chance.
const CLIENT: &str = "198.51.100.7";

/// Whatever a client writes in front, the address that a trusted proxy appends counts; and from peers that
/// nobody trusts nothing does.
///
/// The first byte chooses the header and whether the proxy appends to the line or adds one; the rest is what
/// the client wrote.
///
/// # Panics
///
/// If somebody could pass for another.
pub fn forwarded(data: &[u8]) {
    let Some((choice, written)) = data.split_first() else { return };
    let Ok(claim) = HeaderValue::from_bytes(written) else { return };
    let trusted: [Network; 1] = ["10.0.0.0/8".parse().expect("a network")];
    let of = |peer: &str, name: &HeaderName, lines: &[&HeaderValue]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, (*line).clone());
        }
        Client::of(Some(address(peer)), &headers, &trusted)
    };
    let (name, appended) = match choice & 1 {
        0 => (X_FORWARDED_FOR, CLIENT.to_owned()),
        _ => (FORWARDED, format!("for={CLIENT};proto=https")),
    };
    let appended = HeaderValue::from_str(&appended).expect("a header's value");

    // Alone it counts only if the proxy vouches for it, by passing it on; and then for what it says.
    let untrusted = of(CLIENT, &name, &[&claim]);
    assert_eq!((untrusted.address, untrusted.claims), (Some(address(CLIENT)), true));
    let believed = of(PROXY, &name, &[&claim]).address.expect("the peer is known");
    let text = String::from_utf8_lossy(written);
    assert!(believed == address(PROXY) || named(&text).contains(&believed), "{believed} is nowhere in {text:?}");

    let honest = Client { address: Some(address(CLIENT)), is_certain: true, claims: false };
    assert_eq!(of(PROXY, &name, &[&claim, &appended]), honest, "{text:?} was in a line before");
    if choice & 2 != 0 {
        let joined = [written, b", ", appended.as_bytes()].concat();
        let joined = of(PROXY, &name, &[&HeaderValue::from_bytes(&joined).expect("both halves are values")]);
        // A quote that the client left open swallows what the proxy appends; then nobody is believed.
        let is_nobody = name == FORWARDED && joined.address == Some(address(PROXY)) && !joined.is_certain;
        assert!(joined == honest || is_nobody, "{text:?} was in front: {joined:?}");
    }
}

/// Every address that stands in a text, however it is wrapped: what a reader that knows no grammar finds.
fn named(text: &str) -> Vec<IpAddr> {
    // A backslash quotes what follows it.
    let text = text.replace('\\', "");
    let mut found = Vec::new();
    for word in text.split(|letter: char| !(letter.is_ascii_hexdigit() || matches!(letter, '.' | ':'))) {
        let without_port = word.rsplit_once(':').map_or(word, |(host, _)| host);
        let first = word.split(':').next().unwrap_or(word);
        found.extend([word, without_port, first].iter().filter_map(|word| word.parse::<IpAddr>().ok()));
    }
    found.iter().map(IpAddr::to_canonical).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The parser asks for no byte behind the header, comes to an end, and finds what a header says.
///
/// # Panics
///
/// If it does not.
pub fn proxy_protocol(data: &[u8]) {
    let mut taken = 0;
    let source = loop {
        match proxy::parse(&data[..taken]) {
            Ok(Header::Needs(count)) => {
                assert!((1..=4096).contains(&count));
                let Some(next) = taken.checked_add(count).filter(|next| *next <= data.len()) else { return };
                taken = next;
                assert!(taken <= 4096, "a header has an end");
            }
            Ok(Header::Source(source)) => break source,
            Err(_) => return,
        }
    };
    let header = &data[..taken];
    // What comes behind belongs to somebody else: no longer beginning is a header, nor any shorter one.
    for shorter in 0..taken {
        assert!(!matches!(proxy::parse(&data[..shorter]), Ok(Header::Source(_))), "{shorter} of {taken} bytes");
    }
    if let Some(line) = header.strip_suffix(b"\r\n").filter(|line| line.starts_with(b"PROXY")) {
        let line = String::from_utf8_lossy(line);
        let field = line.split(' ').nth(2).and_then(|field| field.parse().ok());
        let expected = if line.starts_with("PROXY UNKNOWN") { None } else { field };
        assert_eq!(source, expected, "{line}");
    }
}
