//! A broker whose process ends, well or badly, and the one that comes after it.

mod marks;

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use proptest::prelude::*;

use super::file::Home;
use super::read::restore;
use super::{Store, StoreError};
use crate::broker::{Broker, Builder, Delivery, History, Message, TopicFilter, TopicRule};
use crate::protocol::{Data, Encoding, Epoch, RecoveryFailure, Since, TopicName};
use crate::ring::Seq;

/// A directory that is gone when this is dropped.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // In memory, where the system has such a place: it is not the disk that is tested.
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let path = base.join(format!("fanfare-store-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a directory of its own");
        Dir(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("history.redb")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the directory is ours");
    }
}

/// A process: a broker, its store and what time it is.
struct Run {
    broker: Broker,
    store: Store,
    now_ms: Arc<AtomicU64>,
}

/// What a topic shows of itself.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    epoch: Epoch,
    newest: u64,
    messages: Vec<(u64, String)>,
}

impl Run {
    fn start(dir: &Path) -> Run {
        Run::with(dir, 1_000_000, Broker::builder())
    }

    fn with(dir: &Path, now_ms: u64, builder: Builder) -> Run {
        Run::try_with(dir, now_ms, builder).unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_with(dir: &Path, now_ms: u64, builder: Builder) -> Result<Run, StoreError> {
        let now_ms = Arc::new(AtomicU64::new(now_ms));
        let broker = builder.build_by(&now_ms);
        let store = Store::open(dir, &broker)?;
        Ok(Run { broker, store, now_ms })
    }

    fn publish(&self, topic: &str, data: impl Into<serde_json::Value>) -> (Epoch, u64) {
        let placed = now(self.broker.publish(topic, &data.into())).expect("it can be published");
        (placed.epoch, placed.offset)
    }

    fn shown(&self, topic: &str) -> Option<Shown> {
        shown(&self.broker, topic)
    }

    fn shown_all(&self) -> Vec<(String, Option<Shown>)> {
        shown_all(&self.broker)
    }

    fn pass_ms(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
        self.broker.registry().sweep(self.broker.now_ms());
    }

    fn close(self) {
        self.store.close().unwrap_or_else(|error| panic!("{error}"));
    }
}

fn shown(broker: &Broker, topic: &str) -> Option<Shown> {
    let topic = broker.registry().get(topic)?;
    let found = topic.history(None, usize::MAX, usize::MAX);
    let text = |data: &Data| {
        let mut json = Vec::new();
        data.write_to(Encoding::Json, &mut json);
        String::from_utf8(json).expect("JSON is text")
    };
    Some(Shown {
        epoch: topic.epoch(),
        newest: found.head.offset,
        messages: found.messages.iter().map(|(seq, message)| (seq.0, text(message.data()))).collect(),
    })
}

fn shown_all(broker: &Broker) -> Vec<(String, Option<Shown>)> {
    let listed = broker.registry().stretch(None, usize::MAX);
    listed.iter().map(|topic| (topic.name().to_string(), shown(broker, topic.name()))).collect()
}

/// The outcome of what does not have to wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("it has to wait"),
    }
}

fn since(epoch: Epoch, offset: u64) -> Since {
    Since { epoch: Some(epoch), offset }
}

#[test]
fn after_a_clean_end_topics_are_as_they_were_and_go_on() {
    let dir = Dir::new();
    let mut run = Run::start(&dir.0);
    assert_eq!((run.store.restored().clean, run.store.restored().topics), (true, 0));
    for number in 1..=1_000 {
        run.publish("many", number);
        if number % 100 == 0 {
            run.store.write().expect("room on the disk");
        }
    }
    run.publish("few", "x".repeat(60_000));
    run.publish("few", serde_json::json!({"a": [1, null, "é"]}));
    let before = run.shown_all();
    run.close();

    let run = Run::start(&dir.0);
    let restored = run.store.restored();
    assert_eq!((restored.clean, restored.topics, restored.messages, restored.left_out), (true, 2, 256 + 2, 0));
    assert_eq!(run.shown_all(), before);
    let (epoch, offset) = run.publish("many", 0);
    assert_eq!(offset, 1_001);
    let topic = run.broker.registry().get("many").expect("it is there");
    assert_eq!(topic.resume(since(epoch, 900), Seq(1_001)), Ok(Seq(901)));
    assert_eq!(topic.resume(since(epoch, 700), Seq(1_001)), Err(RecoveryFailure::Expired));
}

