//! The opening handshake: RFC 6455, 1.3 and 4.2.

use crate::echo::Echo;
use crate::peer::{FIN, HANDSHAKE, PING, PONG, Peer, Reply, TEXT, frame};

/// The handshake with these lines instead of those that begin with `without`.
fn handshake(without: &str, with: &[&str]) -> String {
    let kept = HANDSHAKE.trim_end().split("\r\n").filter(|line| without.is_empty() || !line.starts_with(without));
    kept.chain(with.iter().copied()).chain(["\r\n"]).collect::<Vec<_>>().join("\r\n")
}

fn answer(echo: &Echo, request: &str) -> Reply {
    let mut peer = Peer::dial(echo);
    peer.write(request.as_bytes());
    peer.reply()
}

#[track_caller]
fn check(echo: &Echo, without: &str, with: &[&str], status: u16) {
    assert_eq!(answer(echo, &handshake(without, with)).status, status, "{with:?} instead of {without:?}");
}

#[test]
fn rfc6455_1_3_the_sample_handshake_is_answered_as_in_the_standard() {
    let reply = answer(&Echo::start(), HANDSHAKE);
    assert_eq!(reply.status, 101);
    assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(reply.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")));
    assert!(reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
}

#[test]
fn rfc6455_4_2_1_a_handshake_is_a_get() {
    let echo = Echo::start();
    for method in ["POST", "HEAD", "PUT", "OPTIONS", "get"] {
        assert_eq!(answer(&echo, &HANDSHAKE.replacen("GET", method, 1)).status, 400, "{method}");
    }
}

#[test]
fn rfc6455_4_2_1_a_handshake_is_of_http_1_1() {
    assert_eq!(answer(&Echo::start(), &HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0")).status, 400);
}

#[test]
fn rfc6455_4_2_1_a_request_without_upgrade_is_told_to_upgrade() {
    let echo = Echo::start();
    for with in [&[][..], &["Upgrade: websockets"], &["Upgrade: h2c"], &["Upgrade:"]] {
        let reply = answer(&echo, &handshake("Upgrade", with));
        // RFC 9110, 15.5.22 and 7.8.
        assert_eq!((reply.status, reply.header("upgrade")), (426, Some("websocket")), "{with:?}");
        assert!(reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")), "{reply:?}");
    }
}

#[test]
fn rfc6455_4_2_1_each_required_header_is_there_once() {
    let echo = Echo::start();
    for line in ["Host: other", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"] {
        let name = line.split(':').next().expect("a line has a name");
        check(&echo, name, &[], 400);
        check(&echo, "", &[line], 400);
    }
    check(&echo, "Connection", &[], 400);
    check(&echo, "Connection", &["Connection: close"], 400);
}

#[test]
fn rfc6455_4_2_1_the_key_is_sixteen_bytes_in_base64() {
    let echo = Echo::start();
    for key in [
        "",
        "x",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZSE=",
        "dGhlIHNhbXBsZSBub25jZSEh",
        "dGhlIHNhbXBsZSBub25j!Q==",
        "dGhlIHNhbXBsZSBub25jZQ== x",
    ] {
        check(&echo, "Sec-WebSocket-Key", &[&format!("Sec-WebSocket-Key: {key}")], 400);
    }
}

#[test]
fn rfc6455_4_2_1_tokens_count_in_any_case_and_any_list() {
    let echo = Echo::start();
    check(&echo, "Upgrade", &["uPGRADE: WebSocket"], 101);
    check(&echo, "Upgrade", &["Upgrade: h2c, websocket"], 101);
    check(&echo, "Connection", &["CONNECTION: keep-alive,\tupgrade"], 101);
    check(&echo, "Connection", &["Connection: keep-alive", "Connection: Upgrade"], 101);
    check(&echo, "Sec-WebSocket-Version", &["sec-websocket-version:13"], 101);
}

#[test]
fn rfc6455_4_2_1_the_path_and_other_headers_are_the_application_s() {
    let echo = Echo::start();
    for path in ["/", "/?", "/a/b?x=%zz&y#", "*"] {
        assert_eq!(answer(&echo, &HANDSHAKE.replacen("/chat", path, 1)).status, 101, "{path}");
    }
    check(&echo, "", &["Origin: null", "Cookie: a=b", "X-Unheard: of"], 101);
}

#[test]
fn rfc6455_4_2_2_another_version_is_told_which_one_is_spoken() {
    let echo = Echo::start();
    for version in ["0", "8", "12", "14", "255", "013", "13, 8", "", "x"] {
        let line = format!("Sec-WebSocket-Version: {version}");
        let reply = answer(&echo, &handshake("Sec-WebSocket-Version", &[&line]));
        assert_eq!((reply.status, reply.header("sec-websocket-version")), (426, Some("13")), "{version:?}");
        // RFC 9110, 15.5.22 and 7.8.
        assert_eq!(reply.header("upgrade"), Some("websocket"), "{version:?}");
    }
}

#[test]
fn rfc6455_4_2_2_nothing_is_agreed_that_was_not_offered() {
    let echo = Echo::start();
    let plain = answer(&echo, HANDSHAKE);
    assert_eq!((plain.header("sec-websocket-extensions"), plain.header("sec-websocket-protocol")), (None, None));
    // The echo server knows no subprotocol, and choosing none is the server's right.
    let reply = answer(&echo, &handshake("", &["Sec-WebSocket-Protocol: chat, superchat"]));
    assert_eq!((reply.status, reply.header("sec-websocket-protocol")), (101, None));
}

#[test]
fn rfc6455_4_2_2_frames_that_come_with_the_handshake_are_not_lost() {
    let echo = Echo::start();
    let frames = [frame(FIN | TEXT, b"early"), frame(FIN | PING, b"bird")].concat();
    for cut in 0..=frames.len() {
        let mut peer = Peer::dial(&echo);
        peer.write(&[HANDSHAKE.as_bytes(), &frames[..cut]].concat());
        assert_eq!(peer.reply().status, 101);
        peer.write(&frames[cut..]);
        peer.expect(FIN | TEXT, b"early");
        peer.expect(FIN | PONG, b"bird");
    }
}

#[test]
fn rfc6455_4_2_2_many_bytes_that_come_with_the_handshake_are_not_lost() {
    let echo = Echo::start();
    let large = vec![b'l'; 200_000];
    let mut peer = Peer::dial(&echo);
    peer.write(&[HANDSHAKE.as_bytes(), &frame(FIN | TEXT, &large), &frame(FIN | TEXT, b"last")].concat());
    assert_eq!(peer.reply().status, 101);
    peer.expect(FIN | TEXT, &large);
    peer.expect(FIN | TEXT, b"last");
}

#[test]
fn rfc6455_4_2_1_a_handshake_may_come_byte_by_byte() {
    let echo = Echo::start();
    let mut peer = Peer::dial(&echo);
    peer.trickle(HANDSHAKE.as_bytes());
    assert_eq!(peer.reply().status, 101);
}

#[test]
fn rfc6455_4_2_1_a_request_with_a_body_is_refused() {
    let echo = Echo::start();
    for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        let head = HANDSHAKE.strip_suffix("\r\n").expect("a head ends with an empty line");
        assert_eq!(answer(&echo, &format!("{head}{body}")).status, 400, "{body:?}");
    }
    check(&echo, "", &["Content-Length: 0"], 101);
}

#[test]
fn rfc6455_4_2_1_a_refused_handshake_leaves_http_in_peace() {
    let echo = Echo::start();
    let mut peer = Peer::dial(&echo);
    peer.write(handshake("Upgrade", &[]).as_bytes());
    let refusal = peer.reply();
    let length = refusal.header("content-length").and_then(|length| length.parse().ok()).expect("a length");
    peer.skip(length);
    peer.write(HANDSHAKE.as_bytes());
    assert_eq!(peer.reply().status, 101);
}

#[test]
fn rfc6455_10_4_floods_of_headers_are_refused() {
    let echo = Echo::start();
    let many = "X-Filler: filler\r\n".repeat(10_000);
    let long = format!("X-Filler: {}\r\n", "filler".repeat(100_000));
    for flood in [many, long] {
        let mut peer = Peer::dial(&echo);
        peer.write(HANDSHAKE.strip_suffix("\r\n").expect("a head ends with an empty line").as_bytes());
        peer.try_write(flood.as_bytes());
        peer.try_write(b"\r\n");
        let rest = peer.rest();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 431"), "{:?}", String::from_utf8_lossy(&rest));
    }
    assert_eq!(answer(&echo, HANDSHAKE).status, 101);
}

#[test]
fn rfc6455_4_2_1_what_is_not_http_is_hung_up_on() {
    let echo = Echo::start();
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n"[..], b"nonsense\r\n\r\n", &[0xFF; 64]]
    {
        let mut peer = Peer::dial(&echo);
        peer.try_write(bytes);
        peer.finish();
        let rest = peer.rest();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400"), "{:?}", String::from_utf8_lossy(&rest));
    }
}
