//! History and recovery: `since`, `last`, `history`, over both encodings and HTTP.

use serde_json::{Value, json};

use crate::client::{Client, Encoding};
use crate::http::{get, publish, request};
use crate::server::Server;

/// A server to whose topic `count` messages have been published; and the topic's epoch.
fn published(settings: &[(&str, &str)], topic: &str, count: u64) -> (Server, String) {
    let server = Server::with(settings);
    let mut epoch = String::new();
    for number in 1..=count {
        let placed = publish(&server, &json!({"topic": topic, "data": number})).json();
        assert_eq!(placed["offset"], number);
        epoch = placed["epoch"].as_str().expect("an epoch").to_owned();
    }
    (server, epoch)
}

#[track_caller]
fn expect_messages(client: &mut Client, topic: &str, offsets: impl IntoIterator<Item = u64>) {
    for offset in offsets {
        let message = client.recv();
        assert_eq!((&message["type"], &message["topic"]), (&json!("message"), &json!(topic)), "{message}");
        assert_eq!((&message["offset"], &message["data"]), (&json!(offset), &json!(offset)));
    }
}

#[test]
fn what_was_missed_follows_the_answer_and_then_what_is_published() {
    let (server, epoch) = published(&[], "a", 10);
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let mut client = Client::connect(&server, encoding);
        client.send(json!({"type": "subscribe", "id": 1, "topic": "a", "since": {"epoch": epoch, "offset": 4}}));
        let subscribed = client.recv();
        assert_eq!(
            subscribed,
            json!({"type": "subscribed", "id": 1, "topic": "a", "epoch": epoch, "offset": 4, "recovered": true})
        );
        expect_messages(&mut client, "a", 5..=10);
    }
    let mut client = Client::json(&server);
    client.send(json!({"type": "subscribe", "id": 1, "topic": "a", "since": {"epoch": epoch, "offset": 10}}));
    assert_eq!(client.recv()["recovered"], true);
    publish(&server, &json!({"topic": "a", "data": 11}));
    expect_messages(&mut client, "a", [11]);
}

#[test]
fn each_topic_of_a_list_has_its_own_position() {
    let (server, epoch) = published(&[], "a", 3);
    let mut client = Client::json(&server);
    let since = json!({"epoch": epoch, "offset": 1});
    client.send(json!({"type": "subscribe", "id": 1, "topics": [{"topic": "a", "since": since}, "b", {"topic": "c", "since": since}]}));
    let mut answers: Vec<Value> = Vec::new();
    while answers.len() < 5 {
        answers.push(client.recv());
    }
    let of = |kind: &str, topic: &str| -> Vec<&Value> {
        answers.iter().filter(|event| event["type"] == kind && event["topic"] == topic).collect()
    };
    assert_eq!(of("subscribed", "a")[0]["recovered"], true);
    assert_eq!(of("message", "a").len(), 2);
    assert_eq!(of("subscribed", "b")[0].get("recovered"), None);
    let c = of("subscribed", "c")[0];
    assert_eq!((&c["recovered"], &c["reason"], &c["offset"]), (&json!(false), &json!("epoch"), &json!(0)));
}

#[test]
fn what_is_no_longer_held_is_said_and_nothing_is_replayed() {
    let (server, epoch) = published(&[("history.entries", "3")], "a", 10);
    let mut client = Client::json(&server);
    for (since, reason) in [
        (json!({"epoch": epoch, "offset": 5}), "expired"),
        (json!({"epoch": epoch, "offset": 11}), "future"),
        (json!({"epoch": "0", "offset": 9}), "epoch"),
        (json!({"epoch": "not an epoch", "offset": 9}), "epoch"),
    ] {
        client.send(json!({"type": "subscribe", "id": 1, "topic": "a", "since": since}));
        let answer = client.recv();
        assert_eq!(
            (&answer["recovered"], &answer["reason"], &answer["offset"]),
            (&json!(false), &json!(reason), &json!(10))
        );
    }
    publish(&server, &json!({"topic": "a", "data": 11}));
    expect_messages(&mut client, "a", [11]);
}

#[test]
fn the_newest_can_be_asked_for() {
    let (server, _) = published(&[], "a", 10);
    let mut client = Client::json(&server);
    client.send(json!({"type": "subscribe", "id": 1, "topic": "a", "last": 3}));
    let subscribed = client.recv();
    assert_eq!((&subscribed["offset"], subscribed.get("recovered")), (&json!(7), None));
    expect_messages(&mut client, "a", 8..=10);
}

