//! Foreign web pages are kept out (the contract's section 8).

use crate::http::request;
use crate::raw::{HANDSHAKE, Raw};
use crate::server::Server;

const SETTINGS: &[(&str, &str)] =
    &[("server.hosts", "events.example.com"), ("server.origins", "https://app.example.com")];

#[test]
fn a_host_that_the_server_does_not_go_by_is_forbidden() {
    let server = Server::with(SETTINGS);
    for (host, status) in [
        ("localhost", 200),
        ("LocalHost:1", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1:7070", 200),
        ("[::1]:7070", 200),
        ("192.0.2.1", 200),
        ("events.example.com", 200),
        ("events.example.com:443", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("app.example.com", 403),
    ] {
        let reply = request(&server, "GET", "/v1/topics", &[("Host", host)], b"");
        assert_eq!(reply.status, status, "{host}");
        if status == 403 {
            reply.expect_error(403, "forbidden");
        }
    }
}

#[test]
fn what_is_refused_for_its_host_or_origin_is_counted() {
    let server = Server::with(SETTINGS);
    let refused = || {
        let reply = request(&server, "GET", "/metrics", &[], b"");
        let value = reply.text().lines().find_map(|line| line.strip_prefix("fanfare_refused_origins_total "));
        value.and_then(|value| value.parse::<u64>().ok())
    };
    assert_eq!(refused(), Some(0));
    request(&server, "GET", "/", &[("Host", "evil.example")], b"").expect_error(403, "forbidden");
    request(&server, "GET", "/ws", &[("Origin", "https://evil.example")], b"").expect_error(403, "forbidden");
    request(&server, "GET", "/v1/topics", &[("Origin", "https://app.example.com")], b"");
    assert_eq!(refused(), Some(2));
}

#[test]
fn a_foreign_origin_is_forbidden_and_an_allowed_one_is_repeated() {
    let server = Server::with(SETTINGS);
    for (origin, allowed) in [
        ("http://localhost:5173", true),
        ("http://127.0.0.1:3000", true),
        ("http://127.0.0.2", true),
        ("https://[::1]", true),
        ("http://192.0.2.1:7070", true),
        ("https://app.example.com", true),
        ("http://192.0.2.1:7071", false),
        ("http://app.example.com", false),
        ("https://app.example.com.evil.example", false),
        ("https://evil.example", false),
        ("http://localhost.evil.example", false),
        ("null", false),
        ("", false),
        ("*", false),
    ] {
        for (method, target, body) in [("GET", "/v1/topics", ""), ("POST", "/v1/publish", r#"{"topic":"a","data":1}"#)]
        {
            let headers = [("Host", "192.0.2.1:7070"), ("Origin", origin), ("Content-Type", "application/json")];
            let reply = request(&server, method, target, &headers, body.as_bytes());
            if allowed {
                assert_eq!(
                    (reply.status, reply.header("access-control-allow-origin")),
                    (200, Some(origin)),
                    "{origin}"
                );
            } else {
                reply.expect_error(403, "forbidden");
                assert_eq!(reply.header("access-control-allow-origin"), None, "{origin}");
            }
            assert!(reply.header("vary").is_some_and(|vary| vary.to_ascii_lowercase().contains("origin")), "{origin}");
        }
    }
}

#[test]
fn nothing_is_allowed_to_pages_where_no_origin_is_given() {
    let server = Server::start();
    let reply = request(&server, "GET", "/v1/topics", &[], b"");
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, None));
}

#[test]
fn a_preflight_is_answered_for_allowed_origins_only() {
    let server = Server::with(SETTINGS);
    let ask = |origin| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type"),
        ];
        request(&server, "OPTIONS", "/v1/publish", &headers, b"")
    };
    let reply = ask("https://app.example.com");
    assert!(matches!(reply.status, 200 | 204), "{}", reply.status);
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert!(reply.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")));
    assert!(reply.header("access-control-allow-headers").is_some_and(|headers| headers.contains("content-type")));
    ask("https://evil.example").expect_error(403, "forbidden");
}

#[test]
fn websockets_of_foreign_pages_are_refused_before_the_upgrade() {
    let server = Server::with(SETTINGS);
    let answer = |host: &str, origin: Option<&str>| {
        let origin = origin.map(|origin| format!("\r\nOrigin: {origin}")).unwrap_or_default();
        let mut raw = Raw::dial(&server);
        raw.write(HANDSHAKE.replace("Host: localhost", &format!("Host: {host}{origin}")).as_bytes());
        raw.reply().status
    };
    assert_eq!(answer("localhost", None), 101);
    assert_eq!(answer("localhost", Some("http://localhost:8080")), 101);
    assert_eq!(answer("events.example.com", Some("https://app.example.com")), 101);
    assert_eq!(answer("events.example.com", Some("https://events.example.com")), 101);
    assert_eq!(answer("localhost", Some("https://evil.example")), 403);
    assert_eq!(answer("localhost", Some("null")), 403);
    assert_eq!(answer("evil.example", None), 403);
    assert_eq!(answer("evil.example", Some("http://evil.example")), 403);
}
