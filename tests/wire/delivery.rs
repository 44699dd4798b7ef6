//! What reaches whom, in which order (the contract's sections 4 and 5).

use std::thread;

use serde_json::{Value, json};

use crate::client::{ANY, Client};
use crate::server::Server;

#[test]
fn a_message_comes_once_however_many_subscriptions_match() {
    let server = Server::start();
    let mut client = Client::json(&server);
    for filter in ["a.b", "a.*", "a.>", "*.b", ">"] {
        client.subscribe(filter);
    }
    client.send(json!({"type": "publish", "topic": "a.b", "data": 1}));
    client.expect(json!({"type": "message", "topic": "a.b", "epoch": ANY, "offset": 1, "data": 1}));
    client.send(json!({"type": "publish", "topic": "a.b", "data": 2}));
    client.expect(json!({"type": "message", "topic": "a.b", "offset": 2, "data": 2}));

    // The last subscription that matches keeps the topic coming.
    let but_one = ["a.b", "a.*", ">", "*.b"];
    client.send(json!({"type": "unsubscribe", "topics": but_one}));
    client.send(json!({"type": "publish", "topic": "a.b", "data": 3}));
    client.expect(json!({"type": "message", "topic": "a.b", "offset": 3, "data": 3}));
    client.send(json!({"type": "unsubscribe", "id": 1, "topic": "a.>"}));
    client.expect(json!({"type": "unsubscribed", "id": 1, "topic": "a.>"}));
    client.publish("a.b", json!(4));
    client.expect_quiet();
}

#[test]
fn patterns_match_by_segments() {
    let server = Server::start();
    let mut publisher = Client::json(&server);
    let table: &[(&str, &[&str], &[&str])] = &[
        ("a.*", &["a.b", "a.$c"], &["a", "a.b.c", "b.a", "ab"]),
        ("*", &["a", "ä"], &["a.b"]),
        (">", &["a", "a.b", "a.b.c"], &[]),
        ("a.>", &["a.b", "a.b.c"], &["a", "ab.c"]),
        ("*.b.>", &["a.b.c", "x.b.c.d"], &["a.b", "b.c"]),
        ("a.*.c", &["a.b.c"], &["a.c", "a.b.b.c", "a.b.d"]),
    ];
    for (pattern, matching, others) in table {
        let mut client = Client::json(&server);
        client.send(json!({"type": "subscribe", "id": 1, "topic": pattern}));
        client.expect(json!({"type": "subscribed", "id": 1, "topic": pattern}));
        for topic in *others {
            publisher.publish(topic, json!("other"));
        }
        for topic in *matching {
            let offset = publisher.publish(topic, json!("matching"));
            let event = client.recv();
            assert_eq!((&event["topic"], &event["offset"]), (&json!(topic), &json!(offset)), "{pattern}: {event}");
        }
        client.expect_quiet();
    }
}

#[test]
fn a_pattern_takes_topics_as_they_are_born_and_as_they_stand() {
    let server = Server::start();
    let mut publisher = Client::json(&server);
    publisher.publish("old.a", json!("before"));
    let mut client = Client::json(&server);
    client.subscribe("old.*");
    client.subscribe("new.*");
    assert_eq!(publisher.publish("old.a", json!("after")), 2);
    client.expect(json!({"type": "message", "topic": "old.a", "offset": 2, "data": "after"}));
    publisher.publish("new.a", json!(1));
    client.expect(json!({"type": "message", "topic": "new.a", "epoch": ANY, "offset": 1, "data": 1}));
}

#[test]
fn wildcards_do_not_reach_the_server_s_own_topics() {
    let server = Server::start();
    let mut everything = Client::json(&server);
    everything.subscribe(">");
    everything.subscribe("*");
    let mut own = Client::json(&server);
    own.subscribe("$stats");
    // Two of them, so that one is published while all are subscribed.
    for _ in 0..2 {
        let event = own.recv();
        assert_eq!((&event["type"], &event["topic"]), (&json!("message"), &json!("$stats")));
        assert!(event["data"].is_object(), "{event}");
    }
    everything.expect_quiet();
}

