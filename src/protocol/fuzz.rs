//! What the fuzz targets of the protocol do, and the slow and obvious versions they judge by.
//!
//! The bodies live here so that property tests run them as well.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::json::Json;
use super::scan::whole;
use super::{
    Command, Data, DataError, DecodeLimits, Encoding, Fault, Filter, Id, Items, Pattern, Publish, Refusal, Request,
    Since, TopicName, decode_json, decode_msgpack, decode_publish_body,
};

/// Limits small enough for a fuzzer to reach.
pub(super) const LIMITS: DecodeLimits = DecodeLimits { batch_items_max: 20, key_bytes_max: 32, member_bytes_max: 1024 };

/// Any text frame decodes to commands and refusals that keep what they promise, and the scanner
/// and `serde_json` agree on what JSON is.
///
/// # Panics
///
/// If a promise is broken.
pub fn fuzz_command_json(data: &[u8]) {
    let _body = decode_publish_body(Encoding::Json, data, &LIMITS);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let ours = whole::<Json<'_>>(data);
    let theirs = serde_json::from_str::<&RawValue>(text);
    assert_eq!(ours.is_ok(), theirs.is_ok(), "well-formed or not: {text}");
    if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
        assert_eq!(ours.bytes, theirs.get().as_bytes(), "space is left out");
        check_flaw(text, ours.flaw.map(|flaw| flaw.fault));
    }
    let requests = decode_json(text, &LIMITS);
    assert!(requests.len() >= 1 && requests.len() <= LIMITS.batch_items_max, "always an outcome");
    for request in requests {
        check_request(Encoding::Json, data, &request);
    }
}

/// Any binary frame decodes to commands and refusals that keep what they promise, and to the same
/// ones as its JSON form.
///
/// # Panics
///
/// If a promise is broken.
pub fn fuzz_command_msgpack(data: &[u8]) {
    let _body = decode_publish_body(Encoding::MsgPack, data, &LIMITS);
    let requests = decode_msgpack(data, &LIMITS);
    assert!(requests.len() >= 1 && requests.len() <= LIMITS.batch_items_max, "always an outcome");
    for request in requests.clone() {
        check_request(Encoding::MsgPack, data, &request);
    }
    let Ok(frame) = Data::msgpack(data.to_vec()) else {
        return;
    };
    let mut text = Vec::new();
    frame.write_to(Encoding::Json, &mut text);
    let text = std::str::from_utf8(&text).expect("JSON is UTF-8");
    for (packed, plain) in requests.zip(decode_json(text, &LIMITS)) {
        let packed = describe(Encoding::MsgPack, &packed);
        let plain = describe(Encoding::Json, &plain);
        // The bound on `member` counts bytes as sent.
        let member = |outcome: &Value| outcome["error"] == "too_large" || !outcome["member"].is_null();
        assert!(packed == plain || (member(&packed) && member(&plain)), "{packed} and {plain}");
    }
}

/// Names and patterns keep the grammar, and patterns match what they should: first a pattern, then
/// a line feed, then a name.
///
/// # Panics
///
/// If a promise is broken.
pub fn fuzz_topic_pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    let parsed_name = TopicName::parse(name);
    assert_eq!(parsed_name.is_ok(), naive_grammar(name, false), "name {name:?}");
    let parsed = Pattern::parse(pattern);
    assert_eq!(parsed.is_ok(), naive_grammar(pattern, true), "pattern {pattern:?}");
    assert_eq!(Filter::parse(pattern).is_ok(), parsed.is_ok(), "filter {pattern:?}");
    let (Ok(parsed_name), Ok(parsed)) = (parsed_name, parsed) else {
        return;
    };
    let matches = parsed.matches(&parsed_name);
    assert_eq!(matches, naive_match(pattern, name), "{pattern:?} and {name:?}");
    if matches {
        assert!(name.starts_with(parsed.literal_prefix()), "{pattern:?} and {name:?}");
    }
}