#[test]
fn a_position_needs_a_name_and_one_of_the_two() {
    let server = Server::start();
    let mut client = Client::json(&server);
    let since = json!({"epoch": "1f", "offset": 1});
    for command in [
        json!({"type": "subscribe", "id": 1, "topic": "a.*", "since": since}),
        json!({"type": "subscribe", "id": 1, "topic": "a.*", "last": 1}),
        json!({"type": "subscribe", "id": 1, "topic": "a", "last": 1, "since": since}),
        json!({"type": "subscribe", "id": 1, "topics": ["a"], "since": since}),
        json!({"type": "subscribe", "id": 1, "topic": "a", "since": {"epoch": "1f", "offset": -1}}),
        json!({"type": "subscribe", "id": 1, "topic": "a", "since": {"epoch": "1f", "offset": "4"}}),
        json!({"type": "subscribe", "id": 1, "topic": "a", "since": 4}),
        json!({"type": "subscribe", "id": 1, "topic": "a", "last": -4}),
        json!({"type": "history", "id": 1, "topic": "a.*"}),
        json!({"type": "history", "id": 1, "topic": "a", "limit": 1001}),
        json!({"type": "history", "id": 1, "topic": "a", "since": {"offset": 1}}),
    ] {
        client.send(command.clone());
        let error = client.recv();
        let expected =
            if command["topic"] == "a.*" && command["type"] == "history" { "bad_topic" } else { "bad_request" };
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(expected)), "{command}: {error}");
    }
}

#[test]
fn history_gives_the_newest_or_the_first_after_a_position() {
    let (server, epoch) = published(&[], "a", 10);
    let messages = |offsets: std::ops::RangeInclusive<u64>| -> Value {
        offsets.map(|offset| json!({"offset": offset, "data": offset})).collect()
    };
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let mut client = Client::connect(&server, encoding);
        client.send(json!({"type": "history", "id": 6, "topic": "a", "limit": 3}));
        assert_eq!(
            client.recv(),
            json!({"type": "history", "id": 6, "topic": "a", "epoch": epoch, "offset": 10, "messages": messages(8..=10), "more": true})
        );
        client.send(json!({"type": "history", "id": 7, "topic": "a", "since": {"epoch": epoch, "offset": 6}}));
        assert_eq!(
            client.recv(),
            json!({"type": "history", "id": 7, "topic": "a", "epoch": epoch, "offset": 10, "recovered": true, "messages": messages(7..=10)})
        );
        client.send(
            json!({"type": "history", "id": 8, "topic": "a", "since": {"epoch": epoch, "offset": 2}, "limit": 2}),
        );
        let history = client.recv();
        assert_eq!((&history["messages"], &history["more"]), (&messages(3..=4), &json!(true)));
    }
}

#[test]
fn history_over_http_is_the_same_event() {
    let (server, epoch) = published(&[("history.entries", "5")], "prices.\u{20ac}", 8);
    let path = "/v1/topics/prices.%E2%82%AC/history";
    let reply = get(&server, path);
    assert_eq!(reply.status, 200);
    let history = reply.json();
    assert_eq!(
        (&history["type"], &history["topic"], &history["offset"]),
        (&json!("history"), &json!("prices.\u{20ac}"), &json!(8))
    );
    assert_eq!(history["messages"].as_array().map(Vec::len), Some(5));
    let history = get(&server, &format!("{path}?epoch={epoch}&offset=6&limit=1")).json();
    assert_eq!(
        (&history["messages"], &history["recovered"], &history["more"]),
        (&json!([{"offset": 7, "data": 7}]), &json!(true), &json!(true))
    );
    let history = get(&server, &format!("{path}?epoch={epoch}&offset=1")).json();
    assert_eq!(
        (&history["recovered"], &history["reason"], &history["messages"]),
        (&json!(false), &json!("expired"), &json!([]))
    );
    let all = get(&server, &format!("{path}?epoch=&offset=&limit=")).json();
    assert_eq!((all["messages"].as_array().map(Vec::len), all.get("recovered")), (Some(5), None));
    for wrong in ["?limit=1001", "?limit=x", "?offset=4", "?epoch=1f", "?epoch=1f&offset=-1"] {
        get(&server, &format!("{path}{wrong}")).expect_error(400, "bad_request");
    }
    get(&server, "/v1/topics/a..b/history").expect_error(400, "bad_topic");
    get(&server, "/v1/topics/a.*/history").expect_error(400, "bad_topic");
    assert_eq!(request(&server, "POST", path, &[], b"").status, 405);
}

#[test]
fn a_client_that_comes_back_again_and_again_misses_nothing() {
    let server = Server::start();
    let mut publisher = Client::json(&server);
    let (mut since, mut seen) = (None, 0);
    for round in 0..20_u64 {
        for number in 1..=5 {
            publisher.send(json!({"type": "publish", "id": number, "topic": "a", "data": round * 5 + number}));
            assert_eq!(publisher.recv()["type"], "published");
        }
        let mut client = Client::json(&server);
        client.send(match &since {
            None => json!({"type": "subscribe", "id": 1, "topic": "a", "last": 100}),
            Some(since) => json!({"type": "subscribe", "id": 1, "topic": "a", "since": since}),
        });
        let subscribed = client.recv();
        expect_messages(&mut client, "a", seen + 1..=(round + 1) * 5);
        seen = (round + 1) * 5;
        since = Some(json!({"epoch": subscribed["epoch"], "offset": seen}));
    }
}

#[test]
fn histories_age_where_nobody_is_connected() {
    let (server, _) = published(&[("history.age_ms", "50")], "a", 3);
    let deadline = std::time::Instant::now() + crate::PATIENCE;
    while get(&server, "/v1/topics/a/history").json()["messages"] != json!([]) {
        assert!(std::time::Instant::now() < deadline, "what has aged is still there");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
