//! What becomes of `data` on its way (the contract's section 6).

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{ANY, Client, Encoding};
use crate::server::Server;

fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(127),
        json!(128),
        json!(-32),
        json!(-33),
        json!(65_536),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5),
        json!(-0.1),
        json!(1e300),
        json!(5e-324),
        json!(""),
        json!("plain"),
        json!("\"quoted\" \\ / \u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}"),
        json!("\u{e4}\u{20ac}\u{1F600}\u{2028}"),
        json!("x".repeat(300)),
        json!([]),
        json!({}),
        json!([[], [[]], {"a": []}]),
        json!({"": 0, "a.b": 1, "\u{e4}": {"type": "message", "offset": 7}}),
        json!((0..70).collect::<Vec<_>>()),
        json!({"$bin": 1}),
        json!({"$bin": "not base64"}),
        json!({"$bin": "AQI"}),
        json!({"$bin": "AQID", "more": 1}),
    ]
}

#[test]
fn data_is_the_same_in_every_encoding() {
    let server = Server::start();
    let mut json = Client::json(&server);
    let mut msgpack = Client::msgpack(&server);
    json.subscribe("a");
    msgpack.subscribe("a");
    let mut publisher = Client::json(&server);
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        for value in values() {
            publisher.send_as(encoding, &json!({"type": "publish", "topic": "a", "data": value}));
            for subscriber in [&mut json, &mut msgpack] {
                let event = subscriber.recv();
                assert_eq!((&event["type"], &event["data"]), (&json!("message"), &value), "from {encoding:?}");
            }
        }
    }
}

#[test]
fn data_is_not_touched_between_clients_of_one_encoding() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.subscribe("a");
    for data in [
        r#"{ "b" : 1.50 ,"a":[1e2,-0,0.1000],  "é":"\u00e9\/" }"#,
        "100000000000000000.0",
        r#"{"a":1,"a":2}"#,
        r#""\ud83d\ude00""#,
    ] {
        client.text(&format!(r#"{{"type":"publish","topic":"a","data":{data}}}"#));
        let Message::Text(text) = client.frame() else { panic!("a text frame was expected") };
        assert!(text.contains(&format!(r#""data":{data}"#)), "{text}");
    }

    let mut client = Client::msgpack(&server);
    client.subscribe("b");
    // Numbers, a text and a list, none of them in its shortest form.
    for data in [&[0xCF, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0xD9, 1, b'x'], &[0xDD, 0, 0, 0, 1, 0xCA, 0x3F, 0xC0, 0, 0]] {
        client.binary(&publish_packed("b", data));
        let Message::Binary(bytes) = client.frame() else { panic!("a binary frame was expected") };
        assert!(contains(&bytes, data), "{data:x?} in {bytes:x?}");
    }
}

#[test]
fn binary_is_base64_in_json_and_comes_back() {
    let server = Server::start();
    let mut json = Client::json(&server);
    let mut msgpack = Client::msgpack(&server);
    json.subscribe("a");
    msgpack.subscribe("a");
    let long = vec![0xAB; 300];
    let mut long_packed = vec![0xC5, 0x01, 0x2C];
    long_packed.extend_from_slice(&long);
    let table: [(&[u8], &str); 5] = [
        (&[0xC4, 0], ""),
        (&[0xC4, 1, 0xFF], "/w=="),
        (&[0xC4, 2, 0xFB, 0xFF], "+/8="),
        (&[0xC4, 3, 1, 2, 3], "AQID"),
        (&long_packed, &"q6ur".repeat(100)),
    ];
    for (packed, base64) in table {
        msgpack.binary(&publish_packed("a", packed));
        assert_eq!(json.recv()["data"], json!({"$bin": base64}));
        let Message::Binary(bytes) = msgpack.frame() else { panic!("a binary frame was expected") };
        assert!(contains(&bytes, packed));

        json.send(json!({"type": "publish", "topic": "a", "data": {"$bin": base64}}));
        assert_eq!(json.recv()["data"], json!({"$bin": base64}));
        let Message::Binary(bytes) = msgpack.frame() else { panic!("a binary frame was expected") };
        assert!(contains(&bytes, packed), "{packed:x?} in {bytes:x?}");
    }
}

#[test]
fn only_canonical_base64_stands_for_binary() {
    let server = Server::start();
    let mut json = Client::json(&server);
    let mut msgpack = Client::msgpack(&server);
    msgpack.subscribe("a");
    for text in ["/w", "/x==", "_w==", "/w==\n", "=", "AQID=", "A"] {
        json.send(json!({"type": "publish", "topic": "a", "data": {"$bin": text}}));
        assert_eq!(msgpack.recv()["data"], json!({"$bin": text}));
    }
}

#[test]
fn each_connection_may_write_in_either_encoding() {
    let server = Server::start();
    let mut json = Client::json(&server);
    json.send_as(Encoding::MsgPack, &json!({"type": "ping", "id": "packed"}));
    json.expect(json!({"type": "pong", "id": "packed"}));
    json.send_as(Encoding::MsgPack, &json!([{"type": "subscribe", "id": 1, "topic": "a"}, {"type": "nonsense"}]));
    json.expect(json!({"type": "subscribed", "id": 1, "topic": "a", "epoch": ANY, "offset": 0}));
    json.expect(json!({"type": "error", "index": 1, "code": "unknown_type"}));

    let mut msgpack = Client::msgpack(&server);
    msgpack.send_as(Encoding::Json, &json!({"type": "ping", "id": "text"}));
    msgpack.expect(json!({"type": "pong", "id": "text"}));
}

#[test]
fn as_deep_as_it_may_be_passes_in_both_encodings() {
    let server = Server::start();
    let mut json = Client::json(&server);
    let mut msgpack = Client::msgpack(&server);
    json.subscribe("a");
    msgpack.subscribe("a");
    let lists = format!("{}{}", "[".repeat(128), "]".repeat(128));
    json.text(&format!(r#"{{"type":"publish","topic":"a","data":{lists}}}"#));
    let mut packed = vec![0x91; 127];
    packed.push(0x90);
    for _ in 0..2 {
        // Read as bytes: neither library that stands in for a client goes so deep.
        let Message::Text(text) = json.frame() else { panic!("a text frame was expected") };
        assert!(text.contains(&lists), "{text}");
        let Message::Binary(bytes) = msgpack.frame() else { panic!("a binary frame was expected") };
        assert!(contains(&bytes, &packed));
        msgpack.binary(&publish_packed("a", &packed));
    }
}

/// A publish whose data is these bytes.
pub(crate) fn publish_packed(topic: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x83];
    for text in ["type", "publish", "topic", topic, "data"] {
        bytes.push(0xA0 | text.len() as u8);
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(data);
    bytes
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
