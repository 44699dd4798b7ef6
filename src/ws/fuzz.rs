//! What the fuzz targets of this module do. The bodies live here, so that tests run them as well.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::deflate::{BLOCK_END, Window, deflate};
use super::header::Rules;
use super::inflate::{History, InflateError, LAST_BLOCK, inflate};
use super::naive::{self, End};
use super::{Deflate, DeflateOptions, HandshakeError, Incoming, ReadLimits, check, mock};

/// A gate hands on a stream that means the same and never announces more than it may, whatever
/// comes, in whatever pieces, into whatever buffers.
///
/// The first bytes choose limits, pieces and buffers; the rest is the stream.
///
/// # Panics
///
/// If the gate breaks its word.
pub fn frame_gate(data: &[u8]) {
    let Some((choices, stream)) = data.split_first_chunk::<4>() else {
        return;
    };
    let rules = rules(choices[0]);
    let sizes = sizes(choices[1]);
    let buffers = [usize::from(choices[2]) * 8 + 1, usize::from(choices[3])];
    check_gate(stream, &sizes, &buffers, rules);
}

/// A reader finds in a stream what a slow and obvious one finds, whatever comes, in whatever
/// pieces.
///
/// The first bytes choose limits and pieces; the rest is the stream.
///
/// # Panics
///
/// If it does not.
pub fn ws_reader(data: &[u8]) {
    let Some((choices, stream)) = data.split_first_chunk::<2>() else {
        return;
    };
    check_reader(stream, &sizes(choices[1]), rules(choices[0]));
}

/// Inflating agrees with another implementation, and what is compressed comes back.
///
/// The first bytes choose the limit; the rest is a compressed message, and also one to compress.
///
/// # Panics
///
/// If it does not.
pub fn ws_inflate(data: &[u8]) {
    let Some((choice, message)) = data.split_first() else {
        return;
    };
    let bytes_max = [0, 5, 1000, 200_000][usize::from(choice & 3)];
    match inflate(message, &mut History::of(0), bytes_max, <[u8]>::to_vec) {
        Ok(inflated) => assert_eq!(inflate_otherwise(message, bytes_max).as_deref(), Some(&inflated[..])),
        Err(InflateError::TooLong) => assert_eq!(inflate_otherwise(message, bytes_max), None),
        // Of what is malformed the other reads more.
        Err(InflateError::Malformed) => {}
    }
    for window in Window::ALL {
        let deflated = deflate(message, window, <[u8]>::to_vec);
        if let Some(deflated) = deflated {
            let back = inflate(&deflated, &mut History::of(0), message.len(), <[u8]>::to_vec);
            assert_eq!(back.as_deref(), Ok(message));
            assert_eq!(inflate_otherwise(&deflated, message.len()).as_deref(), Some(message));
        }
    }
}

/// Inflates with another implementation. `None`: it is malformed, or longer than `bytes_max`.
fn inflate_otherwise(message: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let message = [message, &BLOCK_END, &LAST_BLOCK].concat();
    let mut input = &message[..];
    let mut inflated = Vec::new();
    while !input.is_empty() {
        // Each last block ends a stream, and what follows refers to nothing before it.
        let mut out = vec![0; bytes_max + 1 - inflated.len()];
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, read, written) = decompress(&mut DecompressorOxide::new(), input, &mut out, 0, flags);
        inflated.extend_from_slice(&out[..written]);
        input = &input[read..];
        match status {
            TINFLStatus::Done if inflated.len() <= bytes_max => {}
            _ => return None,
        }
    }
    Some(inflated)
}

/// Whatever a client offers, the answer is one that it may be given, and it never fails.
///
/// # Panics
///
/// If it does not hold.
pub fn ws_extensions(data: &[u8]) {
    let Some((choice, offers)) = data.split_first() else {
        return;
    };
    let mut headers = http::HeaderMap::new();
    for line in offers.split(|&byte| byte == b'\n') {
        if let Ok(line) = http::HeaderValue::from_bytes(line) {
            headers.append(http::header::SEC_WEBSOCKET_EXTENSIONS, line);
        }
    }
    let options = DeflateOptions { client_context_takeover: choice & 1 != 0, client_window_bits_max: choice >> 1 };
    let Some(deflate) = Deflate::negotiate(&headers, &options) else {
        return;
    };
    let answer = deflate.header_value();
    let answer = answer.to_str().expect("an answer is ASCII");
    let offers = String::from_utf8_lossy(offers).into_owned();
    let mut parameters = answer.split("; ");
    assert_eq!(parameters.next(), Some("permessage-deflate"));
    let mut seen = Vec::new();
    for parameter in parameters {
        let (name, value) = parameter.split_once('=').map_or((parameter, None), |(name, value)| (name, Some(value)));
        assert!(!seen.contains(&name), "{answer}");
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
            // RFC 7692, 7.1.2: in the answer only if it was in the offer.
            ("server_max_window_bits" | "client_max_window_bits", Some(bits)) => {
                assert!((9..=15).contains(&bits.parse::<u8>().expect("a number")), "{answer}");
                assert!(offers.contains(name), "{answer} to {offers}");
            }
            _ => panic!("{answer}"),
        }
    }
    assert!(seen.contains(&"server_no_context_takeover"), "{answer}");
    assert_eq!(seen.contains(&"client_no_context_takeover"), !deflate.client_context_takeover());
    // The answer is an offer that means the same.
    let again: http::HeaderMap =
        [(http::header::SEC_WEBSOCKET_EXTENSIONS, deflate.header_value())].into_iter().collect();
    assert!(Deflate::negotiate(&again, &options).is_some());
}

