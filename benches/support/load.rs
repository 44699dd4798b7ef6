//! A load: one publisher and many subscribers on one thread, cheap enough not to be what is measured.
//!
//! Readiness comes from epoll; a read takes what waits into one buffer for all connections, and of each
//! message only the offset and the end are looked at. Every message of every subscriber is checked: its
//! offset has to follow the one before, and its data has to end as it was published.
//!
//! With a core of its own the load never sleeps. Who writes to a process that sleeps pays for waking it, and a
//! server that writes each message by itself would pay each time: a price of loopback, not of the server, and
//! a fifth of what the naive broker seems to cost where it is not taken out.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::inflate::Known;
use super::traffic::{self, Traffic};
use super::{Result, wire};

/// Publishes without an answer at any time, at full speed.
const OUTSTANDING_MAX: u64 = 64;

/// Connections on their way at any time, fewer than any server's accept queue holds.
const OPENING_MAX: usize = 64;

/// Larger than all that can be on its way to one subscriber.
const BUFFER_BYTES: usize = 256 * 1024;

/// How long anything may stand still before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Its subscribers read only while one of its methods runs; between them they are as slow as can be.
pub(crate) struct Load {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    address: SocketAddr,
    peers: Vec<Peer>,
    buffer: Vec<u8>,
    seen: Seen,
    publisher: Option<Publisher>,
    /// Writes made so far: what of the machine's segments is our own.
    writes: u64,
    /// Whether it looks for events without ever waiting for them.
    restless: bool,
    traffic: Traffic,
}

/// What has arrived so far, at all subscribers together.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) messages: u64,
    /// Bytes of them on the wire, frames included.
    pub(crate) bytes: u64,
    /// Gaps, and the messages that they said were left out.
    pub(crate) gaps: u64,
    pub(crate) skipped: u64,
    /// Messages that nobody accounted for.
    pub(crate) lost: u64,
    /// Connections that are ready for use.
    live: usize,
    /// Publishes that were answered.
    published: u64,
    /// Where the topics stand.
    pub(crate) head: Position,
    /// Where latencies go, in microseconds, while somebody wants them.
    latencies: Option<Vec<u32>>,
    now: u64,
    data_tail: Vec<u8>,
    known: Known,
}

/// An offset in each topic.
#[derive(Clone, Default)]
pub(crate) struct Position {
    /// All of them together.
    sum: u64,
    /// One by one; empty where there is only one topic, for which the sum will do.
    offsets: Vec<u64>,
}

impl Position {
    fn new(traffic: Traffic) -> Position {
        let offsets = if traffic.topics == 1 { Vec::new() } else { vec![0; traffic.topics as usize] };
        Position { sum: 0, offsets }
    }

    fn of(&self, topic: usize) -> u64 {
        self.offsets.get(topic).copied().unwrap_or(self.sum)
    }

    fn move_to(&mut self, topic: usize, offset: u64) {
        self.sum = self.sum - self.of(topic) + offset;
        if let Some(at) = self.offsets.get_mut(topic) {
            *at = offset;
        }
    }
}

struct Peer {
    stream: TcpStream,
    role: Role,
    upgraded: bool,
    /// The offsets of the last messages. A pattern's subscriber has to be there before the first of them.
    position: Position,
    /// The beginning of a frame whose end has not arrived.
    rest: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Publisher,
    Subscriber,
}

struct Publisher {
    peer: usize,
    traffic: Traffic,
    issued: u64,
    text: String,
    data_tail: String,
    /// Frames that the socket has not taken yet.
    out: Vec<u8>,
    start: Instant,
}

impl Load {
    /// `restless` wants a core that the server does not need.
    pub(crate) fn new(address: SocketAddr, traffic: Traffic, restless: bool) -> Result<Load> {
        Ok(Load {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(1024),
            address,
            peers: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            seen: Seen {
                data_tail: traffic::data_tail(traffic).into_bytes(),
                head: Position::new(traffic),
                ..Seen::default()
            },
            publisher: None,
            writes: 0,
            restless,
            traffic,
        })
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes
    }

    /// Opens `count` connections and waits until each has its subscription confirmed.
    pub(crate) fn subscribe(&mut self, count: usize) -> Result<()> {
        self.open(count, Role::Subscriber)
    }

