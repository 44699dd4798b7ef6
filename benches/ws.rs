//! Reading masked text messages from memory: what a message costs before anybody looks at it.
//!
//! `reader` is [`fanfare::ws::Reader`]: messages as their own allocations, everything checked.
//! `deflated` is the same for messages that a client has compressed, by the length they are inflated to.
//! `bare` is the frame reader that it stands on, alone: it lets through unmasked frames, endless
//! messages and more, and its payloads hold on to its buffer. `gated` has the gate in front of that. The
//! differences are the prices.

use std::convert::Infallible;
use std::future::ready;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare::internals::ws::gated;
use fanfare::ws::{Deflate, DeflateOptions, Incoming, Opcode, ReadError, ReadLimits, Reader, Window, push_deflated};
use fastwebsockets::{Role, WebSocketError, after_handshake_split};
use http::HeaderMap;
use http::header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
use tokio::io::AsyncRead;

fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("ws");
    for payload_bytes in [16, 128, 1024, 16 * 1024, 128 * 1024] {
        let messages = (1 << 20) / (payload_bytes + 64);
        let stream = frame(0x81, &vec![b'x'; payload_bytes]).repeat(messages);
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(BenchmarkId::new("reader", payload_bytes), |b| {
            b.iter(|| {
                let reader = Reader::new(black_box(&stream[..]), LIMITS);
                assert_eq!(finish(read_all(reader)), messages * payload_bytes);
            });
        });
        group.bench_function(BenchmarkId::new("gated", payload_bytes), |b| {
            b.iter(|| {
                let stream = gated(black_box(&stream[..]), LIMITS);
                assert_eq!(finish(read_all_bare(stream)), messages * payload_bytes);
            });
        });
        group.bench_function(BenchmarkId::new("bare", payload_bytes), |b| {
            b.iter(|| {
                assert_eq!(finish(read_all_bare(black_box(&stream[..]))), messages * payload_bytes);
            });
        });
    }
    group.finish();
}

fn inflating(c: &mut Criterion) {
    let mut headers = HeaderMap::new();
    headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static("permessage-deflate"));
    let agreed = Deflate::negotiate(&headers, &DeflateOptions::default()).expect("the simplest offer");
    let mut group = c.benchmark_group("ws");
    for payload_bytes in [128, 1024, 16 * 1024] {
        let mut message = String::from("[");
        for number in 0.. {
            let next = format!(r#"{{"order":{},"price":{}}},"#, number * 7919 % 10_007, number * 104_729 % 99_991);
            if message.len() + next.len() >= payload_bytes {
                break;
            }
            message += &next;
        }
        message += &" ".repeat(payload_bytes - message.len() - 1);
        message += "]";
        let mut deflated = Vec::new();
        assert!(push_deflated(&mut deflated, Opcode::Text, message.as_bytes(), Window::Bits12));
        let head = if deflated[1] == 126 { 4 } else { 2 };
        let messages = (1 << 20) / (payload_bytes + 64);
        let stream = frame(0xC1, &deflated[head..]).repeat(messages);
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(BenchmarkId::new("deflated", payload_bytes), |b| {
            b.iter(|| {
                let reader = Reader::inflating(black_box(&stream[..]), LIMITS, &agreed);
                assert_eq!(finish(read_all(reader)), messages * payload_bytes);
            });
        });
    }
    group.finish();
}

const LIMITS: ReadLimits = ReadLimits { message_bytes_max: 1 << 20, fragments_max: 16 };

async fn read_all(mut reader: Reader<&[u8]>) -> usize {
    let mut bytes = 0;
    loop {
        match reader.next().await {
            Ok(Incoming::Text(text)) => bytes += black_box(text).len(),
            Err(ReadError::Eof { mid_message: false }) => return bytes,
            other => unreachable!("{other:?}"),
        }
    }
}

async fn read_all_bare(stream: impl AsyncRead + Unpin) -> usize {
    let (mut frames, _) = after_handshake_split(stream, tokio::io::sink(), Role::Server);
    let mut bytes = 0;
    loop {
        let mut send = |_| ready(Ok::<(), Infallible>(()));
        match frames.read_frame(&mut send).await {
            Ok(frame) => bytes += black_box(frame.payload).len(),
            Err(WebSocketError::UnexpectedEOF) => return bytes,
            Err(error) => unreachable!("{error}"),
        }
    }
}

/// A frame as a client sends it; `first` is its first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(a, b)| a ^ b));
    frame
}

/// Runs a future that gives way to others, and waits for nothing else.
fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}

criterion_group!(benches, reading, inflating);
criterion_main!(benches);
