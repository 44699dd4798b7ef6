//! Commands that are wrong (the contract's section 7): each is answered, and the connection goes on until
//! there have been too many.

use serde_json::json;

use crate::client::Client;
use crate::http::publish;
use crate::server::Server;

#[test]
fn what_is_not_one_json_map_is_a_bad_request() {
    let server = Server::start();
    let mut client = Client::json(&server);
    let deep = "[".repeat(60_000);
    for text in [
        "",
        " ",
        "nonsense",
        "{",
        "}",
        r#"{"type":"ping""#,
        r#"{"type":"ping"}}"#,
        r#"{"type":"ping"} x"#,
        r#"{"type":"ping"}{"type":"ping"}"#,
        r#"{"type":"ping",}"#,
        r#"{"type":"ping" "id":1}"#,
        r#"{'type':'ping'}"#,
        r#"{type:"ping"}"#,
        r#"{"type":"ping","id":01}"#,
        r#"{"type":"ping","x":+1}"#,
        r#"{"type":"ping","x":.5}"#,
        r#"{"type":"ping","x":1.}"#,
        r#"{"type":"ping","x":NaN}"#,
        r#"{"type":"ping","x":Infinity}"#,
        r#"{"type":"ping","x":tru}"#,
        r#"{"type":"ping","x":"\x"}"#,
        r#"{"type":"ping","x":"\u12g4"}"#,
        "{\"type\":\"ping\",\"x\":\"a\nb\"}",
        "\u{feff}{\"type\":\"ping\"}",
        "/* hello */{\"type\":\"ping\"}",
        "null",
        "true",
        "1",
        r#""ping""#,
        "[]",
        r#"[{"type":"ping"},]"#,
        r#"[{"type":"ping"}"#,
        r#"[{"type":"ping"}]]"#,
        &deep,
    ] {
        client.text(text);
        let event = client.expect_error("bad_request");
        assert!(event["message"].as_str().is_some_and(|message| !message.is_empty()), "{event}");
        client.expect_quiet();
    }
}

#[test]
fn what_is_not_one_messagepack_map_is_a_bad_request() {
    let server = Server::start();
    let mut client = Client::msgpack(&server);
    let ping = rmp_serde::to_vec_named(&json!({"type": "ping"})).expect("a map");
    let deep = vec![0x91; 60_000];
    let trailing = [&ping[..], &[0xC0]].concat();
    let twice = ping.repeat(2);
    for bytes in [
        &[][..],
        &[0xC1],
        &[0xC0],
        &[0x01],
        &[0xA4, b'p', b'i', b'n', b'g'],
        &[0x80 | 5],
        &ping[..ping.len() - 1],
        &trailing,
        &twice,
        &[0x90],
        &[0x92, 0x80],
        // Lengths that nobody could have meant; nothing may be set aside for them.
        &[0xDD, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0xDF, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0xDB, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x81, 0xA4, b't', b'y', b'p', b'e', 0xC6, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x81, 0xA4, b't', b'y', b'p', b'e', 0xDB, 0xFF, 0xFF, 0xFF, 0xF0],
        &deep,
    ] {
        client.binary(bytes);
        client.expect_error("bad_request");
        client.expect_quiet();
    }
}