/// Whatever headers a request has, it is accepted or refused with a reason; and only a lawful one is
/// accepted.
///
/// The first byte chooses method and version; the rest are the headers, a line each.
///
/// # Panics
///
/// If it does not hold.
pub fn ws_handshake(data: &[u8]) {
    let Some((choice, lines)) = data.split_first() else {
        return;
    };
    let mut headers = http::HeaderMap::new();
    for line in lines.split(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let name = http::HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    let method = if choice & 1 == 0 { http::Method::GET } else { http::Method::POST };
    let version = [http::Version::HTTP_11, http::Version::HTTP_10, http::Version::HTTP_2][usize::from(choice >> 1) % 3];
    match check(&method, version, &headers) {
        Ok(accept) => {
            assert_eq!((method, version), (http::Method::GET, http::Version::HTTP_11));
            for name in ["host", "sec-websocket-key", "sec-websocket-version"] {
                assert_eq!(headers.get_all(name).iter().count(), 1, "{name}");
            }
            assert_eq!(headers["sec-websocket-version"].as_bytes().trim_ascii(), b"13");
            assert_eq!(accept.accept_key.len(), 28);
            assert!(accept.protocols.iter().all(|name| !name.is_empty() && !name.contains(',')));
        }
        Err(error) => {
            let upgrade = matches!(error, HandshakeError::NotWebSocket | HandshakeError::Version);
            assert_eq!(error.status().as_u16(), if upgrade { 426 } else { 400 });
            assert_eq!(error.headers().contains_key(http::header::UPGRADE), upgrade);
        }
    }
}

pub(super) fn check_gate(stream: &[u8], sizes: &[usize], buffers: &[usize], rules: Rules) {
    let (events, end) = naive::read(stream, rules);
    let (out, gate_end) = mock::pass(stream, sizes, buffers, rules);
    // Cutting frames into fragments is the gate's right.
    let unlimited = Rules { limits: ReadLimits { fragments_max: usize::MAX, ..rules.limits }, ..rules };
    let (events_after, end_after) = naive::read(&out, unlimited);
    assert_eq!(events_after, events);
    match end {
        End::Eof { .. } => assert_eq!(gate_end, end),
        // The gate does not read payloads: it passes bad ones on, for others to find.
        End::Violation(1007) | End::EofInBadText | End::Closed => {}
        End::Violation(1002) if end_after == end => {}
        // Nor does it inflate.
        End::Violation(1009) if rules.deflate && end_after == end => {}
        End::Violation(_) => {
            assert_eq!(gate_end, end);
            assert!(matches!(end_after, End::Eof { .. }));
        }
    }
}

pub(super) fn check_reader(stream: &[u8], sizes: &[usize], rules: Rules) {
    let (events, end) = naive::read(stream, rules);
    let (found, found_end) = mock::read(stream, sizes, rules);
    assert_eq!(found, events);
    match end {
        End::EofInBadText => assert!(matches!(found_end, End::Eof { mid_message: true } | End::Violation(1007))),
        end => assert_eq!(found_end, end),
    }
    assert!(!events.contains(&Incoming::Idle));
}

fn rules(choice: u8) -> Rules {
    let limits = ReadLimits {
        message_bytes_max: [0, 125, 1000, 70_000][usize::from(choice & 3)],
        fragments_max: [1, 2, 5, 100][usize::from(choice >> 2 & 3)],
    };
    Rules { limits, deflate: choice & 0x80 != 0 }
}

fn sizes(choice: u8) -> [usize; 3] {
    match choice {
        0 => [usize::MAX; 3],
        _ => [usize::from(choice & 7), usize::from(choice >> 3 & 3), usize::from(choice >> 5) * 64],
    }
}
