//! Publishes with an idempotency key, before and after an end.

use std::sync::atomic::AtomicBool;

use super::*;

impl Run {
    /// With an idempotency key.
    pub(super) fn publish_once(&self, topic: &str, key: &str, data: u64) -> (Epoch, u64) {
        publish_once(&self.broker, topic, key, data)
    }
}

fn publish_once(broker: &Broker, topic: &str, key: &str, data: u64) -> (Epoch, u64) {
    let name = TopicName::parse(topic).expect("a name");
    let data = Data::try_from(data.to_string().as_str()).expect("JSON");
    let now_ms = broker.now_ms();
    let message = Message::new(topic.len(), data, None, now_ms).marked("scope", Some(key));
    let topic = broker.registry().topic(&name, now_ms).expect("room for a topic");
    let placed = broker.registry().publish(topic, Arc::new(message), now_ms).expect("room for a message");
    (placed.epoch, placed.seq.0)
}

#[test]
fn a_repeated_publish_is_known_after_a_restart() {
    let dir = Dir::new();
    let mut run = Run::start(&dir.0);
    let first = run.publish_once("a", "k1", 1);
    run.store.write().expect("room on the disk");
    let second = run.publish_once("a", "k2", 2);
    run.close();
    let mut run = Run::with(&dir.0, 1_299_000, Broker::builder());
    assert_eq!(run.publish_once("a", "k1", 1), first);
    assert_eq!(run.publish_once("a", "k2", 2), second);
    let third = run.publish_once("a", "k3", 3);
    assert_eq!(third.1, 3);
    run.store.write().expect("room on the disk");
    drop(run);
    // After a crash as well: what it says is where the message was then.
    let run = Run::with(&dir.0, 1_300_000, Broker::builder());
    assert_eq!(run.publish_once("a", "k3", 3), third);
    assert_eq!(run.shown("a").map(|shown| shown.messages.len()), Some(3));
    // Past the window it is a publish like any other.
    run.pass_ms(1_000);
    assert_ne!(run.publish_once("a", "k1", 1), first);
    assert_eq!(run.publish_once("a", "k3", 3), third);
}

#[test]
fn a_marked_message_is_in_the_file_with_its_mark_or_not_at_all() {
    const WRITES: usize = 3;
    let dir = Dir::new();
    let build = || Broker::builder().history(History { entries: 40, ..History::default() });
    let mut run = Run::with(&dir.0, 1_000_000, build());
    let over = Arc::new(AtomicBool::new(false));
    let publishers = ["t0", "t1"].map(|topic| {
        let (broker, over) = (run.broker.clone(), Arc::clone(&over));
        thread::spawn(move || {
            // Together fewer than are remembered.
            for number in (0..8_000).take_while(|_| !over.load(Ordering::Relaxed)) {
                publish_once(&broker, topic, &number.to_string(), number);
            }
        })
    });
    for _ in 0..WRITES {
        run.store.write().expect("room on the disk");
        let (bytes, copy) = (fs::read(dir.file()).expect("it is there"), Dir::new());
        fs::write(copy.file(), bytes).expect("room on the disk");
        let mut crashed = Run::with(&copy.0, 1_000_000, build());
        // The first write numbers anew what was read, which may have had holes.
        crashed.store.write().expect("room on the disk");
        drop(crashed);
        let crashed = Run::with(&copy.0, 1_000_000, build());
        for (topic, shown) in crashed.shown_all() {
            let shown = shown.expect("it was listed");
            for (_, number) in &shown.messages {
                let (epoch, _) = crashed.publish_once(&topic, number, number.parse().expect("a number"));
                assert_ne!(epoch, shown.epoch, "{number} was published again in {topic}");
            }
            let newest = shown.messages.last().map_or(0, |(_, number)| number.parse().expect("a number"));
            let (epoch, _) = crashed.publish_once(&topic, &(newest + 1).to_string(), newest + 1);
            assert_eq!(epoch, shown.epoch, "{} is taken for published in {topic}", newest + 1);
        }
    }
    over.store(true, Ordering::Relaxed);
    publishers.into_iter().for_each(|publisher| publisher.join().expect("it does not panic"));
}