    /// Opens the connection that publishes.
    pub(crate) fn open_publisher(&mut self) -> Result<()> {
        self.publisher = Some(Publisher {
            peer: self.peers.len(),
            traffic: self.traffic,
            issued: 0,
            text: String::new(),
            data_tail: traffic::data_tail(self.traffic),
            out: Vec::new(),
            start: Instant::now(),
        });
        self.open(1, Role::Publisher)
    }

    fn open(&mut self, count: usize, role: Role) -> Result<()> {
        let upgrade = wire::upgrade(&self.address.to_string(), self.traffic.deflate);
        let goal = self.peers.len() + count;
        let deadline = Instant::now() + PATIENCE;
        while self.seen.live < goal {
            while self.peers.len() < goal && self.peers.len() - self.seen.live < OPENING_MAX {
                let mut stream = TcpStream::connect(self.address)?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                if let (Role::Subscriber, Some(bytes)) = (role, self.traffic.unread_bytes) {
                    set_socket_recv_buffer_size(&stream, bytes)?;
                }
                let token = epoll::EventData::new_u64(self.peers.len() as u64);
                epoll::add(&self.epoll, &stream, token, epoll::EventFlags::IN)?;
                stream.write_all(upgrade.as_bytes())?;
                let position = Position::new(self.traffic);
                self.peers.push(Peer { stream, role, upgraded: false, position, rest: Vec::new() });
            }
            self.turn(Duration::from_millis(10))?;
            if Instant::now() > deadline {
                let live = self.seen.live;
                return Err(format!("{live} of {goal} connections after {PATIENCE:?}").into());
            }
        }
        Ok(())
    }

    /// Publishes as fast as answers come for the given time, then waits until all has arrived.
    pub(crate) fn full_speed(&mut self, lasting: Duration) -> Result<()> {
        let end = Instant::now() + lasting;
        self.publish_while(|_| Instant::now() < end)
    }

    /// Publishes so many messages as fast as answers come, then waits until all has arrived.
    pub(crate) fn publish(&mut self, count: u64) -> Result<()> {
        let issued = self.publisher.as_ref().map_or(0, |publisher| publisher.issued);
        self.publish_while(|now_issued| now_issued - issued < count)
    }

    fn publish_while(&mut self, more: impl Fn(u64) -> bool) -> Result<()> {
        let mut heard = (self.seen.published, Instant::now());
        loop {
            let publisher = self.publisher.as_mut().ok_or("no publisher")?;
            if self.seen.published > heard.0 {
                heard = (self.seen.published, Instant::now());
            }
            if more(publisher.issued) {
                while publisher.issued - self.seen.published < OUTSTANDING_MAX && more(publisher.issued) {
                    publisher.push(publisher.start.elapsed());
                }
            } else if publisher.issued == self.seen.published {
                break;
            }
            if heard.1.elapsed() > PATIENCE {
                return Err("publishes stay without an answer".into());
            }
            self.turn(Duration::from_millis(10))?;
        }
        self.drain()
    }

    /// Publishes `per_second` messages a second for as long as `more` says so, whatever the answers do, then waits
    /// until all has arrived. Returns the latencies in microseconds, from the time a message was due until a
    /// subscriber had it.
    pub(crate) fn paced(&mut self, per_second: u32, more: impl Fn() -> bool) -> Result<Vec<u32>> {
        // The kernel tells user from system time by looking at fixed intervals. A period that is a
        // multiple of them would make it look at the same phase of each burst, so the due times sway.
        const SWAY: f64 = 0.4;
        const GOLDEN: f64 = 0.618_033_988_749_895;
        let period = 1.0 / f64::from(per_second);
        self.seen.latencies = Some(Vec::new());
        let first = self.publisher.as_ref().ok_or("no publisher")?.start.elapsed();
        for nth in (0_u32..).take_while(|_| more()) {
            let sway = (f64::from(nth) * GOLDEN).fract() * SWAY;
            let due = first + Duration::from_secs_f64((f64::from(nth) + sway) * period);
            loop {
                let publisher = self.publisher.as_mut().ok_or("no publisher")?;
                let left = due.saturating_sub(publisher.start.elapsed());
                if left.is_zero() {
                    publisher.push(due);
                    break;
                }
                // Timers are coarse: the last stretch is spent looking.
                self.turn(left.saturating_sub(Duration::from_millis(2)))?;
            }
        }
        self.drain()?;
        Ok(self.seen.latencies.take().unwrap_or_default())
    }