#[test]
fn after_a_crash_topics_have_other_epochs_and_what_was_written() {
    let dir = Dir::new();
    let mut run = Run::start(&dir.0);
    for number in 1..=300 {
        run.publish("a", number);
    }
    run.store.write().expect("room on the disk");
    let (old, offset) = run.publish("a", 301);
    assert_eq!(offset, 301);
    drop(run);

    for _ in 0..3 {
        let run = Run::start(&dir.0);
        assert!(!run.store.restored().clean);
        let shown = run.shown("a").expect("it is there");
        assert_ne!(shown.epoch, old);
        assert_eq!(shown.newest, 256);
        let expected: Vec<_> = (45..=300).map(|number: u64| (number - 44, number.to_string())).collect();
        assert_eq!(shown.messages, expected);
        let topic = run.broker.registry().get("a").expect("it is there");
        assert_eq!(topic.resume(since(old, 300), Seq(256)), Err(RecoveryFailure::Epoch));
        // Gone again before anything was written.
    }
    let mut run = Run::start(&dir.0);
    let (epoch, offset) = run.publish("a", 0);
    assert_eq!(offset, 257);
    run.store.write().expect("room on the disk");
    run.close();
    let run = Run::start(&dir.0);
    let shown = run.shown("a").expect("it is there");
    assert_eq!((shown.epoch, shown.newest, shown.messages.len()), (epoch, 257, 256));
}

#[test]
fn a_topic_that_retains_nothing_keeps_its_numbering() {
    let dir = Dir::new();
    let history = History { age_ms: 1_000, ..History::default() };
    let build = || Broker::builder().history(history).linger_ms(10_000);
    let mut run = Run::with(&dir.0, 1_000_000, build());
    let (epoch, _) = run.publish("a", 1);
    run.publish("a", 2);
    let (other, _) = run.publish("b", 1);
    run.store.write().expect("room on the disk");
    run.pass_ms(5_000);
    run.publish("b", 2);
    run.close();

    // Long after, all have aged.
    let run = Run::with(&dir.0, 9_000_000, build());
    assert_eq!(run.shown("a"), Some(Shown { epoch, newest: 2, messages: vec![] }));
    assert_eq!(run.shown("b"), Some(Shown { epoch: other, newest: 2, messages: vec![] }));
    // It lingers from the start on: its clients have to be able to come back.
    run.pass_ms(9_999);
    assert_eq!(run.publish("a", 3), (epoch, 3));
    run.pass_ms(1);
    assert_eq!(run.shown("b"), None);
    run.close();
    let run = Run::with(&dir.0, 9_000_000, build());
    assert_eq!(run.shown_all().len(), 1);
}

#[test]
fn what_went_with_its_topic_does_not_come_back() {
    let dir = Dir::new();
    let history = History { age_ms: 1_000, ..History::default() };
    let build = || Broker::builder().history(history).linger_ms(2_000);
    let mut run = Run::with(&dir.0, 1_000_000, build());
    run.publish("gone", 1);
    let (old, _) = run.publish("anew", 1);
    run.store.write().expect("room on the disk");
    run.pass_ms(3_000);
    assert!(run.shown_all().is_empty());
    let (new, offset) = run.publish("anew", 2);
    assert!(new != old && offset == 1);
    run.store.write().expect("room on the disk");
    // As after a crash: only what was written counts.
    drop(run);
    let run = Run::with(&dir.0, 1_003_000, build());
    let all = run.shown_all();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].1.as_ref().map(|shown| &shown.messages), Some(&vec![(1, "2".to_owned())]));
}

