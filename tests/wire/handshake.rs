//! The opening handshake (RFC 6455, 4; the contract's section 2).

use serde_json::json;

use crate::client::{Client, Encoding};
use crate::http::{Reply, get, request};
use crate::raw::{BINARY, HANDSHAKE, Raw, TEXT};
use crate::server::Server;

/// The handshake with this line instead of one that begins alike, or beside the others.
fn handshake(changes: &[(&str, &str)]) -> String {
    let mut text = HANDSHAKE.trim_end().to_owned();
    for (begin, line) in changes {
        let kept = text.split("\r\n").filter(|known| begin.is_empty() || !known.starts_with(begin));
        text = kept.chain(Some(*line).filter(|line| !line.is_empty())).collect::<Vec<_>>().join("\r\n");
    }
    text + "\r\n\r\n"
}

fn answer(server: &Server, changes: &[(&str, &str)]) -> (Raw, Reply) {
    let mut raw = Raw::dial(server);
    raw.write(handshake(changes).as_bytes());
    let reply = raw.reply();
    (raw, reply)
}

#[test]
fn the_sample_handshake_is_answered_as_in_the_standard() {
    let server = Server::start();
    let (mut raw, reply) = answer(&server, &[]);
    assert_eq!(reply.status, 101);
    // RFC 6455, 1.3.
    assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(reply.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")));
    assert!(reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    assert_eq!(reply.header("sec-websocket-protocol"), None);
    assert_eq!(reply.header("sec-websocket-extensions"), None);
    assert_eq!(raw.frame().map(|(first, _)| first), Some(TEXT));
}

/// The server has it cheaper, and the client sooner.
#[test]
fn the_answer_and_the_welcome_come_together() {
    let server = Server::start();
    let mut raw = Raw::dial(&server);
    raw.write(HANDSHAKE.as_bytes());
    let first = raw.some();
    let end = first.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    assert!(first.starts_with(b"HTTP/1.1 101 "));
    assert!(first[end..].starts_with(&[TEXT]) && first.ends_with(b"}"), "{}", String::from_utf8_lossy(&first));
}

/// A script that sends all it has and ends its side is answered as long as it reads.
#[test]
fn who_ends_its_side_behind_the_handshake_is_answered_all_the_same() {
    let server = Server::start();
    for _ in 0..20 {
        let mut raw = Raw::dial(&server);
        raw.write(HANDSHAKE.as_bytes());
        raw.finish();
        assert_eq!(raw.reply().status, 101);
        assert_eq!(raw.frame().map(|(first, _)| first), Some(TEXT));
        assert_eq!(raw.frame(), None);
    }
}

#[test]
fn what_was_asked_before_the_handshake_is_answered_before_it() {
    let server = Server::start();
    let mut raw = Raw::dial(&server);
    let ask = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    raw.write([ask, ask, HANDSHAKE].concat().as_bytes());
    for _ in 0..2 {
        let reply = raw.reply();
        assert_eq!(reply.status, 200);
        let length = reply.header("content-length").expect("a body").parse().expect("a length");
        raw.skip(length);
    }
    assert_eq!(raw.reply().status, 101);
    assert_eq!(raw.frame().map(|(first, _)| first), Some(TEXT));
}

#[test]
fn of_several_subprotocols_the_client_s_order_decides() {
    let server = Server::start();
    for (offer, chosen, first) in [
        ("fanfare.v1.json", "fanfare.v1.json", TEXT),
        ("fanfare.v1.msgpack", "fanfare.v1.msgpack", BINARY),
        ("fanfare.v1.json, fanfare.v1.msgpack", "fanfare.v1.json", TEXT),
        ("fanfare.v1.msgpack, fanfare.v1.json", "fanfare.v1.msgpack", BINARY),
        ("fanfare.v1.msgpack,fanfare.v1.json", "fanfare.v1.msgpack", BINARY),
        ("graphql-ws, fanfare.v2.json, fanfare.v1.msgpack", "fanfare.v1.msgpack", BINARY),
        ("fanfare.v1.json\r\nSec-WebSocket-Protocol: fanfare.v1.msgpack", "fanfare.v1.json", TEXT),
    ] {
        let (mut raw, reply) = answer(&server, &[("", &format!("Sec-WebSocket-Protocol: {offer}"))]);
        assert_eq!((reply.status, reply.header("sec-websocket-protocol")), (101, Some(chosen)), "{offer}");
        assert_eq!(raw.frame().map(|(first, _)| first), Some(first), "{offer}");
    }
}

#[test]
fn a_token_beside_the_subprotocol_is_never_echoed() {
    let server = Server::start();
    for offer in ["fanfare.token.secret, fanfare.v1.json", "fanfare.v1.json, fanfare.token.secret"] {
        let (_, reply) = answer(&server, &[("", &format!("Sec-WebSocket-Protocol: {offer}"))]);
        assert_eq!((reply.status, reply.header("sec-websocket-protocol")), (101, Some("fanfare.v1.json")));
    }
}

#[test]
fn only_unknown_subprotocols_are_refused_with_the_known_ones() {
    let server = Server::start();
    let headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    for offer in ["graphql-ws", "fanfare.v2.json", "fanfare.v1.JSON", "mqtt, wamp", "fanfare.token.secret"] {
        let headers = [&headers[..], &[("Sec-WebSocket-Protocol", offer), ("Connection", "close")]].concat();
        let reply = request(&server, "GET", "/ws", &headers, b"");
        reply.expect_error(400, "bad_request");
        for encoding in [Encoding::Json, Encoding::MsgPack] {
            assert!(reply.text().contains(encoding.subprotocol()), "{}", reply.text());
        }
        assert!(!reply.text().contains("secret"), "{}", reply.text());
    }
}

#[test]
fn a_plain_request_is_told_to_upgrade() {
    let server = Server::start();
    let reply = get(&server, "/ws");
    reply.expect_error(426, "bad_request");
    // RFC 9110, 15.5.22: the server MUST send an Upgrade header field.
    assert_eq!(reply.header("upgrade"), Some("websocket"));
}

#[test]
fn another_version_is_told_which_one_is_spoken() {
    let server = Server::start();
    for version in ["8", "12", "14", "", "13x"] {
        let (_, reply) = answer(&server, &[("Sec-WebSocket-Version", &format!("Sec-WebSocket-Version: {version}"))]);
        assert_eq!((reply.status, reply.header("sec-websocket-version")), (426, Some("13")), "{version:?}");
        assert_eq!(reply.header("upgrade"), Some("websocket"));
    }
}

#[test]
fn a_handshake_that_breaks_the_standard_is_a_bad_request() {
    let server = Server::start();
    for changes in [
        [("Connection", "")],
        [("Connection", "Connection: keep-alive")],
        [("Sec-WebSocket-Key", "")],
        [("Sec-WebSocket-Key", "Sec-WebSocket-Key: ")],
        [("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==")],
        [("Sec-WebSocket-Key", "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==")],
        [("", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")],
        [("Sec-WebSocket-Version", "")],
    ] {
        let (_, reply) = answer(&server, &changes);
        assert_eq!(reply.status, 400, "{changes:?}");
    }
    let mut raw = Raw::dial(&server);
    raw.write(HANDSHAKE.replace("GET", "POST").as_bytes());
    assert_eq!(raw.reply().status, 400);
}

#[test]
fn tokens_count_in_any_case_and_any_list() {
    let server = Server::start();
    for changes in [
        [("Upgrade", "upgrade: WebSocket")],
        [("Connection", "CONNECTION: keep-alive, upgrade")],
        [("Sec-WebSocket-Version", "sec-websocket-version:13")],
    ] {
        let (_, reply) = answer(&server, &changes);
        assert_eq!(reply.status, 101, "{changes:?}");
    }
}

#[test]
fn a_query_does_not_disturb_the_handshake() {
    let server = Server::start();
    for target in ["/ws?deflate=off", "/ws?", "/ws?x=%zz&y"] {
        let mut raw = Raw::dial(&server);
        raw.write(HANDSHAKE.replace("/ws", target).as_bytes());
        assert_eq!(raw.reply().status, 101, "{target}");
    }
}

#[test]
fn half_a_handshake_that_stalls_is_cut_off() {
    let server = Server::with(&[("limits.header_ms", "300")]);
    let mut silent = Raw::dial(&server);
    let mut stalled = Raw::dial(&server);
    stalled.write(&HANDSHAKE.as_bytes()[..40]);
    let mut line = Raw::dial(&server);
    line.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n");
    for raw in [&mut silent, &mut stalled, &mut line] {
        let rest = raw.expect_end();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{rest:?}");
    }
    Client::json(&server).send(json!({"type": "ping"}));
}

#[test]
fn what_is_not_http_is_hung_up_on() {
    let server = Server::start();
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n"[..], b"nonsense\r\n\r\n", &[0xFF; 64]]
    {
        let mut raw = Raw::dial(&server);
        raw.try_write(bytes);
        raw.finish();
        let rest = raw.expect_end();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400"), "{rest:?}");
    }
}

#[test]
fn a_head_that_does_not_end_is_refused() {
    let server = Server::start();
    let mut raw = Raw::dial(&server);
    raw.write(b"GET /ws HTTP/1.1\r\nHost: localhost\r\n");
    raw.try_write("X-Filler: filler filler filler filler\r\n".repeat(10_000).as_bytes());
    let rest = raw.expect_end();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{rest:?}");
}

#[test]
fn a_full_server_says_when_to_return() {
    let server = Server::with(&[("limits.connections", "2")]);
    let mut first = Client::json(&server);
    let _second = Client::json(&server);
    let mut raw = Raw::dial(&server);
    raw.try_write(HANDSHAKE.as_bytes());
    let reply = raw.reply();
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    first.expect_quiet();
}