    /// Waits until every publish has its answer and every subscriber stands at the last of them.
    fn drain(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.publisher.as_ref().map_or(0, |publisher| publisher.issued) > self.seen.published {
            if Instant::now() > deadline {
                return Err("publishes stay without an answer".into());
            }
            self.turn(Duration::from_millis(10))?;
        }
        self.read_up_to(&self.seen.head.clone())
    }

    /// Waits until every subscriber stands there.
    pub(crate) fn read_up_to(&mut self, head: &Position) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let behind = |peer: &&Peer| peer.role == Role::Subscriber && peer.position.sum < head.sum;
            let waiting = self.peers.iter().filter(behind).count();
            if waiting == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{waiting} subscribers still wait for {}", head.sum).into());
            }
            self.turn(Duration::from_millis(10))?;
        }
    }

    /// Sends what waits to be sent, then reads wherever something has come, waiting at most so long.
    fn turn(&mut self, patience: Duration) -> Result<()> {
        let mut patience = patience;
        if let Some(publisher) = &mut self.publisher
            && !publisher.out.is_empty()
        {
            self.writes += 1;
            if !publisher.flush(&self.peers[publisher.peer].stream)? {
                patience = patience.min(Duration::from_millis(1));
            }
        }
        if self.restless {
            patience = Duration::ZERO;
        }
        let timeout = Timespec::try_from(patience)?;
        self.events.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut own = 0;
        for event in &self.events {
            let peer = usize::try_from(event.data.u64())?;
            let peer = &mut self.peers[peer];
            if let Some(publisher) = &self.publisher
                && self.seen.latencies.is_some()
            {
                self.seen.now = nanoseconds(publisher.start.elapsed());
            }
            own += peer.read(&mut self.buffer, &mut self.seen, self.traffic)?;
        }
        self.writes += own;
        Ok(())
    }
}

impl Publisher {
    fn push(&mut self, due: Duration) {
        self.issued += 1;
        let at = nanoseconds(due);
        traffic::publish(self.traffic, self.issued, at, &self.data_tail, &mut self.text);
        wire::push_client_frame(wire::TEXT, self.text.as_bytes(), &mut self.out);
    }

    /// Returns whether the socket took everything.
    fn flush(&mut self, mut stream: &TcpStream) -> Result<bool> {
        match stream.write(&self.out) {
            Ok(written) => {
                self.out.drain(..written);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.out.is_empty())
    }
}

/// A point in time as messages carry it.
fn nanoseconds(since_start: Duration) -> u64 {
    traffic::AT_BASE + u64::try_from(since_start.as_nanos()).unwrap_or(0)
}

impl Peer {
    /// Reads once; returns how many writes it made in answer.
    fn read(&mut self, buffer: &mut [u8], seen: &mut Seen, traffic: Traffic) -> Result<u64> {
        let Peer { stream, role, upgraded, position, rest } = self;
        let mut out = Vec::new();
        let open = wire::read_through(&*stream, rest, buffer, |bytes| {
            let mut used = 0;
            if !*upgraded {
                let Some(head) = wire::http_head(bytes) else {
                    return Ok(0);
                };
                wire::check_accepted(&bytes[..head])?;
                *upgraded = true;
                used = head;
                match role {
                    Role::Publisher => seen.live += 1,
                    Role::Subscriber => {
                        let text = format!(r#"{{"type":"subscribe","id":1,"topic":"{}"}}"#, traffic.filter());
                        wire::push_client_frame(wire::TEXT, text.as_bytes(), &mut out);
                    }
                }
            }
            while let Some(frame) = wire::next_frame(&mut bytes[used..])? {
                used += frame.bytes;
                match frame.opcode {
                    wire::TEXT if frame.deflated => seen.deflated(frame.payload, frame.bytes, position)?,
                    wire::TEXT => seen.event(frame.payload, frame.bytes, position)?,
                    wire::PING => wire::push_client_frame(wire::PONG, frame.payload, &mut out),
                    wire::CLOSE => return Err("the server closed a connection".into()),
                    _ => {}
                }
            }
            Ok(used)
        })?;
        if !open {
            return Err("the server closed a connection without a word".into());
        }
        if out.is_empty() {
            return Ok(0);
        }
        // A few bytes on a socket that has next to nothing to send: it takes them.
        (&*stream).write_all(&out)?;
        Ok(1)
    }
}

impl Seen {
    /// A message that is compressed, the same bytes for everybody: it is inflated when it is seen first.
    fn deflated(&mut self, payload: &[u8], frame_bytes: usize, position: &mut Position) -> Result<()> {
        let mut known = std::mem::take(&mut self.known);
        let event = known.inflate(position.sum + 1, payload).and_then(|text| self.event(text, frame_bytes, position));
        self.known = known;
        event
    }