#[test]
fn settings_may_have_changed_in_between() {
    let dir = Dir::new();
    let run = Run::start(&dir.0);
    for number in 1..=100 {
        run.publish("a", number);
        run.publish("b", number);
    }
    let (epoch, _) = run.publish("a", 101);
    run.close();
    let rule = |entries| {
        let mut rule = TopicRule::new(TopicFilter::parse("a").expect("a name"));
        rule.history.entries = entries;
        rule
    };
    let run = Run::with(&dir.0, 1_000_000, Broker::builder().topic_rule(rule(10)));
    assert_eq!(run.store.restored().messages, 110);
    let shown = run.shown("a").expect("it is there");
    assert_eq!((shown.newest, shown.messages[0].0, shown.messages.len()), (101, 92, 10));
    run.close();
    // What did not fit has been removed, and the rest is still in order.
    let run = Run::with(&dir.0, 1_000_000, Broker::builder().topic_rule(rule(1_000)));
    assert_eq!(run.shown("a"), Some(Shown { epoch, ..shown }));
    run.pass_ms(1);
    run.publish("b", 101);
    run.close();
    // Not even one topic more than there may be, and those that were published to last come first.
    let builder = Broker::builder().topics_max(1).retained_bytes_max(3_000);
    let run = Run::with(&dir.0, 1_000_000, builder);
    let restored = run.store.restored();
    assert_eq!((restored.topics, restored.messages, restored.left_out), (1, 0, 1));
    assert_eq!(run.shown("b").map(|shown| shown.newest), Some(101));
}

#[test]
fn a_message_is_the_same_afterwards() {
    let dir = Dir::new();
    let mut rule = TopicRule::new(TopicFilter::parse(">").expect("a pattern"));
    (rule.at, rule.from) = (true, true);
    let run = Run::with(&dir.0, 1_234_567, Broker::builder().topic_rule(rule.clone()));
    let name = TopicName::parse("a").expect("a name");
    let publish = |data: Data, key: Option<&str>, from: Option<&str>| {
        let topic = run.broker.registry().topic(&name, 0).expect("room for a topic");
        let from = from.map(Arc::from);
        let message = Message::new(1, data, None, 1_234_567).about(key).by(from.as_ref());
        run.broker.registry().publish(topic, Arc::new(message), 0).expect("room for a message");
    };
    publish(Data::msgpack(&b"\x92\xc4\x02\x00\xff\xc0"[..]).expect("MessagePack"), Some("about"), Some("ana"));
    publish(Data::json(&b"\"text\""[..]).expect("JSON"), Some(""), None);
    publish(Data::json(&b"0"[..]).expect("JSON"), None, Some("ana"));
    let seen = |run: &Run| -> Vec<_> {
        let found = run.broker.registry().get("a").expect("it is there").history(None, 10, usize::MAX);
        let message = |message: &Message| {
            let (key, from) = (message.key().map(str::to_owned), message.from().map(str::to_owned));
            (message.data().clone(), key, from, message.published_ms(), crate::ring::Entry::weight(message))
        };
        found.messages.iter().map(|(_, found)| message(found)).collect()
    };
    let before = seen(&run);
    run.close();
    let run = Run::with(&dir.0, 1_300_000, Broker::builder().topic_rule(rule));
    assert_eq!(seen(&run), before);
}

#[test]
fn after_its_store_was_closed_a_broker_takes_nothing() {
    let dir = Dir::new();
    let Run { broker, store, .. } = Run::start(&dir.0);
    let publisher = broker.publisher("a").expect("a name");
    let mut subscription = broker.subscribe("a").expect("a name");
    now(publisher.publish(&1)).expect("it can be published");
    store.close().expect("room on the disk");
    assert!(now(publisher.publish(&2)).is_err());
    assert!(now(broker.publish("b", &2)).is_err());
    assert_eq!(broker.history("a", 10).expect("a name").len(), 1);
    // What was published before can still be had.
    let Delivery::Message(message) = now(subscription.next()) else { panic!("nothing was missed") };
    assert_eq!((message.offset(), message.json()), (1, b"1".as_slice().into()));
}

