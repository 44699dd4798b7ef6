//! What each dialect says and hears, byte for byte as its protocol's description has it.

use crate::cli::bench::frame::{self, Outbox};
use crate::protocol::{
    CloseCode, Command, Data, DecodeLimits, Encoding, Epoch, ErrorCode, Event, GapReason, Id, Position, Recovery,
    RecoveryFailure, TopicName, decode_json, decode_msgpack, render_message,
};

use super::{Client, Dialect, Heard, Publish, Setup, Since, Spoken, Standing, Wanted};

const CLIENT: Client<'static> = Client { encoding: Encoding::Json, token: Some("user:secret"), name: "me" };

fn dialect(spoken: Spoken) -> Box<dyn Dialect> {
    let secret = Some("secret".to_owned());
    spoken.dialect(&Setup { recover: true, secret, key: "key".to_owned(), ..Setup::default() })
}

/// The payloads of the frames that a client wrote.
fn said(out: &Outbox) -> Vec<Vec<u8>> {
    let mut bytes = &out.bytes[..];
    let mut frames = Vec::new();
    while let [first, second, ..] = *bytes {
        assert!(first == 0x80 | frame::TEXT || first == 0x80 | frame::BINARY);
        assert!(second & 0x80 != 0 && second & 0x7f < 127, "masked, and short");
        let (len, head) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            short => (usize::from(short), 2),
        };
        let mask = &bytes[head..head + 4];
        let payload = &bytes[head + 4..head + 4 + len];
        frames.push(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect());
        bytes = &bytes[head + 4 + len..];
    }
    frames
}

fn greeting(spoken: Spoken) -> Vec<Vec<u8>> {
    let mut out = Outbox::default();
    dialect(spoken).greet(&CLIENT, &mut out);
    said(&out)
}

fn subscribing(spoken: Spoken, topics: &[&str], ready: &[u8]) -> (usize, Vec<Vec<u8>>) {
    let mut out = Outbox::default();
    let wanted: Vec<Wanted<'_>> = topics.iter().map(|topic| Wanted { topic, since: None }).collect();
    let answers = dialect(spoken).subscribe(&CLIENT, &wanted, ready, &mut out);
    (answers, said(&out))
}

fn publishing(spoken: Spoken, topic: &str, data: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Outbox::default();
    let publish = Publish { encoding: Encoding::Json, topic, id: 7 };
    dialect(spoken).publish(&publish, &mut |out| out.extend_from_slice(data), &mut out);
    said(&out)
}

/// What is heard of `input`, all of which has to be taken.
#[track_caller]
fn hear(spoken: Spoken, input: &[u8]) -> Heard<'_> {
    let (heard, used) = dialect(spoken).hear(Encoding::Json, input).expect("right").expect("complete");
    assert_eq!(used, input.len());
    heard
}

fn message<'a>(topic: &'a str, offset: Option<u64>, data: &'a str) -> Heard<'a> {
    Heard::Message { topic: Some(topic.as_bytes()), offset, data: data.as_bytes() }
}

/// Nothing is heard of a part, and the whole is heard in one go, with what follows left alone.
#[track_caller]
fn check_stream(spoken: Spoken, input: &[u8], expected: &Heard<'_>) {
    let dialect = dialect(spoken);
    for cut in 0..input.len() {
        assert_eq!(dialect.hear(Encoding::Json, &input[..cut]), Ok(None), "the first {cut} bytes");
    }
    let mut more = input.to_vec();
    more.extend_from_slice(input);
    let (heard, used) = dialect.hear(Encoding::Json, &more).expect("right").expect("complete");
    assert_eq!((&heard, used), (expected, input.len()));
}

