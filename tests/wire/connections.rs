//! Who is connected, for operators (the contract's section 8).

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::PATIENCE;
use crate::client::Client;
use crate::http::get;
use crate::server::Server;

fn list(server: &Server, query: &str) -> Vec<Value> {
    let answer = get(server, &format!("/v1/connections{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["connections"].as_array().expect("a list").clone()
}

fn names(list: &[Value]) -> Vec<Value> {
    list.iter().map(|line| line["connection"].clone()).collect()
}

#[test]
fn each_connection_is_listed_with_what_it_does() {
    let server = Server::start();
    assert_eq!(get(&server, "/v1/connections").json(), json!({"total": 0, "connections": []}));
    let mut first = Client::json(&server);
    let second = Client::json(&server);
    first.subscribe("a");
    first.subscribe("b.*");
    let mut listed = list(&server, "");
    assert!(listed.is_sorted_by_key(|line| line["since"].as_u64()), "{listed:?}");
    // Those of the same millisecond are in any order.
    listed.sort_by_key(|line| line["connection"] != first.welcome["connection"]);
    assert_eq!(names(&listed), [&first, &second].map(|client| client.welcome["connection"].clone()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    let since = listed[0]["since"].as_u64().expect("a time");
    assert!(since <= now && now - since < PATIENCE.as_millis() as u64, "{since}");
    let rest = json!({"address": "127.0.0.1", "subscriptions": 2, "backlog_bytes": 0, "gaps": 0});
    for (name, value) in rest.as_object().expect("a map") {
        assert_eq!(&listed[0][name], value, "{name}");
    }
    assert!(listed[0].get("subject").is_none(), "nobody has proven to be somebody");
    assert_eq!(names(&list(&server, "?limit=1&sort=subscriptions")), [first.welcome["connection"].clone()]);
    assert_eq!(get(&server, "/v1/connections?limit=1").json()["total"], 2);

    drop(second);
    let deadline = Instant::now() + PATIENCE;
    while list(&server, "").len() > 1 {
        assert!(Instant::now() < deadline, "who has gone stays listed");
    }
}

#[test]
fn the_slowest_come_first_when_they_are_asked_for() {
    let server = Server::with(&[("history.entries", "64"), ("history.bytes", "4000000")]);
    let mut fast = Client::json(&server);
    let mut slow = Client::json(&server);
    fast.subscribe("a");
    slow.subscribe("a");
    // More than both kernels buffer, and more than is held.
    let data = "x".repeat(10_000);
    for number in 1..=2_000_u64 {
        fast.send(json!({"type": "publish", "topic": "a", "data": data}));
        assert_eq!(fast.recv()["offset"], number);
    }
    let listed = list(&server, "?sort=backlog");
    assert_eq!(names(&listed), [&slow, &fast].map(|client| client.welcome["connection"].clone()));
    // 64 messages are held, of something more than 10,000 bytes each; the rest will be a gap.
    let backlog = listed[0]["backlog_bytes"].as_u64().expect("a number");
    assert!((600_000..800_000).contains(&backlog), "{backlog}");
    assert_eq!((&listed[0]["gaps"], &listed[1]["backlog_bytes"]), (&json!(0), &json!(0)));

    while slow.recv()["type"] != "gap" {}
    let listed = list(&server, "?sort=gaps");
    assert_eq!((&listed[0]["connection"], &listed[0]["gaps"]), (&slow.welcome["connection"], &json!(1)));
}

#[test]
fn what_cannot_be_listed_is_a_bad_request() {
    let server = Server::start();
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?sort=name", "?sort="] {
        get(&server, &format!("/v1/connections{query}")).expect_error(400, "bad_request");
    }
}