#[test]
fn a_store_that_cannot_be_written_tries_again() {
    let dir = Dir::new();
    let mut run = Run::start(&dir.0);
    run.publish("a", 1);
    run.store.write().expect("room on the disk");
    // As after an error: the file has to be opened anew, and what it has is not known.
    (run.store.database, run.store.progress) = Default::default();
    let away = dir.0.join("away");
    fs::rename(dir.file(), &away).expect("it is there");
    run.publish("a", 2);
    let figures = |run: &Run| {
        let store = &run.broker.registry().store;
        let counts = [&store.writes, &store.failures].map(|count| count.load(Ordering::Relaxed));
        (store.failing.load(Ordering::Relaxed), counts)
    };
    assert!(matches!(run.store.write(), Err(StoreError::Io { .. })));
    assert!(matches!(run.store.write(), Err(StoreError::Io { .. })));
    assert_eq!(figures(&run), (true, [1, 2]));
    fs::rename(&away, dir.file()).expect("it is there");
    run.publish("a", 3);
    run.store.write().expect("room on the disk");
    assert_eq!(figures(&run), (false, [2, 2]));
    let before = run.shown_all();
    run.close();
    assert_eq!(Run::start(&dir.0).shown_all(), before);
}

#[test]
fn what_is_published_while_it_is_written_is_whole_or_not_there() {
    let dir = Dir::new();
    let build = || Broker::builder().history(History { entries: 40, ..History::default() });
    let mut run = Run::with(&dir.0, 1_000_000, build());
    let publishers: Vec<_> = (0..2)
        .map(|_| {
            let broker = run.broker.clone();
            thread::spawn(move || {
                for number in 0..4_000 {
                    let topic = format!("t{}", number % 3);
                    now(broker.publish(&topic, &"x".repeat(number % 300))).expect("it can be published");
                }
            })
        })
        .collect();
    while !publishers.iter().all(thread::JoinHandle::is_finished) {
        run.store.write().expect("room on the disk");
        let (bytes, copy) = (fs::read(dir.file()).expect("it is there"), Dir::new());
        fs::write(copy.file(), bytes).expect("room on the disk");
        // Nothing is written just now, so this is what a crash leaves. Offsets are checked as it is opened.
        let crashed = Run::with(&copy.0, 1_000_000, build());
        assert!(!crashed.store.restored().clean);
        for (name, shown) in crashed.shown_all() {
            let shown = shown.expect("it was listed");
            assert!(shown.newest <= 40 && shown.messages.len() as u64 == shown.newest, "{name}: {shown:?}");
        }
    }
    publishers.into_iter().for_each(|publisher| publisher.join().expect("it does not panic"));
    let before = run.shown_all();
    run.close();
    assert_eq!(Run::with(&dir.0, 1_000_000, build()).shown_all(), before);
}

