//! What publishing costs in process, and that it does not grow with the subscribers.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fanfare::{Broker, Data, Delivery, Subscription};
use serde_json::json;

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

/// Subscribers behind one receiver: a shard has any number of connections, and a publish marks the topic
/// dirty once for all of them. Here the receiver is a pattern's subscription, with topics beside.
fn followed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish/subscriptions to other topics");
    for count in [1, 100, 10_000] {
        let broker = Broker::new();
        let others: Vec<Subscription> = (0..count).map(|number| broker.subscribe(&format!("other.{number}")).expect("a name")).collect();
        let mut own = broker.subscribe("bench").expect("a name");
        let publisher = broker.publisher("bench").expect("a name");
        let data = payload();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                publisher.try_publish(data.clone()).expect("in-process subscriptions hold nobody back");
                assert!(matches!(own.try_next(), Some(Delivery::Message(_))));
            });
        });
        assert_eq!(others.len(), count);
    }
    group.finish();
}

criterion_group!(benches, unfollowed, followed);
criterion_main!(benches);
