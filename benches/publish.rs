//! What publishing costs in process, and that it does not grow with the subscribers.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fanfare::{Broker, Data, History, Service};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

fn payload() -> Data {
    Data::from_serialize(&json!({"text": "x".repeat(115)})).expect("it is JSON")
}

/// 128 bytes that are a string, of which nothing has to be known.
fn raw() -> Data {
    let data = Data::json(format!("{:?}", "x".repeat(126))).expect("it is JSON");
    assert_eq!(data.bytes().len(), 128);
    data
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

/// Four publishers to one topic that nobody follows, each with a thread of its own: the bound is 200 ns a publish, all
/// of them together, on as many processors as there are.
fn contended(criterion: &mut Criterion) {
    const PUBLISHERS: u64 = 4;
    let broker = Broker::new();
    let publisher = broker.publisher("bench").expect("a name");
    let data = raw();
    criterion.bench_function("publish/four publishers", |bencher| {
        bencher.iter_custom(|times| {
            let each = times.div_ceil(PUBLISHERS);
            let before = publisher.try_publish(data.clone()).expect("nobody holds it back").offset;
            let begun = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..PUBLISHERS {
                    let (publisher, data) = (publisher.clone(), &data);
                    scope.spawn(move || {
                        for _ in 0..each {
                            publisher.try_publish(black_box(data.clone())).expect("nobody holds it back");
                        }
                    });
                }
            });
            let spent = begun.elapsed();
            let after = publisher.try_publish(data.clone()).expect("nobody holds it back").offset;
            assert_eq!(after - before, PUBLISHERS * each + 1);
            // What more was published than asked for is not of this time.
            spent.mul_f64(times as f64 / (PUBLISHERS * each) as f64)
        });
    });
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
        let peers = runtime.block_on(subscribers(&service, &vec![vec!["bench".to_owned()]; count]));
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

/// Many topics, published to one after the other by their names: what follows each is found when it is born, so
/// patterns cost a publish no more than names do.
fn many_topics(criterion: &mut Criterion) {
    const TOPICS: usize = 100_000;
    const CONNECTIONS: usize = 1_000;
    const BURST: usize = 32;
    let names: Vec<String> = (0..TOPICS).map(|topic| format!("area.{}.{topic}", topic % CONNECTIONS)).collect();
    let by_name = |conn: usize| names.iter().skip(conn).step_by(CONNECTIONS).cloned().collect();
    let followers: [(&str, Vec<Vec<String>>); 3] = [
        ("unfollowed", Vec::new()),
        ("each followed by its name", (0..CONNECTIONS).map(by_name).collect()),
        (
            "each followed by one of 1,000 patterns",
            (0..CONNECTIONS).map(|conn| vec![format!("area.{conn}.*")]).collect(),
        ),
    ];
    let mut group = criterion.benchmark_group("publish/100,000 topics");
    for (what, filters) in followers {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // What they keep is not what is measured.
        let broker = Broker::builder().history(History { entries: 1, ..History::default() }).build();
        let service = Service::builder(broker.clone()).shards(1).build();
        let peers = runtime.block_on(subscribers(&service, &filters));
        let data = payload();
        let mut next = names.iter().cycle();
        let mut publish = |times: u64| {
            let mut spent = Duration::ZERO;
            let mut left = usize::try_from(times).expect("it fits");
            while left > 0 {
                let burst = left.min(BURST);
                let begun = Instant::now();
                for name in next.by_ref().take(burst) {
                    let publisher = broker.publisher(black_box(name)).expect("a name");
                    publisher.try_publish(data.clone()).expect("the shard has had its turns");
                }
                spent += begun.elapsed();
                left -= burst;
                runtime.block_on(tokio::task::yield_now());
            }
            spent
        };
        // All of them are born before anything is measured.
        publish(TOPICS as u64);
        group.bench_function(what, |bencher| bencher.iter_custom(&mut publish));
        assert_eq!(service.connections(), filters.len() as u64);
        drop(peers);
    }
    group.finish();
}

/// Connections in memory, one for each list of names and patterns, that have subscribed to those and read nothing
/// more.
async fn subscribers(service: &Service, filters: &[Vec<String>]) -> Vec<DuplexStream> {
    const HANDSHAKE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let mut peers = Vec::with_capacity(filters.len());
    for filters in filters {
        let (mut near, far) = tokio::io::duplex(2048);
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service.clone());
        tokio::spawn(connection.with_upgrades());
        near.write_all(HANDSHAKE).await.expect("the service reads");
        let subscribe = json!({"type": "subscribe", "id": 1, "topics": filters}).to_string();
        // A frame of a client is masked; a mask of zeros leaves it as it is.
        let mut frame = vec![0x81];
        match u8::try_from(subscribe.len()) {
            Ok(short @ ..=125) => frame.push(0x80 | short),
            _ => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(subscribe.len()).expect("it is no longer").to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(subscribe.as_bytes());
        near.write_all(&frame).await.expect("the service reads");
        let mut answer = Vec::new();
        let subscribed = |answer: &[u8]| answer.windows(12).filter(|window| window == b"\"subscribed\"").count();
        while subscribed(&answer) < filters.len() {
            near.read_buf(&mut answer).await.expect("the service answers");
        }
        peers.push(near);
    }
    peers
}

criterion_group!(benches, unfollowed, contended, followed, many_topics);
criterion_main!(benches);
