//! Data that cannot be carried (the contract's section 6): the envelope is right, and the connection goes on.

use serde_json::json;

use crate::client::Client;
use crate::data::publish_packed;
use crate::server::Server;

#[test]
fn json_that_has_no_counterpart_is_bad_data() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.subscribe("a");
    let too_deep_list = format!("{}{}", "[".repeat(129), "]".repeat(129));
    let too_deep_map = format!("{}1{}", r#"{"a":"#.repeat(129), "}".repeat(129));
    let far_too_deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let cases = [
        "1e400",
        "-1e400",
        "[1.0e999999999]",
        "18446744073709551616",
        "-9223372036854775809",
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\ud800\u0041""#,
        r#""\udc00\ud800""#,
        r#"{"\ud800":1}"#,
        r#"[{"a":["x\udfffy"]}]"#,
        &too_deep_list,
        &too_deep_map,
        &far_too_deep,
    ];
    for data in cases {
        client.text(&format!(r#"{{"type":"publish","id":1,"topic":"a","data":{data}}}"#));
        let event = client.expect_error("bad_data");
        assert_eq!((&event["id"], &event["topic"]), (&json!(1), &json!("a")), "{event}");
    }
    // None of them took an offset or counted as malformed.
    client.send(json!({"type": "publish", "topic": "a", "data": "fine"}));
    assert_eq!(client.recv()["offset"], 1);
}

#[test]
fn messagepack_that_has_no_counterpart_is_bad_data() {
    let server = Server::start();
    let mut client = Client::msgpack(&server);
    client.subscribe("a");
    let mut too_deep_list = vec![0x91; 129];
    too_deep_list.push(0x90);
    let mut far_too_deep = vec![0x91; 60_000];
    far_too_deep.push(0xC0);
    let too_deep_map = [&[0x81, 0xA1, b'k'].repeat(129)[..], &[0xC0]].concat();
    let cases: [(&str, &[u8]); 18] = [
        ("NaN, 64 bits", &[0xCB, 0x7F, 0xF8, 0, 0, 0, 0, 0, 0]),
        ("NaN, 32 bits", &[0xCA, 0x7F, 0xC0, 0, 0]),
        ("infinity, 64 bits", &[0xCB, 0x7F, 0xF0, 0, 0, 0, 0, 0, 0]),
        ("minus infinity, 64 bits", &[0xCB, 0xFF, 0xF0, 0, 0, 0, 0, 0, 0]),
        ("infinity, 32 bits", &[0xCA, 0x7F, 0x80, 0, 0]),
        ("fixext 1", &[0xD4, 5, 0]),
        ("a timestamp", &[0xD6, 0xFF, 0, 0, 0, 0]),
        ("fixext 16", &[0xD8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("ext 8", &[0xC7, 3, 1, 0, 0, 0]),
        ("ext 16", &[0xC8, 0, 1, 1, 0]),
        ("ext 32", &[0xC9, 0, 0, 0, 1, 1, 0]),
        ("an integer as key", &[0x81, 1, 1]),
        ("nil as key", &[0x81, 0xC0, 1]),
        ("a list as key", &[0x81, 0x90, 1]),
        ("bytes as key, inside", &[0x91, 0x81, 0xC4, 1, b'a', 1]),
        ("lists too deep", &too_deep_list),
        ("maps too deep", &too_deep_map),
        ("lists far too deep", &far_too_deep),
    ];
    for (what, data) in cases {
        client.binary(&publish_packed("a", data));
        let event = client.recv();
        assert_eq!((&event["code"], &event["topic"]), (&json!("bad_data"), &json!("a")), "{what}: {event}");
    }
    client.send(json!({"type": "publish", "topic": "a", "data": "fine"}));
    assert_eq!(client.recv()["offset"], 1);
}

#[test]
fn bad_data_does_not_hurt_its_neighbours_in_a_batch() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.text(
        r#"[{"type":"publish","id":0,"topic":"a","data":1},
            {"type":"publish","topic":"a","data":[1e400]},
            {"type":"publish","id":2,"topic":"a","data":2}]"#,
    );
    assert_eq!(client.recv()["offset"], 1);
    client.expect(json!({"type": "error", "index": 1, "topic": "a", "code": "bad_data"}));
    assert_eq!(client.recv()["offset"], 2);
}
