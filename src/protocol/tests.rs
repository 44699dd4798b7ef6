//! What vectors cannot say: depth, size, bodies, and properties over random input.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fuzz::{LIMITS, describe, describe_publish};
use super::{
    Command, Data, DataError, Encoding, Epoch, ErrorCode, Fault, PublishBody, Refusal, Request, decode_json,
    decode_msgpack, decode_publish_body, fuzz_command_json, fuzz_command_msgpack, fuzz_transcode,
};

const DEEP: usize = 100_000;

fn check_one(encoding: Encoding, frame: &[u8], expected: ErrorCode) {
    let requests = match encoding {
        Encoding::Json => decode_json(std::str::from_utf8(frame).expect("UTF-8"), &LIMITS),
        Encoding::MsgPack => decode_msgpack(frame, &LIMITS),
    };
    let outcomes: Vec<_> = requests.collect();
    let [Err(Refusal { code, .. })] = &outcomes[..] else {
        panic!("not one refusal: {outcomes:?}");
    };
    assert_eq!(*code, expected);
}

#[test]
fn no_depth_overflows_the_stack() {
    let (open, close) = ("[".repeat(DEEP), "]".repeat(DEEP));
    check_one(Encoding::Json, open.as_bytes(), ErrorCode::BadRequest);
    check_one(Encoding::Json, "{\"a\":".repeat(DEEP).as_bytes(), ErrorCode::BadRequest);
    let frame = format!(r#"{{"type":"publish","topic":"a","data":{open}{close}}}"#);
    check_one(Encoding::Json, frame.as_bytes(), ErrorCode::BadData);
    let frame = format!(r#"{{"type":"ping","x":{open}{close}}}"#);
    check_one(Encoding::Json, frame.as_bytes(), ErrorCode::BadRequest);

    let deep = [vec![0x91; DEEP], vec![0x90]].concat();
    check_one(Encoding::MsgPack, &[0x91; DEEP], ErrorCode::BadRequest);
    let maps = [0x81, 0xa1, b'a'].repeat(DEEP);
    check_one(Encoding::MsgPack, &maps, ErrorCode::BadRequest);
    let keys = vec![0x81; DEEP];
    check_one(Encoding::MsgPack, &keys, ErrorCode::BadRequest);
    let head = b"\x83\xa4type\xa7publish\xa5topic\xa1a\xa4data";
    check_one(Encoding::MsgPack, &[&head[..], &deep].concat(), ErrorCode::BadData);
    let head = b"\x82\xa4type\xa4ping\xa1x";
    check_one(Encoding::MsgPack, &[&head[..], &deep].concat(), ErrorCode::BadRequest);
}

#[test]
fn mixed_nesting_closes_in_the_order_in_which_it_opened() {
    // 200 levels take more than one word of the scanner's stack, in both directions.
    let levels: Vec<bool> = (0..200).map(|n| n % 3 == 0).collect();
    let open: String = levels.iter().map(|&map| if map { "{\"k\":" } else { "[" }).collect();
    let close: String = levels.iter().rev().map(|&map| if map { '}' } else { ']' }).collect();
    let deep = Data::json(format!("{open}1{close}"));
    assert!(matches!(deep, Err(DataError::Uncarriable { fault: Fault::TooDeep, .. })), "{deep:?}");
    for at in 0..close.len() {
        let mut wrong = close.clone().into_bytes();
        wrong[at] = if wrong[at] == b'}' { b']' } else { b'}' };
        let wrong = String::from_utf8(wrong).expect("ASCII");
        let outcome = Data::json(format!("{open}1{wrong}"));
        assert!(matches!(outcome, Err(DataError::Malformed { .. })), "{at}: {outcome:?}");
    }
}

#[test]
fn large_containers_and_strings_get_long_headers() {
    for (value, header) in [
        (json!(vec![0; 65_536]), &[0xdd, 0, 1, 0, 0][..]),
        (json!("x".repeat(65_536)), &[0xdb, 0, 1, 0, 0][..]),
        (json!(vec![0; 65_535]), &[0xdc, 0xff, 0xff][..]),
        ((0..65_536).map(|n| (n.to_string(), Value::Null)).collect(), &[0xdf, 0, 1, 0, 0][..]),
    ] {
        let plain = Data::from_serialize(&value).expect("carriable");
        let mut packed = Vec::new();
        plain.write_to(Encoding::MsgPack, &mut packed);
        assert!(packed.starts_with(header));
        let packed = Data::msgpack(packed).expect("well-formed");
        assert_eq!(packed.to_typed::<Value>().expect("any value"), value);
    }
}

#[test]
fn values_of_types_become_data_and_come_back() {
    let data = Data::from_serialize(&("a", 1, Some(1.5))).expect("carriable");
    assert_eq!(&data.bytes()[..], br#"["a",1,1.5]"#);
    assert_eq!(data.to_typed::<(String, u8, Option<f64>)>().expect("same type"), ("a".into(), 1, Some(1.5)));
    assert!(data.to_typed::<u64>().is_err());
    assert!(matches!(Data::from_serialize(&u128::MAX), Err(DataError::Uncarriable { fault: Fault::Number, at: 0 })));
    let keys = std::collections::HashMap::from([((1, 2), 3)]);
    assert!(matches!(Data::from_serialize(&keys), Err(DataError::Serialize(_))));
}

#[test]
fn json_data_must_be_utf8() {
    let outcome = Data::json(&b"\"\xff\""[..]);
    assert!(matches!(outcome, Err(DataError::Uncarriable { fault: Fault::Utf8, at: 1 })));
}

#[test]
fn epochs_read_back_and_have_one_text_only() {
    for epoch in [0, 1, 35, 36, 2_391_843, u64::MAX] {
        assert_eq!(Epoch::parse(&Epoch(epoch).to_string()), Some(Epoch(epoch)));
    }
    for text in ["", "00", "01", "A", "+1", "-1", "é", "3w5e11264sgsg", "zzzzzzzzzzzzzzzzzzzz"] {
        assert_eq!(Epoch::parse(text), None, "{text}");
    }
}

fn check_body(body: &Value, expected: &Value) {
    let json = body.to_string();
    let mut packed = Vec::new();
    let data = Data::json(json.clone()).expect("well-formed");
    data.write_to(Encoding::MsgPack, &mut packed);
    for (encoding, body) in [(Encoding::Json, json.as_bytes()), (Encoding::MsgPack, &packed)] {
        let publish = |publish: &_| describe_publish(encoding, publish);
        let refusal = |refusal: Refusal<'static>| describe(encoding, &Err(refusal));
        let owned = |refusal: &Refusal<'_>| Refusal {
            id: None,
            topic: refusal.topic.as_ref().map(|topic| topic.to_string().into()),
            message: refusal.message.clone(),
            ..*refusal
        };
        let found = match decode_publish_body(encoding, body, &LIMITS) {
            Ok(PublishBody::One(one)) => publish(&one),
            Ok(PublishBody::Many(many)) => many
                .iter()
                .map(|outcome| match outcome {
                    Ok(one) => publish(one),
                    Err(wrong) => refusal(owned(wrong)),
                })
                .collect(),
            Err(wrong) => refusal(owned(&wrong)),
        };
        assert_eq!(&found, expected, "{encoding:?} {data:?}");
    }
}

#[test]
fn publish_bodies_hold_one_message_or_many() {
    let bad_request = json!({"error": "bad_request", "malformed": true});
    check_body(
        &json!({"topic": "a", "data": null, "key": "k", "echo": "ignored", "id": []}),
        &json!({"type": "publish", "topic": "a", "data": null, "key": "k"}),
    );
    check_body(
        &json!({"messages": [{"topic": "a", "data": 1}, 5, {"topic": "b"}, {"data": 1}]}),
        &json!([
            {"type": "publish", "topic": "a", "data": 1},
            {"error": "bad_request", "malformed": true, "index": 1},
            {"error": "bad_request", "malformed": true, "index": 2, "topic": "b"},
            {"error": "bad_request", "malformed": true, "index": 3},
        ]),
    );
    check_body(&json!({"messages": []}), &bad_request);
    check_body(&json!({"messages": 5}), &bad_request);
    check_body(&json!({"messages": [], "topic": "a"}), &bad_request);
    check_body(&json!([]), &bad_request);
    check_body(&json!({}), &bad_request);
    check_body(&json!({"messages": vec![json!({}); 21]}), &json!({"error": "too_large", "malformed": false}));
    let outcome = decode_publish_body(Encoding::Json, b"{\"topic\":\"\xff\"}", &LIMITS);
    assert!(matches!(outcome, Err(Refusal { code: ErrorCode::BadRequest, .. })));
}

#[test]
fn an_item_settles_on_its_own() {
    let frame = r#"{"type":"subscribe","presence":true,"topics":["a","b.*","..",{"topic":"a","last":1},
        {"topic":"a","last":1,"since":{"epoch":"a","offset":1}},{"topic":"a.*","last":1}]}"#;
    let outcomes: Vec<_> = decode_json(frame, &LIMITS).collect();
    let [Ok(Request { command: Command::Subscribe(subscribe), .. })] = &outcomes[..] else {
        panic!("not a subscribe: {outcomes:?}");
    };
    let codes: Vec<_> = subscribe
        .items
        .clone()
        .map(|item| subscribe.filter(&item).map(|_| ()).map_err(|refusal| refusal.code))
        .collect();
    let (bad_topic, bad_request) = (Err(ErrorCode::BadTopic), Err(ErrorCode::BadRequest));
    assert_eq!(codes, [Ok(()), bad_request, bad_topic, Ok(()), bad_request, bad_request]);
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    for frame in [r#"{"type":"auth","token":"hush"}"#, r#"{"type":"resume","resume":"hush"}"#] {
        let requests: Vec<_> = decode_json(frame, &LIMITS).collect();
        assert!(requests[0].is_ok());
        assert!(!format!("{requests:?}").contains("hush"));
    }
}

