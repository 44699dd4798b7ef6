//! Commands and their replies (the contract's sections 3 and 4), where nothing is wrong with them.

use serde_json::{Value, json};

use crate::client::{ANY, Client};
use crate::http::publish;
use crate::server::Server;

#[test]
fn welcome_says_what_a_client_has_to_know() {
    let server = Server::with(&[("keep_alive.heartbeat_ms", "12000"), ("limits.message_bytes", "5000")]);
    let client = Client::json(&server);
    let other = Client::msgpack(&server);
    let welcome = &client.welcome;
    assert_eq!(welcome["protocol"], 1);
    assert_eq!(welcome["heartbeat_ms"], 12_000);
    assert_eq!(welcome["max_message_bytes"], 5_000);
    assert_ne!(welcome["connection"], other.welcome["connection"]);
    assert_ne!(welcome["resume"], other.welcome["resume"]);
    // 128 bits take 25 digits in base 36; now and then one less.
    assert!(welcome["resume"].as_str().is_some_and(|secret| secret.len() >= 20), "{welcome}");
    assert!(welcome["connection"].as_str().is_some_and(|id| !id.is_empty()), "{welcome}");
}

#[test]
fn a_message_goes_from_publisher_to_subscriber() {
    let server = Server::start();
    let (mut ana, mut bob) = (Client::json(&server), Client::json(&server));
    ana.send(json!({"type": "subscribe", "id": 1, "topic": "prices.btc"}));
    let subscribed =
        ana.expect(json!({"type": "subscribed", "id": 1, "topic": "prices.btc", "epoch": ANY, "offset": 0}));
    let epoch = &subscribed["epoch"];

    bob.send(json!({"type": "publish", "id": "p", "topic": "prices.btc", "data": {"bid": 1.5}}));
    bob.expect(json!({"type": "published", "id": "p", "topic": "prices.btc", "epoch": epoch, "offset": 1}));
    // The first message of a numbering names it.
    ana.expect(json!({"type": "message", "topic": "prices.btc", "epoch": epoch, "offset": 1, "data": {"bid": 1.5}}));

    assert_eq!(bob.publish("prices.btc", json!(null)), 2);
    ana.expect(json!({"type": "message", "topic": "prices.btc", "offset": 2, "data": null}));
    bob.expect_quiet();
}

#[test]
fn subscribed_says_where_the_topic_stands() {
    let server = Server::start();
    let mut client = Client::json(&server);
    for number in 1..=3 {
        assert_eq!(client.publish("a", json!(number)), number);
    }
    client.send(json!({"type": "subscribe", "id": 1, "topic": "a"}));
    client.expect(json!({"type": "subscribed", "id": 1, "topic": "a", "epoch": ANY, "offset": 3}));
    client.send(json!({"type": "publish", "topic": "a", "data": 4}));
    client.expect(json!({"type": "message", "topic": "a", "offset": 4, "data": 4}));
}

#[test]
fn ids_are_integers_or_strings_and_come_back_as_they_are() {
    let server = Server::start();
    for mut client in [Client::json(&server), Client::msgpack(&server)] {
        let longest = "é".repeat(32);
        for id in [
            json!(0),
            json!(1),
            json!(255),
            json!(70_000),
            json!((1_u64 << 53) - 1),
            json!(""),
            json!("a\"\\\n\u{1F600}"),
            json!(longest),
        ] {
            client.send(json!({"type": "ping", "id": id}));
            client.expect(json!({"type": "pong", "id": id}));
        }
    }
}

#[test]
fn what_succeeds_without_an_id_is_answered_only_where_it_must_be() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.send(json!({"type": "ping"}));
    client.expect(json!({"type": "pong"}));
    client.send(json!({"type": "subscribe", "topic": "a"}));
    client.expect(json!({"type": "subscribed", "topic": "a", "epoch": ANY, "offset": 0}));
    client.send(json!({"type": "unsubscribe", "topic": "a"}));
    client.send(json!({"type": "publish", "topic": "a", "data": 1}));
    client.expect_quiet();
}

