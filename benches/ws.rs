//! Reading masked text messages from memory: what a message costs before anybody looks at it.
//!
//! `reader` is [`fanfare::ws::Reader`]: messages as their own allocations, everything checked.
//! `bare` is the frame reader that it stands on, alone: it lets through unmasked frames, endless
//! messages and more, and its payloads hold on to its buffer. The difference is the price.

use std::convert::Infallible;
use std::future::ready;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare::ws::{Incoming, ReadError, ReadLimits, Reader};
use fastwebsockets::{Role, WebSocketError, after_handshake_split};

fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("ws");
    for payload_bytes in [16, 128, 1024, 16 * 1024, 128 * 1024] {
        let messages = (1 << 20) / (payload_bytes + 64);
        let stream = frame(&"x".repeat(payload_bytes)).repeat(messages);
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(BenchmarkId::new("reader", payload_bytes), |b| {
            b.iter(|| {
                assert_eq!(finish(read_all(black_box(&stream))), messages * payload_bytes);
            });
        });
        group.bench_function(BenchmarkId::new("bare", payload_bytes), |b| {
            b.iter(|| {
                assert_eq!(finish(read_all_bare(black_box(&stream))), messages * payload_bytes);
            });
        });
    }
    group.finish();
}

async fn read_all(stream: &[u8]) -> usize {
    let limits = ReadLimits { message_bytes_max: 1 << 20, fragments_max: 16 };
    let mut reader = Reader::new(stream, limits);
    let mut bytes = 0;
    loop {
        match reader.next().await {
            Ok(Incoming::Text(text)) => bytes += black_box(text).len(),
            Err(ReadError::Eof { mid_message: false }) => return bytes,
            other => unreachable!("{other:?}"),
        }
    }
}

async fn read_all_bare(stream: &[u8]) -> usize {
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

/// A text frame as a client sends it.
fn frame(text: &str) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![0x81];
    match text.len() {
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
    frame.extend(text.bytes().zip(KEY.iter().cycle()).map(|(a, b)| a ^ b));
    frame
}

/// Runs a future that never waits.
fn finish<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a slice of memory is always ready"),
    }
}

criterion_group!(benches, reading);
criterion_main!(benches);
