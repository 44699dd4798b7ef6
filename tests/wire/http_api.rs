//! The HTTP API, the probes and the metrics (the contract's sections 1 and 8).

use std::io::Write;

use serde_json::{Value, json};

use crate::client::{ANY, Client};
use crate::http::{get, publish, request};
use crate::raw::Raw;
use crate::server::Server;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const MSGPACK: (&str, &str) = ("Content-Type", "application/msgpack");

#[test]
fn a_backend_publishes_over_http() {
    let server = Server::start();
    let mut client = Client::json(&server);
    let epoch = client.subscribe("news");
    let reply = publish(&server, &json!({"topic": "news", "data": {"hello": 1}, "key": "k", "unknown": 1}));
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json(), json!({"topic": "news", "epoch": epoch, "offset": 1}));
    client.expect(json!({"type": "message", "topic": "news", "epoch": epoch, "offset": 1, "data": {"hello": 1}}));
}

#[test]
fn each_of_several_messages_has_a_result_of_its_own() {
    let server = Server::start();
    let reply = publish(
        &server,
        &json!({"messages": [
            {"topic": "a", "data": 1},
            {"topic": "a..b", "data": 2},
            {"topic": "$stats", "data": 3},
            {"topic": "a"},
            7,
            {"topic": "a", "data": null},
        ]}),
    );
    assert_eq!(reply.status, 200);
    let body = reply.json();
    let results = body["results"].as_array().expect("results");
    let codes: Vec<_> = results.iter().map(|result| result["error"]["code"].as_str()).collect();
    assert_eq!(
        codes,
        [None, Some("bad_topic"), Some("forbidden"), Some("bad_request"), Some("bad_request"), None],
        "{body}"
    );
    assert_eq!((&results[0]["offset"], &results[5]["offset"]), (&json!(1), &json!(2)));
    assert_eq!(results[0]["epoch"], results[5]["epoch"]);
}

#[test]
fn messagepack_goes_in_and_out_over_http() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.subscribe("a");
    // {"topic": "a", "data": h'010203'}
    let body = b"\x82\xA5topic\xA1a\xA4data\xC4\x03\x01\x02\x03";
    let reply = request(&server, "POST", "/v1/publish", &[MSGPACK], body);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/msgpack")));
    let result: Value = rmp_serde::from_slice(&reply.body).expect("MessagePack");
    assert_eq!((&result["topic"], &result["offset"]), (&json!("a"), &json!(1)));
    client.expect(json!({"type": "message", "topic": "a", "epoch": ANY, "offset": 1, "data": {"$bin": "AQID"}}));

    let reply = request(&server, "POST", "/v1/publish", &[MSGPACK], b"\x80");
    assert_eq!((reply.status, reply.header("content-type")), (400, Some("application/msgpack")));
    let error: Value = rmp_serde::from_slice(&reply.body).expect("MessagePack");
    assert_eq!(error["error"]["code"], "bad_request");
}

