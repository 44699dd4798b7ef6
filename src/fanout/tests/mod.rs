//! A shard turned by hand, with peers whose slowness is a number of bytes.

mod deflate;
mod following;
mod model;
mod overflow;
mod pace;
mod presence;
mod recovery;
mod seams;
mod serving;
mod slow;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use serde_json::Value;

use super::backlogs::Backlogs;
use super::mail::{Asker, Mailbox, Start, Terms, What};
use super::options::ShardOptions;
use super::shard::{Shard, Turn};
use super::{Link, Pipe, Transport};
use crate::broker::{Broker, ConnectionId, Form, History, Message, Overflow, Refused, TopicFilter, TopicRule};
use crate::protocol::{Data, Encoding, Filter, Id, TopicName};

/// More than any test writes: a peer that reads everything at once.
const FAST: usize = 1 << 20;

struct Rig {
    broker: Broker,
    shard: Shard,
    mailbox: Arc<Mailbox>,
    peers: u64,
    /// The broker's clock.
    now_ms: Arc<AtomicU64>,
}

/// A connection, seen from the other end of the wire.
struct Peer {
    link: Arc<Link>,
    pipe: Arc<Pipe>,
    received: Vec<u8>,
    events: VecDeque<Value>,
    /// The codes of close frames and the number of pings.
    closed: Option<u16>,
    pings: usize,
    /// How many messages came compressed.
    deflated: usize,
}

impl Rig {
    fn new(history: History, options: ShardOptions) -> Self {
        Self::with_rules(history, options, &[])
    }

    /// With topics that have a policy of their own.
    fn with_rules(history: History, options: ShardOptions, rules: &[(&str, Overflow)]) -> Self {
        let now_ms = Arc::<AtomicU64>::default();
        let builder = rules.iter().fold(Broker::builder(), |builder, &(pattern, overflow)| {
            let pattern = TopicFilter::parse(pattern).expect("a name or pattern");
            builder.topic_rule(TopicRule { history, overflow, ..TopicRule::new(pattern) })
        });
        let broker = builder.history(history).linger_ms(0).build_by(&now_ms);
        let mailbox = Arc::new(Mailbox::new(Backlogs::of(1).next().expect("one shard")));
        mailbox.served().store(true, Ordering::SeqCst);
        let shard = Shard::new(broker.clone(), Arc::clone(&mailbox), options);
        Rig { broker, shard, mailbox, peers: 0, now_ms }
    }

    fn connect(&mut self, capacity: usize) -> Peer {
        self.connect_as(Encoding::Json.into(), capacity)
    }

    fn connect_as(&mut self, form: Form, capacity: usize) -> Peer {
        self.peers += 1;
        let pipe = Arc::new(Pipe::with_capacity(capacity));
        let link = Arc::new(Link::new(ConnectionId(self.peers), form, Transport::Pipe(Arc::clone(&pipe))));
        self.mailbox.post(&link, What::Open(Vec::new()));
        self.turn();
        Peer { link, pipe, received: Vec::new(), events: VecDeque::new(), closed: None, pings: 0, deflated: 0 }
    }

    /// Turns until there is nothing left to do.
    fn turn(&mut self) {
        const TURNS_MAX: usize = 10_000;
        let turns = (0..TURNS_MAX).take_while(|_| self.shard.turn() == Turn::Again).count();
        assert!(turns < TURNS_MAX, "the shard never comes to rest");
    }

    /// So many milliseconds go by.
    fn pass(&mut self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
        self.turn();
    }

    fn post(&mut self, peer: &Peer, what: What) {
        self.mailbox.post(&peer.link, what);
        self.turn();
    }

    fn subscribe(&mut self, peer: &Peer, filter: &str) {
        self.post(peer, What::Join(Filter::parse(filter).expect("a name or pattern"), Terms::default(), asker(1)));
    }

    fn unsubscribe(&mut self, peer: &Peer, filter: &str) {
        self.post(peer, What::Leave(Filter::parse(filter).expect("a name or pattern"), asker(2)));
    }

    /// Publishes and does not turn; false when there is no room.
    fn publish_as(&self, topic: &str, text: &str, skip: Option<ConnectionId>) -> bool {
        self.publish_about(topic, None, text, skip)
    }

