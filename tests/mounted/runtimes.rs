//! One service on several runtimes of one thread each, some of which end before it does.

use std::thread::{self, JoinHandle};

use fanfare::{Broker, History, Service};
use serde_json::json;
use tokio::io::DuplexStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::client::{Client, dial, until};

/// A runtime on a thread of its own, until it is told to stop.
pub(crate) struct Core {
    handle: Handle,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Core {
    pub(crate) fn start() -> Core {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            // An error is the other end gone, with the same meaning.
            let _ = runtime.block_on(stopped);
        });
        Core { handle, stop, thread }
    }

    /// A connection that is served by this core.
    pub(crate) async fn connect(&self, service: &Service) -> Client {
        let stream: DuplexStream = {
            let _within = self.handle.enter();
            dial(service, 64 * 1024)
        };
        Client::over(stream, "ws://localhost/ws").await
    }

    /// The runtime is gone when this returns, with all of its tasks.
    pub(crate) fn stop(self) {
        self.stop.send(()).expect("it runs");
        self.thread.join().expect("it ends");
    }
}

/// More than publishers may run ahead of a shard.
const MORE_THAN_THE_WINDOW: u64 = 1_000;

#[tokio::test]
async fn a_shard_whose_runtime_has_ended_is_begun_anew_and_its_connections_are_closed() {
    let broker = Broker::new();
    let service = Service::builder(broker.clone()).shards(2).build();
    let (lasting, ending) = (Core::start(), Core::start());
    // Connections take turns with the two shards, and a shard lives where its first one does.
    let mut first = lasting.connect(&service).await;
    let mut ends = ending.connect(&service).await;
    let mut third = lasting.connect(&service).await;
    // Read by a task of the core that lasts, written to by the shard of the one that ends.
    let mut torn = lasting.connect(&service).await;
    for client in [&mut first, &mut ends, &mut third, &mut torn] {
        client.subscribe("a").await;
        client.subscribe("pattern.*").await;
    }
    first.send(json!({"type": "publish", "topic": "a", "data": 1})).await;
    broker.publish("pattern.b", &1).await.expect("published");
    for client in [&mut first, &mut ends, &mut third, &mut torn] {
        let mut topics =
            [client.expect("message").await, client.expect("message").await].map(|event| event["topic"].clone());
        topics.sort_by_key(ToString::to_string);
        assert_eq!(topics, ["a", "pattern.b"]);
    }

    ending.stop();
    ends.expect_end().await;
    torn.expect_end().await;
    until("they stay", || service.connections() == 2).await;

    // Publishers do not wait for a shard that is no more, and whoever is left misses nothing.
    let publishing = async {
        for number in 0..MORE_THAN_THE_WINDOW {
            broker.publish("a", &number).await.expect("published");
        }
    };
    let (from, to) = (1, 1 + MORE_THAN_THE_WINDOW);
    tokio::join!(publishing, first.expect_all(from, to), third.expect_all(from, to));

    // One for each shard: the one that ended lives on the next core.
    let next = Core::start();
    let (mut fifth, mut sixth) = (next.connect(&service).await, next.connect(&service).await);
    for client in [&mut fifth, &mut sixth] {
        client.subscribe("a").await;
    }
    sixth.send(json!({"type": "publish", "id": 1, "topic": "a", "data": "new"})).await;
    for client in [&mut first, &mut third, &mut fifth] {
        assert_eq!(client.expect("message").await["data"], "new");
    }
    let mut kinds = [sixth.recv().await, sixth.recv().await].map(|event| event["type"].clone());
    kinds.sort_by_key(ToString::to_string);
    assert_eq!(kinds, ["message", "published"]);
    assert_eq!(service.connections(), 4);
    for core in [lasting, next] {
        core.stop();
    }
    service.drained().await;
}

#[tokio::test]
async fn the_server_s_figures_go_on_after_the_runtime_that_began_them() {
    let service = Service::new(Broker::new());
    let ending = Core::start();
    let mut client = ending.connect(&service).await;
    client.subscribe("$stats").await;
    client.expect("message").await;
    ending.stop();
    let next = Core::start();
    let mut client = next.connect(&service).await;
    client.subscribe("$stats").await;
    assert_eq!(client.expect("message").await["data"]["connections"], 1);
    next.stop();
}

#[tokio::test]
async fn every_core_s_connections_follow_and_publish_at_once() {
    const CORES: usize = 3;
    const EACH: u64 = 300;
    // Who sends first and reads then misses nothing.
    let broker =
        Broker::builder().history(History { entries: 10_000, bytes: usize::MAX, ..History::default() }).build();
    let service = Service::builder(broker).shards(CORES).build();
    let cores: Vec<Core> = (0..CORES).map(|_| Core::start()).collect();
    let mut clients = Vec::new();
    // Twice as many as shards, and each shard has connections of two cores.
    for number in 0..2 * CORES {
        let mut client = cores[(number + number / CORES) % CORES].connect(&service).await;
        client.subscribe("a").await;
        clients.push(client);
    }
    let total = EACH * clients.len() as u64;
    let each = clients.iter_mut().map(|client| async move {
        for _ in 0..EACH {
            client.send(json!({"type": "publish", "topic": "a", "data": 1})).await;
        }
        client.expect_all(0, total).await;
    });
    futures_util::future::join_all(each).await;
    for core in cores {
        core.stop();
    }
}