/// Checked data survives the way to the other encoding and back: JSON if it begins with an even
/// byte, else MessagePack, which follow that byte.
///
/// # Panics
///
/// If a promise is broken.
pub fn fuzz_transcode(data: &[u8]) {
    let Some((choice, value)) = data.split_first() else {
        return;
    };
    let made = if choice % 2 == 0 { Data::json(value.to_vec()) } else { Data::msgpack(value.to_vec()) };
    let Ok(here) = made else {
        return;
    };
    let there = converted(&here);
    let back = converted(&there);
    let again = converted(&back);
    let texts = match here.encoding() {
        Encoding::Json => [&here, &back],
        Encoding::MsgPack => [&there, &again],
    };
    // `serde_json` follows 127 levels; what is deeper has been checked for form above.
    let [first, second] = texts.map(|text| serde_json::from_slice::<Value>(text.bytes()).ok());
    assert_eq!(first.is_some(), second.is_some(), "equally deep");
    if let (Some(first), Some(second)) = (first, second) {
        assert!(same(&first, &second), "{first} became {second}");
    }
    if here.encoding() == Encoding::Json {
        assert_eq!(there, again, "MessagePack made from JSON stays as it is");
    }
}

fn converted(data: &Data) -> Data {
    let mut out = Vec::new();
    let made = match data.encoding() {
        Encoding::Json => {
            data.write_to(Encoding::MsgPack, &mut out);
            Data::msgpack(out)
        }
        Encoding::MsgPack => {
            data.write_to(Encoding::Json, &mut out);
            Data::json(out)
        }
    };
    made.expect("what was checked can be rendered in both")
}

/// Equal, but for the last digit of a float, which `serde_json` may miss when it reads.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(0.0));
            (a - b).abs() <= a.abs() * 1e-15
        }
        _ => a == b,
    }
}

/// Holds the flaw found in a JSON text against what `serde_json` makes of it.
fn check_flaw(text: &str, fault: Option<Fault>) {
    let value = serde_json::from_str::<Value>(text);
    match fault {
        Some(Fault::TooDeep | Fault::LoneSurrogate) => assert!(value.is_err(), "{text}"),
        // Integers beyond 64 bits are floats for `serde_json`.
        Some(Fault::Number) => {}
        Some(fault) => panic!("{fault:?} in JSON"),
        // It follows one level less.
        None => assert!(value.is_ok() || text.matches(['[', '{']).count() > 127, "{text}"),
    }
}

fn check_request(encoding: Encoding, frame: &[u8], request: &Result<Request<'_>, Refusal<'_>>) {
    match request {
        Ok(Request { id, index, command }) => {
            assert!(id.is_none() || index.is_none(), "an index only where there is no id");
            match command {
                Command::Publish(publish) => {
                    let here = frame.as_ptr_range();
                    assert!(here.contains(&publish.data.as_ptr()), "data is a slice of the frame");
                    assert_eq!(checked(encoding, publish.data).bytes(), publish.data);
                    assert!(publish.key.as_ref().is_none_or(|key| key.len() <= LIMITS.key_bytes_max));
                }
                Command::Subscribe(subscribe) => {
                    assert!(subscribe.items.clone().count() > 0, "at least one item");
                    for item in subscribe.items.clone() {
                        let _filter = subscribe.filter(&item);
                    }
                    if let Some(member) = subscribe.member {
                        assert_eq!(checked(encoding, member).bytes(), member);
                    }
                }
                _ => {}
            }
        }
        Err(refusal) => {
            assert!(refusal.id.is_none() || refusal.index.is_none());
            assert!(refusal.topic.as_ref().is_none_or(|topic| topic.len() <= 255));
            assert!(refusal.message.len() <= 255 && !refusal.message.is_empty());
        }
    }
}

fn checked(encoding: Encoding, value: &[u8]) -> Data {
    let made: Result<Data, DataError> = match encoding {
        Encoding::Json => Data::json(value.to_vec()),
        Encoding::MsgPack => Data::msgpack(value.to_vec()),
    };
    made.expect("a decoded payload was checked in full")
}