#[test]
fn unknown_fields_are_ignored() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.send(json!({"type": "ping", "id": 1, "colour": {"deep": [1, 2, {}]}, "types": 3, "": null}));
    client.expect(json!({"type": "pong", "id": 1}));
}

#[test]
fn a_batch_is_answered_command_by_command() {
    let server = Server::start();
    for mut client in [Client::json(&server), Client::msgpack(&server)] {
        client.send(json!([
            {"type": "ping", "id": 1},
            {"type": "publish", "id": 2, "topic": "batch", "data": 1},
            {"type": "nonsense", "id": 3},
            {"type": "ping"},
            {"type": "unsubscribe", "id": "4", "topic": "batch"},
            {"type": "publish", "topic": "batch", "data": 2},
            {"type": "ping", "id": 5},
        ]));
        client.expect(json!({"type": "pong", "id": 1}));
        assert_eq!(client.recv()["type"], "published");
        client.expect(json!({"type": "error", "id": 3, "code": "unknown_type"}));
        client.expect(json!({"type": "pong"}));
        client.expect(json!({"type": "error", "id": "4", "topic": "batch", "code": "not_subscribed"}));
        client.expect(json!({"type": "pong", "id": 5}));
    }
}

#[test]
fn an_error_in_a_batch_has_an_index_if_it_has_no_id() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.send(json!([
        {"type": "ping", "id": 0},
        {"type": "nonsense"},
        {"type": "nonsense", "id": 2},
        7,
        {"type": "publish", "topic": "a..b", "data": 1},
        {"type": "subscribe", "topics": ["ok", "a b"]},
        {"type": "unsubscribe", "topic": "never"},
    ]));
    client.expect(json!({"type": "pong", "id": 0}));
    client.expect(json!({"type": "error", "index": 1, "code": "unknown_type"}));
    client.expect(json!({"type": "error", "id": 2, "code": "unknown_type"}));
    client.expect(json!({"type": "error", "index": 3, "code": "bad_request"}));
    client.expect(json!({"type": "error", "index": 4, "topic": "a..b", "code": "bad_topic"}));
    client.expect(json!({"type": "subscribed", "topic": "ok", "epoch": ANY, "offset": 0}));
    client.expect(json!({"type": "error", "index": 5, "topic": "a b", "code": "bad_topic"}));
    client.expect(json!({"type": "error", "index": 6, "topic": "never", "code": "not_subscribed"}));
    // Outside a batch there is no place to name.
    client.send(json!({"type": "nonsense"}));
    client.expect(json!({"type": "error", "code": "unknown_type"}));
}

#[test]
fn each_topic_of_a_list_is_answered_on_its_own_and_in_order() {
    let server = Server::start();
    for mut client in [Client::json(&server), Client::msgpack(&server)] {
        client.send(json!({"type": "subscribe", "id": 9, "topics": ["a", "b.*", {"topic": "c"}, "", "d.>"]}));
        client.expect(json!({"type": "subscribed", "id": 9, "topic": "a", "epoch": ANY, "offset": 0}));
        client.expect(json!({"type": "subscribed", "id": 9, "topic": "b.*"}));
        client.expect(json!({"type": "subscribed", "id": 9, "topic": "c", "epoch": ANY, "offset": 0}));
        client.expect(json!({"type": "error", "id": 9, "topic": "", "code": "bad_topic"}));
        client.expect(json!({"type": "subscribed", "id": 9, "topic": "d.>"}));

        client.send(json!({"type": "unsubscribe", "id": 10, "topics": ["d.>", "e", "a"]}));
        client.expect(json!({"type": "unsubscribed", "id": 10, "topic": "d.>"}));
        client.expect(json!({"type": "error", "id": 10, "topic": "e", "code": "not_subscribed"}));
        client.expect(json!({"type": "unsubscribed", "id": 10, "topic": "a"}));
    }
}