#[test]
fn fanfare_is_heard_in_both_encodings() {
    let epoch = Epoch::parse("1f9k3").expect("an epoch");
    let topic = TopicName::parse("bench.3").expect("a topic");
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let check = |bytes: &[u8], expected: &Heard<'_>| {
            let heard = dialect(Spoken::Fanfare).hear(encoding, bytes);
            let (heard, used) = heard.expect("right").expect("complete");
            assert_eq!((&heard, used), (expected, bytes.len()), "{encoding:?}");
        };
        let said = |event: Event<'_>, expected: &Heard<'_>| {
            let mut out = Vec::new();
            event.encode(encoding, &mut out);
            check(&out, expected);
        };
        let position = Position { epoch, offset: 41 };
        let (topic_text, id) = ("bench.3", Some(&Id::Int(5)));
        said(
            Event::Welcome { connection: "c", resume: "r", heartbeat_ms: 25_000, max_message_bytes: 65_536 },
            &Heard::Ready(&[]),
        );
        let standing = |recovered, offset: Option<u64>| {
            let epoch = offset.map(|_| "1f9k3".to_owned());
            Heard::Subscribed(Box::new(Standing { topic: topic_text.to_owned(), epoch, offset, recovered }))
        };
        let subscribed = |position, recovery| Event::Subscribed { id, topic: topic_text, position, recovery };
        said(subscribed(Some(position), None), &standing(None, Some(41)));
        said(subscribed(None, None), &standing(None, None));
        said(subscribed(Some(position), Some(Recovery::Recovered)), &standing(Some(true), Some(41)));
        let expired = Some(Recovery::Failed(RecoveryFailure::Expired));
        said(subscribed(Some(position), expired), &standing(Some(false), Some(41)));
        said(Event::Published { id, topic: topic_text, position, receivers: None }, &Heard::Published);
        said(
            Event::Gap { topic: topic_text, epoch, from: 3, to: 9, reason: GapReason::Slow },
            &Heard::Gap { topic: topic_text.to_owned(), from: 3, to: 9 },
        );
        let error = |id| Event::Error {
            id,
            index: None,
            topic: None,
            code: ErrorCode::RateLimited,
            message: "too fast",
            retry_after_ms: Some(5),
        };
        said(error(id), &Heard::Unpublished("rate_limited: too fast".to_owned()));
        said(error(Some(&Id::Int(0))), &Heard::Refused("rate_limited: too fast".to_owned()));
        said(error(None), &Heard::Refused("rate_limited: too fast".to_owned()));
        let goodbye = Event::Goodbye { code: CloseCode(1012), reason: "restart", reconnect_ms: None };
        said(goodbye, &Heard::Goodbye("restart".to_owned()));
        said(Event::Pong { id: None }, &Heard::Other);

        let data = Data::json(r#"{"a":1}"#).expect("data");
        let mut written = Vec::new();
        data.write_to(encoding, &mut written);
        for (offset, epoch, at, from) in [
            (1, Some(epoch), None, None),
            (41, None, None, None),
            (u64::MAX, None, None, None),
            (9, None, Some(1_795_257_000_000), Some("ana")),
        ] {
            let mut out = Vec::new();
            render_message(encoding, &topic, offset, epoch, at, from, &data, &mut out);
            let message = Heard::Message { topic: Some(b"bench.3"), offset: Some(offset), data: &written };
            check(&out, &message);
        }
    }
}