/// Any value that can be carried.
fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z\"\\\\$]{0,40}".prop_map(Value::from),
    ];
    scalar.prop_recursive(6, 200, 40, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..40).prop_map(Value::from),
            prop::collection::vec((prop_oneof![any::<String>(), Just("$bin".to_owned())], inner), 0..20)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Text that is nearly JSON.
fn nearly_json() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\n",
        "\"",
        "\"a\"",
        "\"type\"",
        "\"publish\"",
        "\"topic\"",
        "\"data\"",
        "\"id\"",
        "\"\\u0041\"",
        "\"\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "\\",
        "\\u12",
        "0",
        "-",
        "1",
        "01",
        "1.5",
        "1.",
        ".5",
        "1e",
        "1e400",
        "-0",
        "18446744073709551616",
        "true",
        "tru",
        "null",
        "false",
        "é",
        "\u{1}",
        "nul",
        "E",
        "+",
        "\"\\",
    ]);
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

/// A command made of right and wrong fields.
fn command() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        "subscribe",
        "unsubscribe",
        "publish",
        "presence",
        "history",
        "auth",
        "resume",
        "ping",
        "shout",
    ]);
    let text = prop_oneof![Just(json!("a.b")), Just(json!("a.*")), Just(json!("..")), Just(json!(5))];
    let since = prop_oneof![
        Just(json!({"epoch": "1f9k3", "offset": 41})),
        Just(json!({"epoch": "?", "offset": 0})),
        Just(json!({"offset": 0})),
        Just(json!(1)),
    ];
    let small = prop_oneof![Just(json!(1)), Just(json!(-1)), Just(json!("id")), Just(json!(1.5))];
    let item =
        (text.clone(), prop::option::of(since.clone()), any::<bool>()).prop_map(|(topic, since, plain)| {
            match (plain, since) {
                (true, _) => topic,
                (false, None) => json!({ "topic": topic }),
                (false, Some(since)) => json!({ "topic": topic, "since": since }),
            }
        });
    let field = prop_oneof![
        small.clone().prop_map(|value| ("id", value)),
        text.clone().prop_map(|value| ("topic", value)),
        prop::collection::vec(item, 0..4).prop_map(|items| ("topics", Value::from(items))),
        value().prop_map(|value| ("data", value)),
        value().prop_map(|value| ("member", value)),
        text.prop_map(|value| ("key", value)),
        prop_oneof![Just(json!(true)), Just(json!(false)), Just(json!(0))].prop_map(|value| ("echo", value)),
        any::<bool>().prop_map(|value| ("presence", json!(value))),
        since.prop_map(|value| ("since", value)),
        small.prop_map(|value| ("last", value)),
        Just(("token", json!("t"))),
        Just(("resume", json!("r"))),
        Just(("colour", json!("red"))),
    ];
    (kind, prop::collection::vec(field, 0..7)).prop_map(|(kind, fields)| {
        let mut command = json!({ "type": kind });
        for (key, value) in fields {
            command[key] = value;
        }
        command
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn publish_decodes_to_what_was_encoded(value in value(), echo: bool, key in prop::option::of("[a-z\"\\\\é]{0,8}")) {
        let mut frame = json!({ "type": "publish", "topic": "a.b", "data": value, "echo": echo });
        if let Some(key) = &key {
            frame["key"] = json!(key);
        }
        let text = frame.to_string();
        let outcomes: Vec<_> = decode_json(&text, &LIMITS).collect();
        let [Ok(Request { command: Command::Publish(publish), .. })] = &outcomes[..] else {
            panic!("not a publish: {outcomes:?}");
        };
        let sent = value.to_string();
        prop_assert_eq!(publish.data, sent.as_bytes());
        prop_assert_eq!(publish.echo, echo);
        prop_assert_eq!(publish.key.as_deref(), key.as_deref());
    }

    #[test]
    fn both_encodings_decode_to_the_same_commands(commands in prop::collection::vec(command(), 1..4), alone: bool) {
        let frame = if alone { commands[0].clone() } else { Value::from(commands) };
        let text = frame.to_string();
        fuzz_command_json(text.as_bytes());
        let mut packed = Vec::new();
        Data::json(text).expect("well-formed").write_to(Encoding::MsgPack, &mut packed);
        fuzz_command_msgpack(&packed);
    }

    #[test]
    fn values_survive_both_ways(value in value()) {
        let text = value.to_string();
        fuzz_transcode(&[&[0], text.as_bytes()].concat());
        let mut packed = vec![1];
        Data::json(text).expect("carriable").write_to(Encoding::MsgPack, &mut packed);
        fuzz_transcode(&packed);
    }

    #[test]
    fn scanner_and_serde_json_agree(text in nearly_json()) {
        fuzz_command_json(text.as_bytes());
        fuzz_transcode(&[&[0], text.as_bytes()].concat());
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        fuzz_command_json(&bytes);
        fuzz_command_msgpack(&bytes);
        fuzz_transcode(&bytes);
    }

    #[test]
    fn bytes_cut_and_changed_are_answered(value in value(), cut: prop::sample::Index, byte: u8) {
        let frame = json!({ "type": "publish", "topic": "a", "data": value });
        let mut packed = Vec::new();
        Data::json(frame.to_string()).expect("carriable").write_to(Encoding::MsgPack, &mut packed);
        let at = cut.index(packed.len());
        fuzz_command_msgpack(&packed[..at]);
        packed[at] = byte;
        fuzz_command_msgpack(&packed);
        packed.insert(0, 1);
        fuzz_transcode(&packed);
    }

    #[test]
    fn floats_keep_every_bit(bits: u64) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        let packed = [&[0xcb][..], &bits.to_be_bytes()].concat();
        let mut text = Vec::new();
        Data::msgpack(packed.clone()).expect("finite").write_to(Encoding::Json, &mut text);
        let mut again = Vec::new();
        Data::json(text).expect("a number").write_to(Encoding::MsgPack, &mut again);
        prop_assert_eq!(packed, again);
    }
}