#[test]
fn a_publish_with_echo_false_does_not_come_back() {
    let server = Server::start();
    let (mut ana, mut bob) = (Client::json(&server), Client::msgpack(&server));
    let epoch = ana.subscribe("chat");
    bob.subscribe("chat");
    ana.send(json!({"type": "publish", "id": 1, "topic": "chat", "data": "mine", "echo": false}));
    ana.expect(json!({"type": "published", "id": 1, "topic": "chat", "epoch": epoch, "offset": 1}));
    bob.expect(json!({"type": "message", "topic": "chat", "epoch": epoch, "offset": 1, "data": "mine"}));
    // The next one shows that nothing came in between, and that no gap is reported for one's own.
    bob.send(json!({"type": "publish", "topic": "chat", "data": "other", "echo": true}));
    ana.expect(json!({"type": "message", "topic": "chat", "offset": 2, "data": "other"}));
    bob.expect(json!({"type": "message", "topic": "chat", "offset": 2, "data": "other"}));

    ana.send(json!({"type": "publish", "topic": "chat", "data": 1, "echo": false}));
    ana.expect(json!({"type": "error", "topic": "chat", "code": "bad_request"}));
    ana.expect_quiet();
}

#[test]
fn echo_false_holds_for_patterns_too() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.subscribe("chat.*");
    client.send(json!({"type": "publish", "id": 1, "topic": "chat.a", "data": "mine", "echo": false}));
    client.expect(json!({"type": "published", "id": 1, "topic": "chat.a", "epoch": ANY, "offset": 1}));
    client.send(json!({"type": "publish", "topic": "chat.a", "data": "loud"}));
    client.expect(json!({"type": "message", "topic": "chat.a", "offset": 2, "data": "loud"}));
}

#[test]
fn unsubscribing_takes_what_was_subscribed_by_its_exact_words() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.subscribe("a.*");
    client.subscribe("a.b");
    for topic in ["a.>", "a.c", "a", "*.b"] {
        client.send(json!({"type": "unsubscribe", "id": 1, "topic": topic}));
        client.expect(json!({"type": "error", "id": 1, "topic": topic, "code": "not_subscribed"}));
    }
    for topic in ["a.*", "a.b"] {
        client.send(json!({"type": "unsubscribe", "id": 1, "topic": topic}));
        client.expect(json!({"type": "unsubscribed", "id": 1, "topic": topic}));
        client.send(json!({"type": "unsubscribe", "id": 2, "topic": topic}));
        client.expect(json!({"type": "error", "id": 2, "topic": topic, "code": "not_subscribed"}));
    }
}

#[test]
fn subscribing_again_is_answered_and_changes_nothing() {
    let server = Server::start();
    let mut client = Client::json(&server);
    for topic in ["a", "a", "a"] {
        client.subscribe(topic);
    }
    client.subscribe("*");
    client.subscribe("*");
    client.send(json!({"type": "publish", "topic": "a", "data": 1}));
    client.expect(json!({"type": "message", "topic": "a", "epoch": ANY, "offset": 1, "data": 1}));
    // One unsubscribe undoes any number of subscribes.
    client.send(json!([{"type": "unsubscribe", "topic": "a"}, {"type": "unsubscribe", "topic": "*"}]));
    client.send(json!({"type": "publish", "topic": "a", "data": 2}));
    client.expect_quiet();
}

#[test]
fn subscriptions_are_bounded_per_connection() {
    let server = Server::with(&[("limits.subscriptions_per_connection", "3")]);
    let mut client = Client::json(&server);
    client.send(json!({"type": "subscribe", "id": 1, "topics": ["a", "b.*", "c", "d", "e.>"]}));
    for topic in ["a", "b.*", "c"] {
        let event = client.recv();
        assert_eq!((&event["type"], &event["topic"]), (&json!("subscribed"), &json!(topic)));
    }
    client.expect(json!({"type": "error", "id": 1, "topic": "d", "code": "too_many_subscriptions"}));
    client.expect(json!({"type": "error", "id": 1, "topic": "e.>", "code": "too_many_subscriptions"}));
    // What is there already needs no place, and another connection has places of its own.
    client.subscribe("a");
    Client::json(&server).subscribe("d");
    client.send(json!({"type": "unsubscribe", "id": 2, "topic": "b.*"}));
    client.expect(json!({"type": "unsubscribed", "id": 2, "topic": "b.*"}));
    client.subscribe("d");
}