/// What may happen to a broker with a store.
#[derive(Clone, Debug)]
enum Step {
    Publish { topic: u8, bytes: usize, count: usize },
    PassMs(u64),
    Write,
    End,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let publish = (0..4_u8, prop_oneof![0..50_usize, 1_000..5_000_usize], 1..30_usize);
    prop_oneof![
        6 => publish.prop_map(|(topic, bytes, count)| Step::Publish { topic, bytes, count }),
        2 => (1..2_000_u64).prop_map(Step::PassMs),
        3 => Just(Step::Write),
        1 => Just(Step::End),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_positions_go_on_or_are_void(steps in prop::collection::vec(step(), 1..40)) {
        let dir = Dir::new();
        let history = History { entries: 20, bytes: 30_000, age_ms: 3_000 };
        let build = || Broker::builder().history(history).linger_ms(1_500);
        let mut run = Run::with(&dir.0, 1_000_000, build());
        // What was there when it was last written, and the epochs that ended with a crash.
        let mut written = Vec::new();
        let mut void = Vec::new();
        let mut number = 0;
        for step in steps {
            match step {
                Step::Publish { topic, bytes, count } => {
                    for _ in 0..count {
                        number += 1;
                        let (epoch, _) = run.publish(&format!("t{topic}"), format!("{number}{}", "x".repeat(bytes)));
                        prop_assert!(!void.contains(&epoch));
                    }
                }
                Step::PassMs(ms) => run.pass_ms(ms),
                Step::Write => {
                    run.store.write().expect("room on the disk");
                    written = run.shown_all();
                }
                Step::End => {
                    let now_ms = run.broker.now_ms();
                    written = run.shown_all();
                    run.close();
                    run = Run::with(&dir.0, now_ms, build());
                    prop_assert_eq!(&run.shown_all(), &written);
                }
                Step::Crash => {
                    let now_ms = run.broker.now_ms();
                    void.extend(run.shown_all().into_iter().filter_map(|(_, shown)| shown.map(|shown| shown.epoch)));
                    drop(run);
                    run = Run::with(&dir.0, now_ms, build());
                    let there = run.shown_all();
                    // Nothing that has aged since, and no topic for nothing.
                    let lasting = written.iter().filter(|(name, _)| there.iter().any(|(other, _)| name == other));
                    prop_assert_eq!(lasting.count(), there.len());
                    for (name, shown) in &there {
                        let shown = shown.as_ref().expect("it was listed");
                        prop_assert!(!void.contains(&shown.epoch));
                        let was = written.iter().find(|(other, _)| other == name).and_then(|(_, was)| was.as_ref());
                        let was = was.expect("it was written");
                        let aged = was.messages.len() - shown.messages.len();
                        prop_assert!(shown.messages.len() == shown.newest as usize && shown.newest > 0);
                        let texts = |shown: &Shown| -> Vec<_> { shown.messages.iter().map(|(_, text)| text.clone()).collect() };
                        prop_assert_eq!(texts(shown), texts(was).split_off(aged));
                    }
                    run.store.write().expect("room on the disk");
                    written = there;
                }
            }
        }
    }
}

#[test]
fn a_store_is_for_one_process_and_a_new_broker() {
    let dir = Dir::new();
    let run = Run::start(&dir.0);
    let second = Run::try_with(&dir.0, 0, Broker::builder());
    assert!(matches!(second.map(|_| ()), Err(StoreError::InUse { .. })));
    run.close();
    let broker = Broker::new();
    now(broker.publish("a", &1)).expect("it can be published");
    assert!(matches!(Store::open(&dir.0, &broker).map(|_| ()), Err(StoreError::InBusyBroker)));
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = Dir::new();
    let path = dir.0.join("file");
    fs::write(&path, "not a directory").expect("room on the disk");
    let error = Store::open(&path, &Broker::new()).map(|_| ()).expect_err("it is a file");
    assert!(matches!(error, StoreError::Io { .. }));
    assert!(error.to_string().contains(path.to_str().expect("a readable path")), "{error}");
}

#[test]
fn a_copy_is_not_taken_for_the_original() {
    let sample = Sample::after(true);
    let dir = Dir::new();
    fs::copy(sample.dir.file(), dir.file()).expect("room on the disk");
    let run = Run::start(&dir.0);
    assert!(!run.store.restored().clean);
    let (there, was) = (run.shown_all(), &sample.shown);
    assert_eq!(there.len(), was.len());
    for ((_, there), (_, was)) in there.iter().zip(was) {
        let (there, was) = (there.as_ref().expect("it was listed"), was.as_ref().expect("it was listed"));
        assert!(there.epoch != was.epoch && there.messages == was.messages);
    }
    drop(run);
    // Moved, it is what it was.
    let file = sample.dir.file();
    let away = sample.dir.0.join("away");
    fs::rename(&file, &away).expect("it is there");
    fs::rename(&away, &file).expect("it is there");
    assert_eq!(Run::start(&sample.dir.0).shown_all(), sample.shown);
}

/// A store that was left, what its file had, and what it had in it.
struct Sample {
    dir: Dir,
    bytes: Vec<u8>,
    shown: Vec<(String, Option<Shown>)>,
}

impl Sample {
    /// As it is after an end; or after a crash, which nothing was lost in.
    fn after(clean: bool) -> Sample {
        let dir = Dir::new();
        let mut run = Run::start(&dir.0);
        for number in 0..60 {
            run.publish(&format!("topic.{}", number % 10), "some text ".repeat(number));
            run.publish_once("marked", &number.to_string(), 7);
            if number % 10 == 9 {
                run.store.write().expect("room on the disk");
            }
        }
        let shown = run.shown_all();
        let mut bytes = fs::read(dir.file()).expect("it is there");
        if clean {
            run.close();
            bytes = fs::read(dir.file()).expect("it is there");
        }
        Sample { dir, bytes, shown }
    }

