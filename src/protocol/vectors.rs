//! Runs the wire vectors of `tests/vectors`, which other languages read as well.

use serde::Deserialize;
use serde_json::Value;

use super::fuzz::{LIMITS, describe};
use super::{
    CloseCode, Data, DataError, Encoding, Epoch, ErrorCode, Event, Fault, GapReason, HistoryMessage, Id, Member,
    Pattern, Position, Recovery, RecoveryFailure, TopicName, decode_json, decode_msgpack, fuzz_command_json,
    fuzz_command_msgpack, fuzz_topic_pattern, fuzz_transcode, render_message,
};

#[derive(Deserialize)]
struct Frames {
    cases: Vec<Frame>,
}

#[derive(Deserialize)]
struct Frame {
    name: String,
    json: Option<String>,
    msgpack_hex: Option<String>,
    #[serde(default)]
    expect: Vec<Value>,
}

fn check_frames(file: &str) {
    let frames: Frames = serde_json::from_str(file).expect("a file of vectors");
    for Frame { name, json, msgpack_hex, expect } in frames.cases {
        assert!(json.is_some() || msgpack_hex.is_some(), "{name}");
        if let Some(json) = json {
            let found: Vec<Value> =
                decode_json(&json, &LIMITS).map(|request| describe(Encoding::Json, &request)).collect();
            assert_eq!(found, expect, "{name}, JSON");
            fuzz_command_json(json.as_bytes());
        }
        if let Some(hex) = msgpack_hex {
            let bytes = unhex(&hex);
            let found: Vec<Value> =
                decode_msgpack(&bytes, &LIMITS).map(|request| describe(Encoding::MsgPack, &request)).collect();
            assert_eq!(found, expect, "{name}, MessagePack");
            fuzz_command_msgpack(&bytes);
        }
    }
}

#[test]
fn commands_decode_as_the_vectors_say() {
    check_frames(include_str!("../../tests/vectors/commands.json"));
}

#[test]
fn wrong_frames_are_refused_as_the_vectors_say() {
    check_frames(include_str!("../../tests/vectors/errors.json"));
}

#[test]
fn events_encode_as_the_vectors_say() {
    let frames: Frames =
        serde_json::from_str(include_str!("../../tests/vectors/events.json")).expect("a file of vectors");
    let mut written = 0;
    let mut check = |name: &str, encode: &dyn Fn(Encoding, &mut Vec<u8>)| {
        let frame = frames.cases.iter().find(|frame| frame.name == name).expect(name);
        let [mut json, mut msgpack] = [Vec::new(), Vec::new()];
        encode(Encoding::Json, &mut json);
        encode(Encoding::MsgPack, &mut msgpack);
        assert_eq!(String::from_utf8(json).ok(), frame.json, "{name}, JSON");
        assert_eq!(Some(msgpack), frame.msgpack_hex.as_deref().map(unhex), "{name}, MessagePack");
        written += 1;
    };
    each_event(|name, event| check(name, &|encoding, out| event.encode(encoding, out)));
    each_message(|name, render| check(name, render));
    assert_eq!(written, frames.cases.len(), "every vector has an event");
}