#[test]
fn what_was_refused_leaves_no_topic_behind() {
    let server = Server::with(&[("limits.topics", "2")]);
    let mut client = Client::json(&server);
    client.publish("a", json!(1));
    client.subscribe("b");
    let overloaded = |event: Value| {
        assert_eq!(event["code"], "overloaded", "{event}");
        assert!(event["retry_after_ms"].as_u64().is_some(), "{event}");
    };
    client.send(json!({"type": "publish", "id": 1, "topic": "c", "data": 1}));
    overloaded(client.recv());
    client.send(json!({"type": "subscribe", "id": 1, "topic": "c"}));
    overloaded(client.recv());
    assert_eq!(client.publish("a", json!(2)), 2);
}

#[test]
fn since_and_last_are_refused_where_they_make_no_sense() {
    let server = Server::start();
    let mut client = Client::json(&server);
    let since = json!({"epoch": "1f9k3", "offset": 1});
    for command in [
        json!({"type": "subscribe", "id": 1, "topics": ["a"], "since": since}),
        json!({"type": "subscribe", "id": 1, "topics": ["a"], "last": 1}),
        json!({"type": "subscribe", "id": 1, "topic": "a", "last": 1, "since": since}),
        json!({"type": "subscribe", "id": 1, "topic": "a.*", "last": 1}),
        json!({"type": "subscribe", "id": 1, "topic": "a.*", "since": since}),
        json!({"type": "subscribe", "id": 1, "topics": [{"topic": "a.>", "last": 1}]}),
        json!({"type": "subscribe", "id": 1, "topic": "a", "topics": ["b"]}),
        json!({"type": "presence", "id": 1, "topic": "a.*"}),
    ] {
        client.send(command);
        client.expect_error("bad_request");
    }
}

#[test]
fn a_publish_says_how_many_it_is_for_when_it_is_asked() {
    let server = Server::with(&[("server.threads", "2")]);
    let mut clients: Vec<Client> = (0..5).map(|_| Client::json(&server)).collect();
    for client in &mut clients {
        client.subscribe("a.b");
    }
    clients[0].send(json!({"type": "subscribe", "id": 1, "topic": "a.*"}));
    assert_eq!(clients[0].recv()["type"], "subscribed");
    let mut publisher = Client::msgpack(&server);
    publisher.send(json!({"type": "publish", "id": 1, "topic": "a.b", "data": 1, "receivers": true}));
    publisher.expect(json!({"type": "published", "id": 1, "topic": "a.b", "epoch": ANY, "offset": 1, "receivers": 5}));
    // Whom it is left out for is no receiver.
    clients[0].send(json!({"type": "publish", "id": 2, "topic": "a.b", "data": 1, "receivers": true, "echo": false}));
    let published = std::iter::repeat_with(|| clients[0].recv()).find(|event| event["type"] == "published");
    assert_eq!(published.expect("an answer")["receivers"], 4);
    publisher.send(json!({"type": "publish", "topic": "a.b", "data": 1, "receivers": true}));
    publisher.expect_error("bad_request");
    publisher.send(json!({"type": "publish", "id": 3, "topic": "a.b", "data": 1, "receivers": 1}));
    publisher.expect_error("bad_request");

    let body = json!({"messages": [{"topic": "a.b", "data": 1, "receivers": true}, {"topic": "a.b", "data": 1},
                                   {"topic": "nobody", "data": 1, "receivers": true}]});
    let results = publish(&server, &body).json();
    assert_eq!((&results["results"][0]["receivers"], &results["results"][2]["receivers"]), (&json!(5), &json!(0)));
    assert!(results["results"][1].get("receivers").is_none());
}