    /// Publishes about something and does not turn; false when there is no room.
    fn publish_about(&self, topic: &str, key: Option<&str>, text: &str, skip: Option<ConnectionId>) -> bool {
        let name = TopicName::parse(topic).expect("a name");
        let topic = self.broker.registry().topic(&name, 0).expect("room for a topic");
        let data = Data::try_from(text).expect("JSON");
        let message = Arc::new(Message::new(name.len(), data, skip, 0).about(key));
        match self.broker.registry().publish(topic, message, 0) {
            Ok(_) => true,
            Err(Refused::Full(..)) => false,
            Err(Refused::TooManyTopics) => panic!("too many topics"),
        }
    }

    fn publish(&mut self, topic: &str, text: &str) {
        assert!(self.publish_as(topic, text, None), "no room in {topic}");
        self.turn();
    }

    /// The peer reads what its socket holds; the shard is told once there is room.
    fn read(&mut self, peer: &mut Peer) {
        peer.take();
        let mut cx = Context::from_waker(Waker::noop());
        if peer.link.poll_room(&mut cx).is_ready() {
            self.post(peer, What::Writable);
        }
    }

    /// The peer reads until nothing more comes.
    fn read_all(&mut self, peer: &mut Peer) {
        for _ in 0..100_000 {
            let before = (peer.received.len(), peer.events.len());
            self.read(peer);
            peer.take();
            if before == (peer.received.len(), peer.events.len()) && peer.pipe_is_empty() {
                return;
            }
        }
        panic!("the peer is never done reading");
    }
}

impl Peer {
    fn pipe_is_empty(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !matches!(self.pipe.poll_take(&mut cx), Poll::Ready(bytes) if !bytes.is_empty())
    }

    fn take(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(bytes) = self.pipe.poll_take(&mut cx) {
            self.received.extend_from_slice(&bytes);
        }
        while let Some((first, payload)) = take_frame(&mut self.received) {
            let is_deflated = first & 0x40 != 0;
            self.deflated += usize::from(is_deflated);
            let payload = if is_deflated { inflate(&payload) } else { payload };
            match first & 0x0F {
                1 => self.events.push_back(serde_json::from_slice(&payload).expect("an event is JSON")),
                8 => self.closed = Some(u16::from_be_bytes([payload[0], payload[1]])),
                9 => self.pings += 1,
                other => panic!("a frame with opcode {other}"),
            }
        }
    }

    fn next(&mut self) -> Option<Value> {
        self.take();
        self.events.pop_front()
    }

    /// The next event, which must be one of that type.
    fn expect(&mut self, kind: &str) -> Value {
        let event = self.next().unwrap_or_else(|| panic!("nothing came, {kind} was expected"));
        assert_eq!(event["type"], kind, "{event}");
        event
    }

    fn expect_nothing(&mut self) {
        let event = self.next();
        assert_eq!(event, None);
    }

    /// Every message that has come, as topic and offset.
    fn offsets(&mut self) -> Vec<(String, u64)> {
        let mut offsets = Vec::new();
        while let Some(event) = self.next() {
            assert_eq!(event["type"], "message", "{event}");
            offsets.push((
                event["topic"].as_str().expect("a topic").to_owned(),
                event["offset"].as_u64().expect("an offset"),
            ));
        }
        offsets
    }
}

/// Takes a whole, unmasked frame from the front, if there is one: its first byte and its payload.
fn take_frame(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let &[first, second, ..] = bytes.as_slice() else { return None };
    assert_eq!(first & 0xB0, 0x80, "frames of the server are final and have no reserved bits but RSV1");
    let (length, head) = match second {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    let payload = bytes.get(head..head + length)?.to_vec();
    bytes.drain(..head + length);
    Some((first, payload))
}

/// Inflates a message with another implementation than the one that made it.
fn inflate(payload: &[u8]) -> Vec<u8> {
    // The end of the block that is not sent, and one that says it is the last.
    let whole = [payload, &[0x00, 0x00, 0xFF, 0xFF, 0x01, 0x00, 0x00, 0xFF, 0xFF]].concat();
    miniz_oxide::inflate::decompress_to_vec(&whole).expect("it is DEFLATE")
}

fn asker(id: u64) -> Asker {
    Asker { id: Some(Id::Int(id)), index: None }
}

/// A peer that subscribes to `a` and reads its answer.
fn subscriber(rig: &mut Rig, capacity: usize) -> Peer {
    let mut peer = rig.connect(capacity);
    rig.subscribe(&peer, "a");
    rig.read_all(&mut peer);
    peer.expect("subscribed");
    peer
}

fn terms(start: Start) -> Terms {
    Terms { start, ..Terms::default() }
}

/// Compresses whatever becomes shorter.
fn options() -> ShardOptions {
    ShardOptions { deflate_bytes_min: 0, ..ShardOptions::default() }
}