fn each_event(mut check: impl FnMut(&str, Event<'_>)) {
    let id = Id::Int;
    let epoch = Epoch::parse("1f9k3").expect("base 36");
    let position = |offset| Position { epoch, offset };
    let json = |text: &'static str| Data::json(text).expect("well-formed");
    let (one, two, ana) = (json("1"), json("2"), json(r#"{"name":"Ana"}"#));
    check(
        "welcome",
        Event::Welcome { connection: "c7h2", resume: "0f1e2d", heartbeat_ms: 25_000, max_message_bytes: 65_536 },
    );
    let subscribed = [
        ("subscribed", id(1), "prices.btc", Some(position(41)), None),
        ("subscribed, recovered", id(2), "a", Some(position(41)), Some(Recovery::Recovered)),
        ("subscribed, not recovered", id(2), "a", Some(position(41)), Some(Recovery::Failed(RecoveryFailure::Expired))),
        ("subscribed to a pattern", id(2), "b.*", None, None),
    ];
    for (name, id, topic, position, recovery) in &subscribed {
        let (position, recovery) = (*position, *recovery);
        check(name, Event::Subscribed { id: Some(id), topic, position, recovery });
    }
    check("unsubscribed", Event::Unsubscribed { id: Some(&id(3)), topic: "prices.btc" });
    let four = &id(4);
    let published =
        |receivers| Event::Published { id: Some(four), topic: "prices.btc", position: position(42), receivers };
    check("published", published(None));
    check("published, counted", published(Some(3)));
    check("gap", Event::Gap { topic: "prices.btc", epoch, from: 43, to: 57, reason: GapReason::Slow });
    let full = Member { connection: "c7h2", subject: Some("ana"), member: Some(&ana) };
    let bare = |connection| Member { connection, subject: None, member: None };
    check(
        "presence",
        Event::Presence { id: Some(&id(5)), topic: "room.1", version: 9, count: 2, members: &[full, bare("c7h3")] },
    );
    check(
        "presence_diff",
        Event::PresenceDiff { topic: "room.1", version: 10, count: None, joined: &[], left: &[bare("c7h2")] },
    );
    let plain = |offset, data| HistoryMessage { offset, at: None, from: None, data };
    let dated = HistoryMessage { at: Some(1_800_000_000_000), from: Some("ana"), ..plain(41, &one) };
    let failed = Some(Recovery::Failed(RecoveryFailure::Epoch));
    for (name, messages, more, recovery) in [
        ("history", &[plain(41, &one), plain(42, &two)][..], false, None),
        ("history, cut", &[dated][..], true, None),
        ("history, not recovered", &[][..], false, failed),
    ] {
        let (id, topic, position) = (id(6), "prices.btc", position(42));
        check(name, Event::History { id: Some(&id), topic, position, messages, more, recovery });
    }
    check("resumed", Event::Resumed { id: Some(&Id::Str("r".into())) });
    check(
        "authenticated",
        Event::Authenticated { id: Some(&id(7)), subject: Some("ana"), expires_in_ms: Some(3_600_000) },
    );
    check("expiring", Event::Expiring { expires_in_ms: 30_000 });
    check("pong", Event::Pong { id: Some(&id(8)) });
    check("pong without an id", Event::Pong { id: None });
    check(
        "error",
        Event::Error {
            id: Some(&id(4)),
            index: None,
            topic: Some("prices.btc"),
            code: ErrorCode::RateLimited,
            message: "publish rate exceeded",
            retry_after_ms: Some(120),
        },
    );
    check(
        "error in a batch",
        Event::Error {
            id: None,
            index: Some(2),
            topic: None,
            code: ErrorCode::BadRequest,
            message: "line\nand \"quote\"\u{1}",
            retry_after_ms: None,
        },
    );
    for (name, code, reconnect_ms) in
        [("goodbye", CloseCode::SERVICE_RESTART, Some(1834)), ("goodbye for good", CloseCode::FORBIDDEN, None)]
    {
        check(name, Event::Goodbye { code, reason: code.reason(), reconnect_ms });
    }
}

fn each_message(mut check: impl FnMut(&str, &dyn Fn(Encoding, &mut Vec<u8>))) {
    let topic = |text| TopicName::parse(text).expect("well-formed");
    let data = |text: &'static str| Data::json(text).expect("well-formed");
    let epoch = Epoch::parse("1f9k3");
    let (btc, odd) = (topic("prices.btc"), topic("a\"b\\c.é"));
    check("message", &|encoding, out| {
        render_message(encoding, &btc, 42, None, None, None, &data(r#"{"bid":1.5}"#), out);
    });
    check("message, the first of an epoch", &|encoding, out| {
        render_message(encoding, &btc, 1, epoch, None, None, &data("null"), out);
    });
    check("message with its origin", &|encoding, out| {
        let at = Some(1_800_000_000_000);
        render_message(encoding, &btc, 42, None, at, Some("ana"), &data("[1]"), out);
    });
    check("message of a topic that needs escapes", &|encoding, out| {
        render_message(encoding, &odd, 70_000, None, None, None, &data("\"x\""), out);
    });
}

#[derive(Deserialize)]
struct DataFile {
    cases: Vec<DataCase>,
    refused: Vec<RefusedCase>,
}

#[derive(Deserialize)]
struct DataCase {
    name: String,
    json: String,
    msgpack_hex: String,
    direction: String,
}

#[derive(Deserialize)]
struct RefusedCase {
    name: String,
    json: Option<String>,
    msgpack_hex: Option<String>,
    fault: String,
}

#[test]
fn data_changes_its_encoding_as_the_vectors_say() {
    let file: DataFile =
        serde_json::from_str(include_str!("../../tests/vectors/data.json")).expect("a file of vectors");
    let written = |data: &Data, encoding| {
        let mut out = Vec::new();
        data.write_to(encoding, &mut out);
        out
    };
    for DataCase { name, json, msgpack_hex, direction } in file.cases {
        let bytes = unhex(&msgpack_hex);
        let plain = Data::json(json.clone()).expect(&name);
        let packed = Data::msgpack(bytes.clone()).expect(&name);
        assert!(["both", "to_json", "to_msgpack"].contains(&&*direction), "{name}");
        if direction != "to_json" {
            assert_eq!(written(&plain, Encoding::MsgPack), bytes, "{name}, to MessagePack");
        }
        if direction != "to_msgpack" {
            let text = String::from_utf8(written(&packed, Encoding::Json));
            assert_eq!(text.as_ref(), Ok(&json), "{name}, to JSON");
        }
        assert_eq!(written(&plain, Encoding::Json), json.as_bytes(), "{name}, untouched");
        fuzz_transcode(&[&[0], json.as_bytes()].concat());
        fuzz_transcode(&[&[1], &bytes[..]].concat());
        assert_eq!(written(&packed, Encoding::MsgPack), bytes, "{name}, untouched");
    }
    for RefusedCase { name, json, msgpack_hex, fault } in file.refused {
        let outcomes = [json.map(Data::json), msgpack_hex.map(|hex| Data::msgpack(unhex(&hex)))];
        for outcome in outcomes.into_iter().flatten() {
            assert_eq!(fault_name(&outcome.expect_err(&name)), fault, "{name}");
        }
    }
}

fn fault_name(error: &DataError) -> &'static str {
    match error {
        DataError::Malformed { .. } => "malformed",
        DataError::Uncarriable { fault, .. } => match fault {
            Fault::TooDeep => "too_deep",
            Fault::Number => "number",
            Fault::LoneSurrogate => "lone_surrogate",
            Fault::Extension => "extension",
            Fault::Key => "key",
            Fault::Utf8 => "utf8",
        },
        DataError::Serialize(_) => "serialize",
    }
}

#[derive(Deserialize)]
struct Topics {
    texts: Vec<TopicText>,
    matches: Vec<TopicMatch>,
}

#[derive(Deserialize)]
struct TopicText {
    text: String,
    name: bool,
    pattern: bool,
}

#[derive(Deserialize)]
struct TopicMatch {
    pattern: String,
    name: String,
    matches: bool,
}

#[test]
fn topics_keep_the_grammar_of_the_vectors() {
    let file: Topics =
        serde_json::from_str(include_str!("../../tests/vectors/topics.json")).expect("a file of vectors");
    for TopicText { text, name, pattern } in file.texts {
        assert_eq!(TopicName::parse(&text).is_ok(), name, "{text:?}");
        assert_eq!(Pattern::parse(&text).is_ok(), pattern, "{text:?}");
    }
    for TopicMatch { pattern, name, matches } in file.matches {
        let parsed = Pattern::parse(&pattern).expect(&pattern);
        assert_eq!(parsed.matches(&name), matches, "{pattern} and {name}");
        fuzz_topic_pattern(format!("{pattern}\n{name}").as_bytes());
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "whole bytes: {hex}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
}
