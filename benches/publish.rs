//! What publishing costs in process, and that it does not grow with the subscribers.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fanfare::{Broker, Data, Service};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

fn payload() -> Data {
    Data::from_serialize(&json!({"text": "x".repeat(115)})).expect("it is JSON")
}

/// A topic nobody follows: the bound is a microsecond.
fn unfollowed(criterion: &mut Criterion) {
    let broker = Broker::new();
    let publisher = broker.publisher("bench").expect("a name");
    let data = payload();
    assert_eq!(data.bytes().len(), 126);
    let mut last = 0;
    criterion.bench_function("publish/unfollowed", |bencher| {
        bencher.iter(|| {
            let published = publisher.try_publish(black_box(data.clone())).expect("nobody holds it back");
            assert_eq!(published.offset, last + 1);
            last = published.offset;
        });
    });
    let mut by_name = 0;
    criterion.bench_function("publish/unfollowed by name", |bencher| {
        bencher.iter(|| {
            let publisher = broker.publisher(black_box("other.topic")).expect("a name");
            by_name = publisher.try_publish(data.clone()).expect("nobody holds it back").offset;
        });
    });
    assert!(by_name > 0);
}

/// Connections that subscribe to the topic: publishing marks it dirty once, whatever their number. Only
/// the publishes are timed; in between the shard has its turns.
fn followed(criterion: &mut Criterion) {
    const BURST: u64 = 32;
    let mut group = criterion.benchmark_group("publish/subscribed connections");
    for count in [1, 100, 10_000] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let broker = Broker::new();
        let service = Service::builder(broker.clone()).shards(1).build();
        let peers = runtime.block_on(subscribers(&service, count));
        let publisher = broker.publisher("bench").expect("a name");
        let data = payload();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                let mut left = times;
                while left > 0 {
                    let burst = left.min(BURST);
                    let begun = Instant::now();
                    let placed = (0..burst).take_while(|_| publisher.try_publish(data.clone()).is_ok()).count() as u64;
                    spent += begun.elapsed();
                    left -= placed;
                    runtime.block_on(tokio::task::yield_now());
                }
                spent
            });
        });
        assert_eq!(service.connections(), count as u64);
        drop(peers);
    }
    group.finish();
}

/// Connections in memory that have subscribed to `bench` and read nothing more.
async fn subscribers(service: &Service, count: usize) -> Vec<DuplexStream> {
    const HANDSHAKE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    const SUBSCRIBE: &[u8] = br#"{"type":"subscribe","id":1,"topic":"bench"}"#;
    let mut peers = Vec::with_capacity(count);
    for _ in 0..count {
        let (mut near, far) = tokio::io::duplex(2048);
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service.clone());
        tokio::spawn(connection.with_upgrades());
        near.write_all(HANDSHAKE).await.expect("the service reads");
        // A frame of a client is masked; a mask of zeros leaves it as it is.
        let mut frame = vec![0x81, 0x80 | SUBSCRIBE.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(SUBSCRIBE);
        near.write_all(&frame).await.expect("the service reads");
        let mut answer = Vec::new();
        while !answer.windows(12).any(|window| window == b"\"subscribed\"") {
            near.read_buf(&mut answer).await.expect("the service answers");
        }
        peers.push(near);
    }
    peers
}

criterion_group!(benches, unfollowed, followed);
criterion_main!(benches);