/// A decoded command or refusal in the words of the wire vectors, the same from both encodings.
pub(super) fn describe(encoding: Encoding, request: &Result<Request<'_>, Refusal<'_>>) -> Value {
    let (id, index) = match request {
        Ok(Request { id, index, .. }) => (id, *index),
        Err(Refusal { id, index, .. }) => (id, *index),
    };
    let mut described = match request {
        Ok(Request { command, .. }) => describe_command(encoding, command),
        Err(refusal) => {
            let mut described = json!({ "error": refusal.code.as_str(), "malformed": refusal.malformed });
            if let Some(topic) = &refusal.topic {
                described["topic"] = json!(topic);
            }
            described
        }
    };
    match id {
        Some(Id::Int(id)) => described["id"] = json!(id),
        Some(Id::Str(id)) => described["id"] = json!(id),
        None => {}
    }
    if let Some(index) = index {
        described["index"] = json!(index);
    }
    described
}

fn describe_command(encoding: Encoding, command: &Command<'_>) -> Value {
    match command {
        Command::Subscribe(subscribe) => {
            let mut described = json!({ "type": "subscribe", "items": describe_items(&subscribe.items) });
            if subscribe.presence {
                described["presence"] = json!(true);
            }
            if let Some(member) = subscribe.member {
                described["member"] = describe_data(encoding, member);
            }
            described
        }
        Command::Unsubscribe(unsubscribe) => {
            json!({ "type": "unsubscribe", "items": describe_items(&unsubscribe.items) })
        }
        Command::Publish(publish) => describe_publish(encoding, publish),
        Command::Presence(presence) => json!({ "type": "presence", "topic": presence.topic }),
        Command::History(history) => {
            let mut described = json!({ "type": "history", "topic": history.topic });
            if let Some(since) = history.since {
                described["since"] = describe_since(since);
            }
            if let Some(limit) = history.limit {
                described["limit"] = json!(limit);
            }
            described
        }
        Command::Auth(auth) => json!({ "type": "auth", "token": auth.token }),
        Command::Resume(resume) => json!({ "type": "resume", "resume": resume.secret }),
        Command::Ping => json!({ "type": "ping" }),
    }
}

pub(super) fn describe_publish(encoding: Encoding, publish: &Publish<'_>) -> Value {
    let mut described = json!({
        "type": "publish",
        "topic": publish.topic,
        "data": describe_data(encoding, publish.data),
    });
    if !publish.echo {
        described["echo"] = json!(false);
    }
    if let Some(key) = &publish.key {
        described["key"] = json!(key);
    }
    if let Some(key) = &publish.idempotency_key {
        described["idempotency_key"] = json!(key);
    }
    described
}

fn describe_items(items: &Items<'_>) -> Value {
    let items = items.clone().map(|item| {
        let mut described = json!({ "topic": item.topic });
        if let Some(since) = item.since {
            described["since"] = describe_since(since);
        }
        if let Some(last) = item.last {
            described["last"] = json!(last);
        }
        described
    });
    Value::Array(items.collect())
}

fn describe_since(since: Since) -> Value {
    json!({ "epoch": since.epoch.map(|epoch| epoch.to_string()), "offset": since.offset })
}

/// The value as JSON, or its text where `serde_json` does not follow so deep.
fn describe_data(encoding: Encoding, value: &[u8]) -> Value {
    let mut text = Vec::new();
    checked(encoding, value).write_to(Encoding::Json, &mut text);
    serde_json::from_slice(&text).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&text).into_owned()))
}

/// The grammar as the protocol's description words it.
pub(super) fn naive_grammar(text: &str, wildcards: bool) -> bool {
    let segments: Vec<&str> = text.split('.').collect();
    (1..=255).contains(&text.len())
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
        && segments.iter().enumerate().all(|(n, segment)| match *segment {
            "*" => wildcards,
            ">" => wildcards && n + 1 == segments.len(),
            other => !other.is_empty() && !other.contains(['*', '>']),
        })
}

/// The matcher as one would write it on a blackboard.
pub(super) fn naive_match(pattern: &str, name: &str) -> bool {
    fn matches(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            ([], []) | ([">"], [_, ..]) => true,
            ([first, pattern @ ..], [segment, name @ ..]) => {
                (*first == "*" || first == segment) && matches(pattern, name)
            }
            _ => false,
        }
    }
    let pattern: Vec<&str> = pattern.split('.').collect();
    let name: Vec<&str> = name.split('.').collect();
    let hidden = name[0].starts_with('$') && matches!(pattern[0], "*" | ">");
    !hidden && matches(&pattern, &name)
}