    fn event(&mut self, text: &[u8], frame_bytes: usize, position: &mut Position) -> Result<()> {
        const EVENT: &[u8] = br#"{"type":""#;
        let name = text.strip_prefix(EVENT).unwrap_or_default();
        if name.starts_with(br#"message""#) {
            self.bytes += frame_bytes as u64;
            return self.message(text, position);
        }
        if name.starts_with(br#"published""#) {
            self.published += 1;
            let offset = wire::number_after(text, br#""offset":"#).ok_or("no offset")?;
            let topic = self.topic(text)?;
            self.head.move_to(topic, offset);
        } else if name.starts_with(br#"subscribed""#) {
            self.live += 1;
            // A pattern has no position until its first message.
            if self.head.offsets.is_empty() {
                let offset = wire::number_after(text, br#""offset":"#).ok_or("no offset")?;
                position.move_to(0, offset);
            }
        } else if name.starts_with(br#"gap""#) {
            let from = wire::number_after(text, br#""from":"#).ok_or("no from")?;
            let to = wire::number_after(text, br#""to":"#).ok_or("no to")?;
            let topic = self.topic(text)?;
            self.advance(topic, from, position)?;
            self.gaps += 1;
            self.skipped += to + 1 - from;
            position.move_to(topic, to);
        } else if !name.starts_with(br#"welcome""#) {
            let text = String::from_utf8_lossy(text);
            return Err(format!("an event that nobody expects: {text}").into());
        }
        Ok(())
    }

    fn message(&mut self, text: &[u8], position: &mut Position) -> Result<()> {
        const USUAL: &[u8] = br#"{"type":"message","topic":"bench","offset":"#;
        let (topic, offset) = match text.strip_prefix(USUAL) {
            Some(rest) => (0, wire::number(rest)),
            // One of several topics, or the first message of one, which names the epoch as well.
            None => (self.topic(text)?, wire::number_after(text, br#""offset":"#)),
        };
        self.advance(topic, offset.ok_or("a message without offset")?, position)?;
        if !text.ends_with(&self.data_tail) {
            let text = String::from_utf8_lossy(text);
            return Err(format!("data that nobody published: {text}").into());
        }
        self.messages += 1;
        if let Some(latencies) = &mut self.latencies {
            let at = traffic::at(text, &self.data_tail).ok_or("a message without its time")?;
            let micros = self.now.saturating_sub(at) / 1000;
            latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    /// The number of the topic that an event is about.
    fn topic(&self, text: &[u8]) -> Result<usize> {
        if self.head.offsets.is_empty() {
            return Ok(0);
        }
        let number = wire::number_after(text, br#""topic":"bench."#).ok_or("no topic")?;
        Ok(usize::try_from(number)?)
    }

    /// Moves `position` to `offset`, counting what was left out on the way.
    fn advance(&mut self, topic: usize, offset: u64, position: &mut Position) -> Result<()> {
        let before = position.of(topic);
        let between = offset.checked_sub(before + 1);
        let between = between.ok_or_else(|| format!("{offset} came after {before}"))?;
        self.lost += between;
        position.move_to(topic, offset);
        Ok(())
    }
}