#[test]
fn fanfare_takes_what_is_said() {
    let limits = DecodeLimits { batch_items_max: 9, key_bytes_max: 9, member_bytes_max: 9 };
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let client = Client { encoding, ..CLIENT };
        let mut out = Outbox::default();
        let since = Some(Since { epoch: "1f9k3", offset: 41 });
        let wanted = [Wanted { topic: "bench.0", since: None }, Wanted { topic: "bench.1", since }];
        let answers = dialect(Spoken::Fanfare).subscribe(&client, &wanted, &[], &mut out);
        assert_eq!(answers, 2);
        let publish = Publish { encoding, topic: "bench.1", id: 7 };
        let data = match encoding {
            Encoding::Json => &b"[1]"[..],
            Encoding::MsgPack => b"\x91\x01",
        };
        dialect(Spoken::Fanfare).publish(&publish, &mut |out| out.extend_from_slice(data), &mut out);
        let said: Vec<String> = (said(&out).into_iter())
            .map(|frame| {
                let requests = match encoding {
                    Encoding::Json => decode_json(std::str::from_utf8(&frame).expect("text"), &limits),
                    Encoding::MsgPack => decode_msgpack(&frame, &limits),
                };
                let request = requests.into_iter().next().expect("one").expect("right");
                match request.command {
                    Command::Subscribe(subscribe) => format!("{:?}", subscribe.items.collect::<Vec<_>>()),
                    other => format!("{:?} {other:?}", request.id),
                }
            })
            .collect();
        assert_eq!(said.len(), 2);
        for word in ["bench.0", "bench.1", "41"] {
            assert!(said[0].contains(word), "{encoding:?} {word}: {}", said[0]);
        }
        for word in ["Publish", "bench.1", "Int(7)"] {
            assert!(said[1].contains(word), "{encoding:?} {word}: {}", said[1]);
        }
    }
}

#[test]
fn mqtt_speaks_and_hears_packets() {
    // MQTT 3.1.1, 3.1: protocol name, level 4, user, password and clean session, no keep-alive.
    assert_eq!(
        greeting(Spoken::Mqtt),
        [b"\x10\x1c\x00\x04MQTT\x04\xc2\x00\x00\x00\x02me\x00\x04user\x00\x06secret".to_vec()]
    );
    // 3.8: packet 1, each filter with QoS 0.
    let (answers, frames) = subscribing(Spoken::Mqtt, &["a/0", "a/1"], &[]);
    assert_eq!((answers, frames), (1, vec![b"\x82\x0e\x00\x01\x00\x03a/0\x00\x00\x03a/1\x00".to_vec()]));
    assert_eq!(publishing(Spoken::Mqtt, "a/0", b"data"), [b"\x30\x09\x00\x03a/0data".to_vec()]);
    check_stream(Spoken::Mqtt, b"\x20\x02\x00\x00", &Heard::Ready(&[]));
    check_stream(Spoken::Mqtt, b"\x20\x02\x00\x05", &Heard::Refused("not authorized".to_owned()));
    let standing = Heard::Subscribed(Box::default());
    check_stream(Spoken::Mqtt, b"\x90\x04\x00\x01\x00\x00", &standing);
    let refused = Heard::Refused("subscription refused".to_owned());
    check_stream(Spoken::Mqtt, b"\x90\x04\x00\x01\x00\x80", &refused);
    check_stream(Spoken::Mqtt, b"\x30\x09\x00\x03a/0data", &message("a/0", None, "data"));
    let long = "x".repeat(200);
    let packet = [b"\x30\xcd\x01\x00\x03a/0", long.as_bytes()].concat();
    check_stream(Spoken::Mqtt, &packet, &message("a/0", None, &long));
    check_stream(Spoken::Mqtt, b"\xd0\x00", &Heard::Other);
    assert!(dialect(Spoken::Mqtt).hear(Encoding::Json, b"\x30\xff\xff\xff\xff\x01").is_err(), "2.2.3: four bytes");
    assert!(dialect(Spoken::Mqtt).hear(Encoding::Json, b"\x30\x03\x00\x09a").is_err(), "a topic beyond the packet");
}