#[test]
fn a_bad_body_is_refused_whole() {
    let server = Server::start();
    for (body, status, code) in [
        ("", 400, "bad_request"),
        ("nonsense", 400, "bad_request"),
        ("[]", 400, "bad_request"),
        ("{}", 400, "bad_request"),
        (r#"{"topic":"a"}"#, 400, "bad_request"),
        (r#"{"data":1}"#, 400, "bad_request"),
        (r#"{"topic":"a","data":1} x"#, 400, "bad_request"),
        (r#"{"topic":"a","topic":"a","data":1}"#, 400, "bad_request"),
        (r#"{"topic":7,"data":1}"#, 400, "bad_request"),
        (r#"{"messages":[]}"#, 400, "bad_request"),
        (r#"{"messages":{}}"#, 400, "bad_request"),
        (r#"{"messages":[{"topic":"a","data":1}],"topic":"a"}"#, 400, "bad_request"),
        (r#"{"topic":"a b","data":1}"#, 400, "bad_topic"),
        (r#"{"topic":"a.*","data":1}"#, 400, "bad_topic"),
        (r#"{"topic":"a","data":1e400}"#, 400, "bad_data"),
        (r#"{"topic":"a","data":"\ud800"}"#, 400, "bad_data"),
        (r#"{"topic":"$a","data":1}"#, 403, "forbidden"),
    ] {
        request(&server, "POST", "/v1/publish", &[JSON], body.as_bytes()).expect_error(status, code);
    }
    request(&server, "POST", "/v1/publish", &[JSON], b"{\"topic\":\"a\",\"data\":\"\xFF\"}")
        .expect_error(400, "bad_request");
    // Nothing of it was published.
    assert_eq!(publish(&server, &json!({"topic": "a", "data": 1})).json()["offset"], 1);
}

#[test]
fn a_large_body_is_refused() {
    let server = Server::with(&[("limits.http_body_bytes", "1000")]);
    let body = json!({"topic": "a", "data": "x".repeat(2000)}).to_string();
    request(&server, "POST", "/v1/publish", &[JSON], body.as_bytes()).expect_error(413, "too_large");
    // In chunks nobody knows the length in advance.
    let mut raw = Raw::dial(&server);
    let head = "POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    raw.write(head.as_bytes());
    raw.try_write(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes());
    assert_eq!(raw.reply().status, 413);
}

#[test]
fn a_message_is_no_larger_over_http_than_over_a_websocket() {
    let server = Server::with(&[("limits.message_bytes", "5000")]);
    publish(&server, &json!({"topic": "a", "data": "x".repeat(6000)})).expect_error(413, "too_large");
    assert_eq!(publish(&server, &json!({"topic": "a", "data": "x".repeat(4000)})).status, 200);
}

#[test]
fn another_type_of_body_is_refused() {
    let server = Server::start();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "json",
        "",
    ] {
        let reply = request(&server, "POST", "/v1/publish", &[("Content-Type", kind)], br#"{"topic":"a","data":1}"#);
        reply.expect_error(415, "bad_request");
    }
    for kind in ["application/json; charset=utf-8", "Application/JSON"] {
        let reply = request(&server, "POST", "/v1/publish", &[("Content-Type", kind)], br#"{"topic":"a","data":1}"#);
        assert_eq!(reply.status, 200, "{kind}");
    }
}

#[test]
fn a_wrong_method_is_told_the_right_one() {
    let server = Server::start();
    for (method, target, allow) in [
        ("GET", "/v1/publish", "POST"),
        ("PUT", "/v1/publish", "POST"),
        ("DELETE", "/v1/publish", "POST"),
        ("POST", "/v1/topics", "GET"),
        ("POST", "/healthz", "GET"),
        ("DELETE", "/readyz", "GET"),
        ("POST", "/metrics", "GET"),
        ("POST", "/", "GET"),
    ] {
        let reply = request(&server, method, target, &[JSON], b"");
        reply.expect_error(405, reply.json()["error"]["code"].as_str().unwrap_or_default());
        let found = reply.header("allow").unwrap_or_default();
        assert!(found.split(", ").any(|method| method == allow), "{method} {target}: {found}");
    }
}

#[test]
fn unknown_paths_are_not_found() {
    let server = Server::start();
    for target in [
        "/nothing",
        "/v1",
        "/v1/",
        "/v1/publish/",
        "/v2/publish",
        "/ws/",
        "/assets/",
        "/assets/../Cargo.toml",
        "/assets/%2e%2e/x",
        "//",
    ] {
        let reply = get(&server, target);
        assert_eq!(reply.status, 404, "{target}");
        assert!(reply.json()["error"]["message"].is_string(), "{target}");
    }
}

#[test]
fn topics_are_listed_by_name() {
    let server = Server::start();
    let mut client = Client::json(&server);
    assert_eq!(get(&server, "/v1/topics").json(), json!({"topics": []}));
    for topic in ["b", "a.2", "a.10", "a", "c+d", "é"] {
        client.publish(topic, json!(1));
    }
    let epoch = client.subscribe("a.2");
    Client::json(&server).subscribe("z");
    let names = |target: &str| -> Vec<String> {
        let body = get(&server, target).json();
        let topics = body["topics"].as_array().expect("topics");
        topics.iter().map(|topic| topic["topic"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names("/v1/topics?prefix=a"), ["a", "a.10", "a.2"]);
    assert_eq!(names("/v1/topics?prefix=a.&limit=1"), ["a.10"]);
    assert_eq!(names("/v1/topics?limit=2&after=a.10"), ["a.2", "b"]);
    assert_eq!(names("/v1/topics?prefix=%C3%A9"), ["é"]);
    assert_eq!(names("/v1/topics?prefix=c%2B"), ["c+d"]);
    let listed = get(&server, "/v1/topics?prefix=a.2").json();
    assert_eq!(listed, json!({"topics": [{"topic": "a.2", "subscribers": 1, "epoch": epoch, "offset": 1}]}));
    for query in ["limit=0", "limit=1001", "limit=x", "limit=-1", "prefix=%FF"] {
        get(&server, &format!("/v1/topics?{query}")).expect_error(400, "bad_request");
    }
}

#[test]
fn a_listing_has_a_hundred_topics_unless_asked_for_others() {
    let server = Server::start();
    let mut client = Client::json(&server);
    let publishes: Vec<_> =
        (0..150).map(|number| json!({"type": "publish", "topic": format!("t{number}"), "data": 1})).collect();
    client.send(json!(publishes));
    client.expect_quiet();
    let count = |target: &str| get(&server, target).json()["topics"].as_array().map(Vec::len);
    assert_eq!(count("/v1/topics"), Some(100));
    assert_eq!(count("/v1/topics?limit=1000"), Some(150));
}

#[test]
fn the_probes_answer() {
    let server = Server::start();
    for target in ["/healthz", "/readyz"] {
        assert_eq!(get(&server, target).status, 200, "{target}");
        let head = request(&server, "HEAD", target, &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0), "{target}");
    }
}

#[test]
fn the_page_stands_at_the_root() {
    let server = Server::start();
    let reply = get(&server, "/");
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(reply.header("content-security-policy").is_some());
    let named: Vec<&str> = reply.text().split("=\"assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        let file = get(&server, &format!("/assets/{name}"));
        assert_eq!(file.status, 200, "{name}");
        // The browser has it now.
        let tag = file.header("etag").expect("a tag");
        let again = request(&server, "GET", &format!("/assets/{name}"), &[("If-None-Match", tag)], b"");
        assert_eq!((again.status, again.body.len()), (304, 0), "{name}");
    }
}

#[test]
fn every_metric_begins_with_the_name_of_the_server() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.subscribe("secret.topic");
    client.publish("secret.topic", json!(1));
    let reply = get(&server, "/metrics");
    assert_eq!(reply.status, 200);
    let samples: Vec<_> = reply.text().lines().filter(|line| !line.starts_with('#')).collect();
    assert!(samples.len() > 5, "{samples:?}");
    for sample in &samples {
        assert!(sample.starts_with("fanfare_"), "{sample}");
    }
    assert!(!reply.text().contains("secret"), "names that clients choose stay out");
    let value = |name: &str| samples.iter().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    assert_eq!(value("fanfare_connections "), Some(1));
    assert_eq!(value("fanfare_published_total "), Some(1));
}

#[test]
fn a_body_that_stalls_does_not_hold_a_connection_for_ever() {
    let server = Server::with(&[("limits.header_ms", "300")]);
    let mut raw = Raw::dial(&server);
    let head = "POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    raw.stream().write_all(head.as_bytes()).expect("the server takes a head");
    let rest = raw.expect_end();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn a_connection_takes_one_request_after_another() {
    let server = Server::start();
    let mut raw = Raw::dial(&server);
    // Pipelined, as the standard allows.
    raw.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(3).as_bytes());
    for _ in 0..3 {
        let reply = raw.reply();
        assert_eq!(reply.status, 200);
        let length: usize = reply.header("content-length").and_then(|length| length.parse().ok()).expect("a length");
        let mut body = vec![0; length];
        std::io::Read::read_exact(raw.stream(), &mut body).expect("a body");
    }
}

#[test]
fn a_repeated_publish_is_delivered_once_whoever_repeats_it() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.subscribe("a");
    let body = json!({"topic": "a", "data": "once", "idempotency_key": "k1"});
    let first = publish(&server, &body).json();
    assert_eq!(publish(&server, &body).json(), first);
    client.send(json!({"type": "publish", "id": 1, "topic": "a", "data": "once", "idempotency_key": "k1"}));
    assert_eq!(client.recv()["data"], "once");
    let published = client.recv();
    assert_eq!((&published["type"], &published["offset"]), (&json!("published"), &first["offset"]));
    let batch = json!({"messages": [body, {"topic": "a", "data": "twice", "idempotency_key": "k2"}, body]});
    let results = publish(&server, &batch).json();
    let offsets: Vec<_> =
        results["results"].as_array().expect("a list").iter().map(|result| result["offset"].clone()).collect();
    assert_eq!(offsets, [json!(1), json!(2), json!(1)]);
    assert_eq!(client.recv()["data"], "twice");
    client.expect_quiet();
}

#[test]
fn repeated_publishes_are_known_for_as_long_as_is_set() {
    let server = Server::with(&[("limits.idempotency_keys", "1")]);
    let offset =
        |key| publish(&server, &json!({"topic": "a", "data": 1, "idempotency_key": key})).json()["offset"].clone();
    assert_eq!([offset("x"), offset("x"), offset("y"), offset("x")], [json!(1), json!(1), json!(2), json!(3)]);
}