#[test]
fn only_the_server_publishes_under_its_own_names() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.subscribe("$stats");
    for topic in ["$stats", "$", "$other", "$a.b"] {
        client.send(json!({"type": "publish", "id": 1, "topic": topic, "data": 1}));
        loop {
            let event = client.recv();
            if event["type"] == "error" {
                assert_eq!(
                    (&event["code"], &event["topic"], &event["id"]),
                    (&json!("forbidden"), &json!(topic), &json!(1))
                );
                break;
            }
            assert_eq!(event["topic"], "$stats");
        }
    }
    // Only at the beginning does it mean anything.
    assert_eq!(Client::json(&server).publish("a.$b", json!(1)), 1);
}

#[test]
fn names_are_compared_by_bytes() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.subscribe("caf\u{e9}");
    assert_eq!(client.publish("cafe\u{301}", json!(1)), 1);
    assert_eq!(client.publish("CAF\u{c9}", json!(1)), 1);
    client.expect_quiet();
}

#[test]
fn replies_come_in_the_order_of_the_commands() {
    let server = Server::start();
    for mut client in [Client::json(&server), Client::msgpack(&server)] {
        let mut commands = Vec::new();
        for round in 0..100 {
            let topic = format!("order.{round}");
            commands.push(json!({"type": "subscribe", "id": 5 * round, "topic": topic}));
            commands.push(json!({"type": "ping", "id": 5 * round + 1}));
            commands.push(json!({"type": "subscribe", "id": 5 * round + 2, "topic": format!("order.*.{round}")}));
            commands.push(json!({"type": "unsubscribe", "id": 5 * round + 3, "topic": topic}));
            commands.push(json!({"type": "nonsense", "id": 5 * round + 4}));
        }
        let (batch, single) = commands.split_at(250);
        client.send(json!(batch));
        for command in single {
            client.send(command.clone());
        }
        for id in 0..500 {
            let event = client.recv();
            assert_eq!(event["id"], id, "{event}");
        }
    }
}

#[test]
fn subscribed_comes_before_the_first_message_and_nothing_after_unsubscribed() {
    let server = Server::start();
    let mut publisher = Client::json(&server);
    let mut client = Client::json(&server);
    for round in 0..200 {
        // A batch, so that all of it is under way at once.
        publisher.send(json!(vec![json!({"type": "publish", "topic": "busy", "data": round}); 5]));
        client.send(json!([
            {"type": "subscribe", "id": "in", "topic": "busy"},
            {"type": "publish", "topic": "busy", "data": "own"},
            {"type": "unsubscribe", "id": "out", "topic": "busy"},
            {"type": "ping", "id": "end"},
        ]));
        let subscribed = client.recv();
        assert_eq!(subscribed["id"], "in", "{subscribed}");
        let mut at = subscribed["offset"].as_u64().expect("an offset");
        loop {
            let event = client.recv();
            if event["id"] == "out" {
                break;
            }
            at += 1;
            assert_eq!((&event["type"], &event["offset"]), (&json!("message"), &json!(at)), "{event}");
        }
        client.expect(json!({"type": "pong", "id": "end"}));
    }
}

#[test]
fn everybody_sees_all_messages_of_several_publishers_in_one_order() {
    const EACH: u64 = 500;
    let server = Server::with(&[("history.entries", "2000"), ("history.bytes", "4000000")]);
    let mut subscribers = [Client::json(&server), Client::msgpack(&server), Client::json(&server)];
    for subscriber in &mut subscribers {
        subscriber.subscribe("crowd");
    }
    let seen: Vec<Vec<Value>> = thread::scope(|scope| {
        for name in ["x", "y", "z"] {
            let server = &server;
            scope.spawn(move || {
                let mut publisher = Client::json(server);
                for number in 0..EACH {
                    publisher.send(json!({"type": "publish", "topic": "crowd", "data": [name, number]}));
                }
                publisher.expect_quiet();
            });
        }
        let readers = subscribers.map(|mut subscriber| {
            scope.spawn(move || {
                let read = |number| {
                    let event = subscriber.recv();
                    assert_eq!((&event["type"], &event["offset"]), (&json!("message"), &json!(number)), "{event}");
                    event["data"].clone()
                };
                (1..=3 * EACH).map(read).collect()
            })
        });
        readers.into_iter().map(|reader| reader.join().expect("a subscriber reads all")).collect()
    });
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    for name in ["x", "y", "z"] {
        let numbers: Vec<_> = seen[0].iter().filter(|data| data[0] == name).map(|data| data[1].as_u64()).collect();
        assert_eq!(numbers, (0..EACH).map(Some).collect::<Vec<_>>(), "the order of {name}");
    }
}