#[test]
fn nats_speaks_and_hears_lines() {
    let greeting = String::from_utf8(greeting(Spoken::Nats).remove(0)).expect("text");
    let connect = greeting.strip_prefix("CONNECT ").and_then(|rest| rest.strip_suffix("\r\nPING\r\n"));
    let connect: serde_json::Value = serde_json::from_str(connect.expect("two lines")).expect("JSON");
    assert_eq!((connect["user"].as_str(), connect["pass"].as_str()), (Some("user"), Some("secret")));
    let (answers, frames) = subscribing(Spoken::Nats, &["a.0", "a.1"], &[]);
    assert_eq!((answers, frames), (1, vec![b"SUB a.0 1\r\nSUB a.1 2\r\nPING\r\n".to_vec()]));
    assert_eq!(publishing(Spoken::Nats, "a.0", b"data"), [b"PUB a.0 4\r\ndata\r\n".to_vec()]);
    check_stream(Spoken::Nats, b"MSG a.0 1 6\r\nda\r\nta\r\n", &message("a.0", None, "da\r\nta"));
    check_stream(Spoken::Nats, b"MSG a.0 1 reply 4\r\ndata\r\n", &message("a.0", None, "data"));
    check_stream(Spoken::Nats, b"INFO {\"server_id\":\"x\"}\r\n", &Heard::Other);
    check_stream(Spoken::Nats, b"PONG\r\n", &Heard::Settled);
    check_stream(Spoken::Nats, b"PING\r\n", &Heard::Ping);
    check_stream(Spoken::Nats, b"-ERR 'Slow Consumer'\r\n", &Heard::Refused("Slow Consumer".to_owned()));
    assert!(dialect(Spoken::Nats).hear(Encoding::Json, b"HELLO\r\n").is_err());
    assert!(dialect(Spoken::Nats).hear(Encoding::Json, b"MSG a 1 4\r\ndataxx").is_err());
    assert!(dialect(Spoken::Nats).hear(Encoding::Json, &[b'x'; 64 * 1024]).is_err(), "a line without end");
}