    /// Reads such a file in which something is different: it says what is wrong and leaves the file alone, or
    /// everything is there, or what was there at some earlier time and nobody's position counts. Says
    /// whether positions do.
    fn check(&self, bytes: &[u8], what: &str) -> Result<bool, StoreError> {
        let dir = &self.dir;
        fs::write(dir.file(), bytes).expect("room on the disk");
        let home = Home::take(&dir.0).expect("nobody else uses it");
        let broker = Broker::builder().build_by(&Arc::new(AtomicU64::new(1_000_000)));
        let read = home.look(|file, clean| restore(file, clean, &broker));
        assert!(fs::read(dir.file()).expect("it is there") == bytes, "{what}: the file has been changed");
        let restored = read.inspect_err(|error| {
            assert!(error.to_string().contains("history.redb"), "{what}: {error}");
            assert!(!matches!(error, StoreError::Io { .. }), "{what}: {error}");
        })?;
        let there = shown_all(&broker);
        if restored.clean {
            assert_eq!(there, self.shown, "{what}");
            return Ok(true);
        }
        assert!(!there.is_empty(), "{what}: everything is lost");
        for (name, found) in there {
            let found = found.expect("it was listed");
            let shown = self.shown.iter().find(|(other, _)| *other == name).and_then(|(_, shown)| shown.as_ref());
            let shown = shown.unwrap_or_else(|| panic!("{what}: there was no {name}"));
            assert_ne!(found.epoch, shown.epoch, "{what}");
            for (message, was) in found.messages.iter().zip(&shown.messages) {
                assert_eq!(message, was, "{what}: {name}");
            }
        }
        Ok(false)
    }
}

#[test]
fn a_file_that_was_cut_short_is_refused_and_kept() {
    let sample = Sample::after(true);
    let length = sample.bytes.len();
    for cut in (0..400).step_by(16).chain((400..length).step_by(length / 40)).chain([length - 1]) {
        let opened = sample.check(&sample.bytes[..cut], &format!("cut at {cut}"));
        assert!(matches!(opened, Err(StoreError::Damaged { .. })), "cut at {cut}: {opened:?}");
    }
}

#[test]
fn a_file_that_was_altered_is_refused_or_has_what_was_written() {
    for clean in [true, false] {
        let sample = Sample::after(clean);
        let length = sample.bytes.len();
        let mut refused = 0;
        // The header in full, of the rest some.
        for place in (0..400).step_by(5).chain((400..length).step_by(length / 120)) {
            let mut bytes = sample.bytes.clone();
            bytes[place] ^= 1 << (place % 8);
            let what = format!("clean: {clean}, a bit of byte {place}");
            refused += usize::from(sample.check(&bytes, &what).is_err());
        }
        // After a crash it goes back to what was written before, if that is whole.
        assert!(refused > if clean { 20 } else { 0 }, "clean: {clean}, only {refused} are noticed");
        assert_eq!(sample.check(&sample.bytes, "as it was").ok(), Some(clean));
    }
}

#[test]
fn what_is_no_store_or_a_newer_one_is_refused() {
    let sample = Sample::after(true);
    let text = sample.check(b"this is not a database, whatever its name says", "a text");
    assert!(matches!(text, Err(StoreError::Damaged { .. })));
    fs::remove_file(sample.dir.file()).expect("it is there");
    let other = redb::Database::create(sample.dir.file()).expect("room on the disk");
    drop(other);
    let bytes = fs::read(sample.dir.file()).expect("it is there");
    let other = sample.check(&bytes, "somebody else's");
    assert!(matches!(other, Err(StoreError::Damaged { .. })));

    fs::write(sample.dir.file(), &sample.bytes).expect("room on the disk");
    let newer = redb::Database::open(sample.dir.file()).expect("it is a database");
    let transaction = newer.begin_write().expect("nobody else writes");
    let about = redb::TableDefinition::<&str, u64>::new("about");
    transaction.open_table(about).expect("it is there").insert("format", 2).expect("room on the disk");
    transaction.commit().expect("room on the disk");
    drop(newer);
    let bytes = fs::read(sample.dir.file()).expect("it is there");
    let newer = sample.check(&bytes, "a newer one");
    assert!(matches!(newer, Err(StoreError::Newer { found: 2, known: 1, .. })), "{newer:?}");
}
