//! Commands decoded, messages rendered and transcoded, names checked.

use std::hint::black_box;

use fanfare::internals::protocol::{
    Command, Data, DecodeLimits, Encoding, Epoch, Event, Id, Pattern, Position, Publish, Request, TopicName,
    decode_json, decode_msgpack, render_message,
};

use super::{Operation, Piece};

pub(crate) const PIECES: &[Piece] = &[
    Piece { name: "decode a publish, JSON", each: 1, prepare: decode_text },
    Piece { name: "decode a publish, MessagePack", each: 1, prepare: decode_binary },
    Piece { name: "encode an acknowledgement, JSON", each: 1, prepare: || acknowledge(Encoding::Json) },
    Piece { name: "encode an acknowledgement, MessagePack", each: 1, prepare: || acknowledge(Encoding::MsgPack) },
    Piece { name: "render a message, JSON", each: 1, prepare: || render(Encoding::Json) },
    Piece { name: "render a message, MessagePack", each: 1, prepare: || render(Encoding::MsgPack) },
    Piece { name: "transcode JSON to MessagePack", each: 1, prepare: || transcode(Encoding::Json, Encoding::MsgPack) },
    Piece { name: "transcode MessagePack to JSON", each: 1, prepare: || transcode(Encoding::MsgPack, Encoding::Json) },
    Piece { name: "check a topic's name", each: 1, prepare: check_name },
    Piece { name: "match a name with a pattern", each: 1, prepare: match_pattern },
];

const LIMITS: DecodeLimits = DecodeLimits { batch_items_max: 100, key_bytes_max: 255, member_bytes_max: 1024 };

/// 128 bytes, as a price feed would send them.
pub(crate) const DATA: &str = concat!(
    r#"{"symbol":"BTC-USD","levels":[{"bid":64000.25,"ask":64001.75,"size":3},"#,
    r#"{"bid":63999.25,"ask":64002.75,"size":4}],"note":"xxxxx"}"#
);

pub(crate) const PUBLISH_HEAD: &str = r#"{"type":"publish","id":4,"topic":"prices.btc","data":"#;

fn packed(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    Data::json(text.to_owned()).expect("carriable").write_to(Encoding::MsgPack, &mut out);
    out
}

fn data(encoding: Encoding) -> Data {
    assert_eq!(DATA.len(), 128);
    let plain = Data::json(DATA.to_owned()).expect("carriable");
    match encoding {
        Encoding::Json => plain,
        Encoding::MsgPack => Data::msgpack(packed(DATA)).expect("carriable"),
    }
}

fn published<E: std::fmt::Debug>(outcome: Option<Result<Request<'_>, E>>) -> Publish<'_> {
    match outcome {
        Some(Ok(Request { command: Command::Publish(publish), .. })) => publish,
        other => panic!("not a publish: {other:?}"),
    }
}

fn decode_text() -> Operation {
    let frame = format!("{PUBLISH_HEAD}{DATA}}}");
    Box::new(move || {
        let publish = published(decode_json(black_box(&frame), &LIMITS).next());
        assert_eq!(publish.data.len(), DATA.len());
    })
}

fn decode_binary() -> Operation {
    let frame = packed(&format!("{PUBLISH_HEAD}{DATA}}}"));
    let expected = packed(DATA).len();
    Box::new(move || {
        let publish = published(decode_msgpack(black_box(&frame), &LIMITS).next());
        assert_eq!(publish.data.len(), expected);
    })
}

fn acknowledge(encoding: Encoding) -> Operation {
    let position = Position { epoch: Epoch::parse("k3f9").expect("well-formed"), offset: 123_456 };
    let mut out = Vec::with_capacity(512);
    Box::new(move || {
        out.clear();
        let id = Id::Int(4);
        let published = Event::Published { id: Some(&id), topic: black_box("prices.btc"), position, receivers: None };
        published.encode(encoding, &mut out);
        assert!(!out.is_empty());
    })
}

fn render(encoding: Encoding) -> Operation {
    let topic = TopicName::parse("prices.btc").expect("well-formed");
    let data = data(encoding);
    let mut out = Vec::with_capacity(512);
    Box::new(move || {
        out.clear();
        render_message(encoding, black_box(&topic), 123_456, None, None, None, black_box(&data), &mut out);
        assert!(out.len() > data.bytes().len());
    })
}

fn transcode(from: Encoding, to: Encoding) -> Operation {
    let (data, expected) = (data(from), data(to));
    let mut out = Vec::with_capacity(512);
    Box::new(move || {
        out.clear();
        black_box(&data).write_to(to, &mut out);
        assert_eq!(out.len(), expected.bytes().len());
    })
}

fn check_name() -> Operation {
    Box::new(|| assert!(TopicName::parse(black_box("prices.crypto.btc")).is_ok()))
}

fn match_pattern() -> Operation {
    let pattern = Pattern::parse("prices.*.btc.>").expect("well-formed");
    Box::new(move || {
        assert!(pattern.matches(black_box("prices.crypto.btc.trades.large")));
        assert!(!pattern.matches(black_box("prices.crypto.eth.trades.large")));
    })
}
