//! What a message costs on its way through the protocol: decoded once, rendered once per encoding,
//! transcoded once if somebody follows in the other. Each bench asserts its result once.
//!
//! Payloads are JSON objects of the size named, as a price feed would send them.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fanfare::internals::protocol::{
    Command, Data, DecodeLimits, Encoding, Publish, Request, TopicName, decode_json, decode_msgpack, render_message,
};

const SIZES: [(&str, usize); 3] = [("128", 128), ("1k", 1024), ("16k", 16 * 1024)];

const LIMITS: DecodeLimits = DecodeLimits { batch_items_max: 100, key_bytes_max: 255, member_bytes_max: 1024 };

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode_publish");
    for (name, size) in SIZES {
        let text = payload(size);
        let frame = format!(r#"{{"type":"publish","id":4,"topic":"prices.btc","data":{text}}}"#);
        let packed = packed(&frame);
        group.throughput(Throughput::Bytes(size as u64));

        assert_eq!(published(decode_json(&frame, &LIMITS).next()).data, text.as_bytes());
        group.bench_function(format!("json/{name}"), |b| {
            b.iter(|| published(decode_json(black_box(&frame), &LIMITS).next()).data.len());
        });

        assert_eq!(
            json(&Data::msgpack(published(decode_msgpack(&packed, &LIMITS).next()).data.to_vec()).expect("checked")),
            text
        );
        group.bench_function(format!("msgpack/{name}"), |b| {
            b.iter(|| published(decode_msgpack(black_box(&packed), &LIMITS).next()).data.len());
        });
    }
}

fn render(c: &mut Criterion) {
    let topic = TopicName::parse("prices.btc").expect("well-formed");
    let mut group = c.benchmark_group("render_message");
    for (name, size) in SIZES {
        let text = payload(size);
        let plain = Data::json(text.clone()).expect("carriable");
        let bytes = packed(&text);
        let packed = Data::msgpack(bytes.clone()).expect("carriable");
        group.throughput(Throughput::Bytes(size as u64));
        for (encoding, data) in [(Encoding::Json, &plain), (Encoding::MsgPack, &packed)] {
            let render = |out: &mut Vec<u8>| {
                render_message(encoding, black_box(&topic), 123_456, None, None, None, data, out);
            };
            let mut once = Vec::new();
            render(&mut once);
            let whole = match encoding {
                Encoding::Json => {
                    once == format!(r#"{{"type":"message","topic":"prices.btc","offset":123456,"data":{text}}}"#)
                        .as_bytes()
                }
                Encoding::MsgPack => once.starts_with(b"\x84\xa4type\xa7message") && once.ends_with(&bytes),
            };
            assert!(whole, "an envelope around the untouched payload");
            // The buffer is kept, as a shard keeps its own; allocating it is not the protocol's.
            let mut out = Vec::with_capacity(2 * once.len());
            group.bench_function(format!("{}/{name}", encoding.as_str()), |b| {
                b.iter(|| {
                    out.clear();
                    render(&mut out);
                    out.len()
                });
            });
        }
    }
}

fn transcode(c: &mut Criterion) {
    let mut group = c.benchmark_group("transcode");
    for (name, size) in SIZES {
        let text = payload(size);
        let plain = Data::json(text.clone()).expect("carriable");
        let packed = Data::msgpack(packed(&text)).expect("carriable");
        assert_eq!(json(&packed), text, "there and back");
        group.throughput(Throughput::Bytes(size as u64));
        for (way, data, to) in
            [("json_to_msgpack", &plain, Encoding::MsgPack), ("msgpack_to_json", &packed, Encoding::Json)]
        {
            group.bench_function(format!("{way}/{name}"), |b| {
                b.iter_batched_ref(
                    || Vec::with_capacity(2 * size),
                    |out| black_box(data).write_to(to, out),
                    BatchSize::SmallInput,
                );
            });
        }
    }
}

fn topics(c: &mut Criterion) {
    let mut group = c.benchmark_group("topic");
    assert!(TopicName::parse("prices.crypto.btc").is_ok());
    group.bench_function("parse", |b| b.iter(|| TopicName::parse(black_box("prices.crypto.btc")).is_ok()));
}

fn published<E: std::fmt::Debug>(outcome: Option<Result<Request<'_>, E>>) -> Publish<'_> {
    match outcome {
        Some(Ok(Request { command: Command::Publish(publish), .. })) => publish,
        other => panic!("not a publish: {other:?}"),
    }
}

/// A JSON object of exactly this many bytes.
fn payload(size: usize) -> String {
    let mut text = String::from(r#"{"symbol":"BTC-USD","levels":["#);
    let mut level = 0;
    loop {
        let next = format!(r#"{{"bid":{}.25,"ask":{}.75,"size":{level}}},"#, 64_000 - level, 64_001 + level);
        if text.len() + next.len() + 12 > size {
            break;
        }
        text.push_str(&next);
        level += 1;
    }
    text.truncate(text.trim_end_matches(',').len());
    text.push_str(r#"],"note":""#);
    let pad = size - text.len() - 2;
    text.extend(std::iter::repeat_n('x', pad));
    text.push_str("\"}");
    assert_eq!(text.len(), size, "a payload of the size named");
    text
}

fn packed(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    Data::json(text.to_owned()).expect("carriable").write_to(Encoding::MsgPack, &mut out);
    out
}

fn json(data: &Data) -> String {
    let mut out = Vec::new();
    data.write_to(Encoding::Json, &mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

criterion_group!(benches, decode, render, transcode, topics);
criterion_main!(benches);