#[test]
fn pusher_speaks_and_hears_events() {
    let established =
        br#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1234.1234\",\"activity_timeout\":120}"}"#;
    assert_eq!(hear(Spoken::Pusher, established), Heard::Ready(b"1234.1234"));
    let (answers, frames) = subscribing(Spoken::Pusher, &["private-a.0"], b"1234.1234");
    let frame: serde_json::Value = serde_json::from_slice(&frames[0]).expect("JSON");
    assert_eq!((answers, frame["event"].as_str()), (1, Some("pusher:subscribe")));
    assert_eq!(frame["data"]["channel"].as_str(), Some("private-a.0"));
    assert!(frame["data"]["auth"].as_str().is_some_and(|auth| auth.starts_with("key:") && auth.len() == 4 + 64));
    assert_eq!(
        publishing(Spoken::Pusher, "private-a.0", b"[1]"),
        [br#"{"event":"client-bench","channel":"private-a.0","data":[1]}"#.to_vec()]
    );
    let event = br#"{"event":"client-bench","channel":"private-a.0","data":[1]}"#;
    assert_eq!(hear(Spoken::Pusher, event), message("private-a.0", None, "[1]"));
    let event = br#"{"event":"pusher_internal:subscription_succeeded","channel":"private-a.0","data":"{}"}"#;
    let standing = Standing { topic: "private-a.0".to_owned(), ..Standing::default() };
    assert_eq!(hear(Spoken::Pusher, event), Heard::Subscribed(Box::new(standing)));
    assert_eq!(hear(Spoken::Pusher, br#"{"event":"pusher:ping","data":{}}"#), Heard::Ping);
    let event = br#"{"event":"pusher:error","data":{"code":4009}}"#;
    assert_eq!(hear(Spoken::Pusher, event), Heard::Refused(r#"{"code":4009}"#.to_owned()));
    assert!(dialect(Spoken::Pusher).hear(Encoding::Json, b"hello").is_err());
}

#[test]
fn socket_io_speaks_and_hears_packets() {
    assert_eq!(greeting(Spoken::Socketio), [br#"40{"token":"user:secret"}"#.to_vec()]);
    let (answers, frames) = subscribing(Spoken::Socketio, &["a.0", "a.1"], &[]);
    let expected = [br#"420["subscribe","a.0"]"#.to_vec(), br#"420["subscribe","a.1"]"#.to_vec()];
    assert_eq!((answers, frames), (2, expected.to_vec()));
    assert_eq!(publishing(Spoken::Socketio, "a.0", b"[1]"), [br#"427["publish","a.0",[1]]"#.to_vec()]);
    assert_eq!(hear(Spoken::Socketio, br#"0{"sid":"x","pingInterval":25000}"#), Heard::Other);
    assert_eq!(hear(Spoken::Socketio, br#"40{"sid":"x"}"#), Heard::Ready(&[]));
    assert_eq!(hear(Spoken::Socketio, b"430[]"), Heard::Subscribed(Box::default()));
    assert_eq!(hear(Spoken::Socketio, b"437[]"), Heard::Published);
    assert_eq!(hear(Spoken::Socketio, b"2"), Heard::Ping);
    for event in [r#"42["message","a.0",{"a":1}]"#, r#"42[ "message", "a.0", {"a":1} ]"#] {
        assert_eq!(hear(Spoken::Socketio, event.as_bytes()), message("a.0", None, r#"{"a":1}"#));
    }
    assert_eq!(hear(Spoken::Socketio, br#"42["other","a",1]"#), Heard::Other);
    let refused = Heard::Refused(r#"{"message":"no"}"#.to_owned());
    assert_eq!(hear(Spoken::Socketio, br#"44{"message":"no"}"#), refused);
    assert!(dialect(Spoken::Socketio).hear(Encoding::Json, b"hello").is_err());
    assert!(dialect(Spoken::Socketio).hear(Encoding::Json, br#"42["message","#).is_err());
}

#[test]
fn raw_frames_are_messages() {
    assert_eq!(publishing(Spoken::Raw, "", b"data"), [b"data".to_vec()]);
    assert_eq!(hear(Spoken::Raw, b"data"), Heard::Message { topic: None, offset: None, data: b"data" });
    assert_eq!(subscribing(Spoken::Raw, &["a.0"], &[]), (0, Vec::new()));
}

#[test]
fn nchan_is_posted_to_and_answers_in_order() {
    let setup = Setup { host: "localhost:80".to_owned(), base: "/a".to_owned(), ..Setup::default() };
    let nchan = Spoken::Nchan.dialect(&setup);
    let mut out = Outbox::default();
    let publish = Publish { encoding: Encoding::Json, topic: "bench.3", id: 7 };
    nchan.publish(&publish, &mut |out| out.extend_from_slice(b"[1]"), &mut out);
    let request = "POST /a/pub/bench.3 HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 3\r\n\r\n[1]";
    assert_eq!(String::from_utf8_lossy(&out.bytes), request);
    assert_eq!(nchan.path_of("bench.3").as_deref(), Some("/a/sub/bench.3"));

    let taken = |status: &str| format!("HTTP/1.1 {status}\r\nServer: nginx\r\ncontent-length:  2\r\n\r\nok");
    check_stream(Spoken::Nchan, taken("201 Created").as_bytes(), &Heard::Published);
    check_stream(Spoken::Nchan, taken("202 Accepted").as_bytes(), &Heard::Published);
    let refused = Heard::Unpublished("403 Forbidden".to_owned());
    check_stream(Spoken::Nchan, taken("403 Forbidden").as_bytes(), &refused);
    let data = br#"{"a":1}"#;
    assert_eq!(hear(Spoken::Nchan, data), Heard::Message { topic: None, offset: None, data });
    let endless = [b"HTTP/1.1 201 ".to_vec(), vec![b'x'; 20_000]].concat();
    for wrong in [&endless[..], b"HTTP/1.1 201 Created\r\n\r\n", b"HTTP/1.1 201 Created\r\nContent-Length: x\r\n\r\n"] {
        assert!(dialect(Spoken::Nchan).hear(Encoding::Json, wrong).is_err());
    }
}