#[test]
fn an_envelope_of_the_wrong_form_is_a_bad_request() {
    let server = Server::start();
    let mut client = Client::json(&server);
    for (fields, id_comes_back) in [
        (r#""id":7"#, true),
        (r#""id":7,"type":1"#, true),
        (r#""id":7,"type":null"#, true),
        (r#""id":7,"type":["ping"]"#, true),
        (r#""id":7,"type":"ping","type":"ping""#, true),
        (r#""id":7,"type":"ping","id":7"#, false),
        (r#""id":7,"type":"ping","\u0074ype":"ping""#, true),
        (r#""id":-1,"type":"ping""#, false),
        (r#""id":1.5,"type":"ping""#, false),
        (r#""id":9007199254740992,"type":"ping""#, false),
        (r#""id":true,"type":"ping""#, false),
        (r#""id":{},"type":"ping""#, false),
        (r#""id":[7],"type":"ping""#, false),
        (r#""id":"0123456789012345678901234567890123456789012345678901234567890123x","type":"ping""#, false),
        (r#""id":7,"type":"publish","topic":"a""#, true),
        (r#""id":7,"type":"publish","data":1"#, true),
        (r#""id":7,"type":"publish","topic":1,"data":1"#, true),
        (r#""id":7,"type":"publish","topic":"a","data":1,"data":1"#, true),
        (r#""id":7,"type":"publish","topic":"a","topic":"a","data":1"#, true),
        (r#""id":7,"type":"publish","topic":"a","data":1,"echo":"no""#, true),
        (r#""id":7,"type":"publish","topic":"a","data":1,"key":5"#, true),
        (r#""id":7,"type":"publish","topic":"a","data":1,"receivers":1"#, true),
        (r#""id":7,"type":"subscribe","topic":"a","max_rate":0"#, true),
        (r#""id":7,"type":"subscribe","topic":"a","max_rate":1001"#, true),
        (r#""id":7,"type":"subscribe","topic":"a","max_rate":-1"#, true),
        (r#""id":7,"type":"subscribe","topic":"a","max_rate":1.5"#, true),
        (r#""id":7,"type":"subscribe""#, true),
        (r#""id":7,"type":"subscribe","topic":["a"]"#, true),
        (r#""id":7,"type":"subscribe","topic":"a","topics":["b"]"#, true),
        (r#""id":7,"type":"subscribe","topics":"a""#, true),
        (r#""id":7,"type":"subscribe","topics":{}"#, true),
        (r#""id":7,"type":"subscribe","topics":[1]"#, true),
        (r#""id":7,"type":"subscribe","topics":[{"since":1}]"#, true),
        (r#""id":7,"type":"subscribe","topics":[{"topic":"a","topic":"a"}]"#, true),
        (r#""id":7,"type":"subscribe","topic":"a","since":5"#, true),
        (r#""id":7,"type":"subscribe","topic":"a","since":{"epoch":"x"}"#, true),
        (r#""id":7,"type":"subscribe","topic":"a","since":{"epoch":1,"offset":1}"#, true),
        (r#""id":7,"type":"subscribe","topic":"a","last":-1"#, true),
        (r#""id":7,"type":"subscribe","topic":"a","last":"5""#, true),
        (r#""id":7,"type":"subscribe","topic":"a","presence":1"#, true),
        (r#""id":7,"type":"unsubscribe""#, true),
        (r#""id":7,"type":"unsubscribe","topics":[null]"#, true),
        (r#""id":7,"type":"presence""#, true),
        (r#""id":7,"type":"history""#, true),
        (r#""id":7,"type":"history","topic":"a","limit":"x""#, true),
        (r#""id":7,"type":"auth""#, true),
        (r#""id":7,"type":"resume","resume":1"#, true),
    ] {
        client.text(&format!("{{{fields}}}"));
        let event = client.expect_error("bad_request");
        assert_eq!(event["id"] == 7, id_comes_back, "{fields}: {event}");
        client.expect_quiet();
    }
}

#[test]
fn a_messagepack_envelope_has_keys_of_text_and_each_once() {
    let server = Server::start();
    let mut client = Client::msgpack(&server);
    let text = |text: &str| [&[0xA0 | text.len() as u8][..], text.as_bytes()].concat();
    let ping = [text("type"), text("ping")].concat();
    for (what, bytes) in [
        ("an integer as key", [&[0x82][..], &ping, &[1, 1]].concat()),
        ("a key twice", [&[0x82][..], &ping, &ping].concat()),
        ("the type as bytes", [&[0x81][..], &text("type"), &[0xC4, 4], b"ping"].concat()),
        ("a negative id", [&[0x82][..], &ping, &text("id"), &[0xFF]].concat()),
        ("a fraction as id", [&[0x82][..], &ping, &text("id"), &[0xCA, 0x3F, 0xC0, 0, 0]].concat()),
        ("an extension as id", [&[0x82][..], &ping, &text("id"), &[0xD4, 1, 1]].concat()),
    ] {
        client.binary(&bytes);
        let event = client.recv();
        assert_eq!(event["code"], "bad_request", "{what}: {event}");
        client.expect_quiet();
    }
}

#[test]
fn an_unknown_type_is_an_error_of_its_own() {
    let server = Server::start();
    for mut client in [Client::json(&server), Client::msgpack(&server)] {
        for kind in ["", "Ping", "ping ", "message", "subscribed", "welcome"] {
            client.send(json!({"type": kind, "id": 1}));
            client.expect(json!({"type": "error", "id": 1, "code": "unknown_type"}));
        }
    }
}

#[test]
fn every_rule_of_a_topic_s_grammar_is_held() {
    let server = Server::start();
    let mut client = Client::json(&server);
    let too_long = "x".repeat(256);
    let too_long_in_bytes = "é".repeat(128);
    let not_even_a_filter = [
        "",
        ".",
        "..",
        "a.",
        ".a",
        "a..b",
        "a b",
        " a",
        "a\t",
        "a\n",
        "\r",
        "a\u{0}",
        "a\u{1f}b",
        "a\u{7f}",
        "a\u{85}",
        "a\u{a0}b",
        "a\u{2003}b",
        "a\u{2028}",
        "a\u{3000}",
        &too_long,
        &too_long_in_bytes,
    ];
    for topic in not_even_a_filter {
        for kind in ["subscribe", "unsubscribe", "publish"] {
            client.send(json!({"type": kind, "id": 1, "topic": topic, "data": 1}));
            let event = client.expect_error("bad_topic");
            // As it was sent, except that nothing longer than a topic may be need come back.
            let sent = event["topic"].as_str().expect("the topic");
            assert!(sent == topic || (topic.len() > 255 && topic.starts_with(sent)), "{event}");
        }
    }
    for topic in ["*", ">", "a.*", "a.>", "a*", "a>b", "*.a"] {
        client.send(json!({"type": "publish", "id": 1, "topic": topic, "data": 1}));
        client.expect(json!({"type": "error", "id": 1, "topic": topic, "code": "bad_topic"}));
    }
    for pattern in ["a*", "*a", "a.b*", "a.*b.c", "**", "a>", ">.a", "a.>.b", ">>", "*>", "$*", "a..*", "*. "] {
        client.send(json!({"type": "subscribe", "id": 1, "topic": pattern}));
        client.expect(json!({"type": "error", "id": 1, "topic": pattern, "code": "bad_topic"}));
    }
}

#[test]
fn names_at_the_edge_of_the_grammar_are_good() {
    let server = Server::start();
    let mut client = Client::json(&server);
    for topic in
        ["a", "a.b.c", "é\u{200d}\u{1F600}", "a-b_c/d:e@f#g", "\"\\", "a.$b", "-", &"x".repeat(255), &"é".repeat(127)]
    {
        client.subscribe(topic);
        assert_eq!(Client::msgpack(&server).publish(topic, json!(1)), 1);
        assert_eq!(client.recv()["topic"], *topic);
    }
}

#[test]
fn one_malformed_command_more_than_are_borne_in_a_row_closes_the_connection() {
    let configured: [(&[(&str, &str)], usize); 2] = [(&[], 16), (&[("limits.malformed_in_a_row", "3")], 3)];
    for (settings, borne) in configured {
        let server = Server::with(settings);
        for mut client in [Client::json(&server), Client::msgpack(&server)] {
            // A well-formed command starts the count anew, as often as it comes.
            for _ in 0..3 {
                for _ in 0..borne {
                    client.text("nonsense");
                    client.expect_error("bad_request");
                }
                client.expect_quiet();
            }
            for _ in 0..borne {
                client.binary(b"\xC1");
                client.expect_error("bad_request");
            }
            // It is still there, which a ping of RFC 6455 shows without being a command.
            client.ping(b"there?");
            client.expect_pong(b"there?");
            client.text("nonsense");
            client.expect_error("bad_request");
            client.expect_goodbye(4400);
        }
    }
}

#[test]
fn each_malformed_command_of_a_batch_counts() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.send(json!(vec![7; 16]));
    for index in 0..16 {
        client.expect(json!({"type": "error", "index": index, "code": "bad_request"}));
    }
    client.expect_quiet();
    client.send(json!(vec![7; 20]));
    for index in 0..17 {
        client.expect(json!({"type": "error", "index": index, "code": "bad_request"}));
    }
    client.expect_goodbye(4400);
}

#[test]
fn errors_that_are_not_about_form_never_close_the_connection() {
    let server = Server::start();
    let mut client = Client::json(&server);
    for _ in 0..40 {
        client.send(json!({"type": "publish", "topic": "a..b", "data": 1}));
        client.expect_error("bad_topic");
        client.send(json!({"type": "unsubscribe", "topic": "never"}));
        client.expect_error("not_subscribed");
        client.text(r#"{"type":"publish","topic":"a","data":1e400}"#);
        client.expect_error("bad_data");
    }
    client.expect_quiet();
}

#[test]
fn a_batch_has_a_bounded_number_of_items() {
    let server = Server::with(&[("limits.batch_items", "5")]);
    let mut client = Client::json(&server);
    let pings = |count: usize| json!(vec![json!({"type": "ping"}); count]);
    client.send(pings(5));
    for _ in 0..5 {
        client.expect(json!({"type": "pong"}));
    }
    client.send(pings(6));
    client.expect_error("too_large");
    client.expect_quiet();
}

#[test]
fn a_key_has_at_most_256_bytes() {
    let server = Server::start();
    for mut client in [Client::json(&server), Client::msgpack(&server)] {
        for key in ["k".repeat(256), "é".repeat(128), String::new()] {
            client.send(json!({"type": "publish", "id": 1, "topic": "a", "data": 1, "key": key}));
            assert_eq!(client.recv()["type"], "published");
        }
        for key in ["k".repeat(257), "é".repeat(128) + "k", "k".repeat(20_000)] {
            client.send(json!({"type": "publish", "id": 2, "topic": "a", "data": 1, "key": key}));
            client.expect(json!({"type": "error", "id": 2, "topic": "a", "code": "too_large"}));
        }
        client.expect_quiet();
    }
    for (length, status) in [(256, 200), (257, 413)] {
        let reply = publish(&server, &json!({"topic": "a", "data": 1, "key": "k".repeat(length)}));
        assert_eq!(reply.status, status, "{length}");
    }
}

#[test]
fn a_member_has_at_most_1024_bytes_as_it_was_sent() {
    let server = Server::start();
    let mut client = Client::json(&server);
    // The quotes are sent as well.
    client.send(json!({"type": "subscribe", "id": 1, "topic": "a", "presence": true, "member": "m".repeat(1023)}));
    client.expect_error("too_large");
    client.send(json!({"type": "subscribe", "id": 1, "topic": "a", "presence": true, "member": "m".repeat(1022)}));
    assert_eq!(client.recv()["type"], "subscribed");
}
