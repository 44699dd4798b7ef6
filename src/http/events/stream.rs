//! The body of an event stream (WHATWG HTML, 9.2), made as it is asked for.
//!
//! The server asks for the next bytes when it has room for them, and gets one event. What a slow client
//! does not take stays in the topics' histories, and what leaves them before it is asked for becomes a
//! `gap`: nothing is queued here.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use tokio::time::{Instant, Sleep};

use super::id;
use super::streams::Streams;
use crate::broker::{Delivery, Overflow, Subscription, Topic};
use crate::fanout::headcount::Counted;
use crate::http::attended::Attendance;
use crate::limits::Meters;
use crate::protocol::{CloseCode, Encoding, Event, GapReason, Position};

/// A client that has lost the server waits between so many milliseconds and as many more, all clients
/// differently.
const RETRY_MS: u64 = 1_000;
const RETRY_SPREAD_MS: u64 = 4_000;

/// The shortest silence that is broken by a comment.
const HEARTBEAT_MIN: Duration = Duration::from_millis(10);

/// Topics as a stream of bytes that ends when the service drains.
pub(in crate::http) struct EventStream {
    followed: Vec<Followed>,
    /// Who is asked first for the next message.
    turn: usize,
    state: State,
    retry_ms: u64,
    heartbeat: Duration,
    silence: Pin<Box<Sleep>>,
    /// When the credentials that it was opened with end.
    ends: Option<Pin<Box<Sleep>>>,
    /// Tells whether its client has gone, where that can be told before something is written.
    attendance: Option<Attendance>,
    leaving: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    streams: Arc<Streams>,
    _seat: Seat,
}

/// What a stream takes up of the service and of its client's address, for as long as it is kept.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) _counted: Counted,
    pub(super) _meters: Option<Box<Meters>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has been sent.
    Begun,
    /// Each `subscribed` has been sent.
    Live,
    /// It is to end as soon as what has been published has been sent.
    Leaving,
    /// All has been sent.
    Over,
}

/// One topic of a stream.
struct Followed {
    topic: Arc<Topic>,
    subscription: Subscription,
    /// The last message that was sent or said to be missing.
    position: Position,
    /// The last message to be sent, when it is known.
    last: Option<u64>,
}

impl EventStream {
    /// A stream of these topics, each followed by name. Must be called within a runtime.
    pub(super) fn new(
        subscriptions: Vec<Subscription>,
        heartbeat: Duration,
        seed: u64,
        streams: Arc<Streams>,
        seat: Seat,
    ) -> Self {
        let followed: Vec<_> = subscriptions.into_iter().filter_map(Followed::new).collect();
        streams.enter(followed.len());
        // A little early, so that it is never late.
        let heartbeat = (heartbeat - heartbeat / 16).max(HEARTBEAT_MIN);
        EventStream {
            followed,
            turn: 0,
            state: State::Begun,
            retry_ms: RETRY_MS + seed % RETRY_SPREAD_MS,
            heartbeat,
            silence: Box::pin(tokio::time::sleep(heartbeat)),
            ends: None,
            attendance: None,
            leaving: Box::pin(streams.leaving()),
            streams,
            _seat: seat,
        }
    }

    /// The same, until so much time is over.
    pub(super) fn until(mut self, ends: Option<Duration>) -> Self {
        self.ends = ends.map(|after| Box::pin(tokio::time::sleep(after)));
        self
    }

    /// The same, until its client has ended its side of the connection.
    pub(super) fn attended(mut self, attendance: Option<Attendance>) -> Self {
        if let Some(attendance) = &attendance {
            attendance.begin();
        }
        self.attendance = attendance;
        self
    }

    pub(in crate::http) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// The next event; `None` after the last.
    pub(in crate::http) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.attendance.as_ref().is_some_and(Attendance::has_ended) {
            self.state = State::Over;
        }
        let bytes = match self.state {
            State::Begun => {
                self.state = State::Live;
                self.subscribed().into()
            }
            State::Live | State::Leaving => match self.poll_event(cx) {
                Poll::Ready(bytes) => bytes,
                Poll::Pending => return Poll::Pending,
            },
            State::Over => return Poll::Ready(None),
        };
        self.streams.count_bytes(bytes.len());
        self.silence.as_mut().reset(Instant::now() + self.heartbeat);
        Poll::Ready(Some(bytes))
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            if self.state == State::Live && self.streams.is_leaving() {
                self.state = State::Leaving;
                for followed in &mut self.followed {
                    followed.last = Some(followed.topic.ring().newest().0);
                }
            }
            if self.ends.as_mut().is_some_and(|ends| ends.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(self.goodbye(CloseCode::UNAUTHORIZED, 0).into());
            }
            if let Some(event) = self.poll_followed(cx) {
                return Poll::Ready(event.into());
            }
            if self.state == State::Leaving {
                let reconnect_ms = self.streams.return_ms();
                return Poll::Ready(self.goodbye(CloseCode::SERVICE_RESTART, reconnect_ms).into());
            }
            if self.leaving.as_mut().poll(cx).is_ready() {
                continue;
            }
            if self.silence.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Bytes::from_static(b":\n\n"));
            }
            return Poll::Pending;
        }
    }

    /// The next message or gap, the topics taking turns.
    fn poll_followed(&mut self, cx: &mut Context<'_>) -> Option<Vec<u8>> {
        let count = self.followed.len();
        for number in (self.turn..count).chain(0..self.turn) {
            if let Some(delivery) = self.followed[number].poll_next(cx) {
                self.turn = (number + 1) % count;
                return Some(self.deliver(number, delivery));
            }
        }
        None
    }

    fn deliver(&mut self, number: usize, delivery: Delivery) -> Vec<u8> {
        let followed = &mut self.followed[number];
        match delivery {
            Delivery::Message(received) => {
                followed.position.offset = received.offset();
                self.streams.count_message();
                self.event("message", received.event(Encoding::Json))
            }
            Delivery::Gap(_) if followed.topic.overflow() == Overflow::Disconnect => self.goodbye(CloseCode::SLOW, 0),
            Delivery::Gap(gap) => {
                followed.position.offset = gap.to;
                self.streams.count_gap(gap.to + 1 - gap.from);
                let (topic, epoch, from, to) = (&*gap.topic, gap.epoch, gap.from, gap.to);
                self.event("gap", &json(&Event::Gap { topic, epoch, from, to, reason: GapReason::Slow }))
            }
        }
    }

    /// What comes first: how long to wait before a reconnection, and where each topic begins.
    fn subscribed(&self) -> Vec<u8> {
        let mut out = format!("retry: {}\n", self.retry_ms).into_bytes();
        for (number, Followed { topic, subscription, position, .. }) in self.followed.iter().enumerate() {
            let (topic, position, recovery) = (topic.name(), Some(*position), subscription.recovery());
            let event = json(&Event::Subscribed { id: None, topic, position, recovery });
            // With the last one alone: whoever is cut off in between has not heard of all topics, and asks
            // again from where it was.
            let is_last = number + 1 == self.followed.len();
            write(&mut out, "subscribed", is_last.then_some(&*self.followed), &event);
        }
        out
    }

    fn event(&self, kind: &str, json: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 35 * self.followed.len() + json.len());
        write(&mut out, kind, Some(&self.followed), json);
        out
    }

    /// The last event. It has no `id`: nothing has been delivered.
    fn goodbye(&mut self, code: CloseCode, reconnect_ms: u64) -> Vec<u8> {
        self.state = State::Over;
        let reason = code.reason();
        let event = json(&Event::Goodbye { code, reason, reconnect_ms: Some(reconnect_ms) });
        // `EventSource` knows no other way to be told. It keeps to it until it has found a server, so it
        // is never less than what it would be otherwise.
        let mut out = format!("retry: {}\n", RETRY_MS.saturating_add(reconnect_ms)).into_bytes();
        write(&mut out, "goodbye", None, &event);
        out
    }
}

impl Followed {
    /// `None` for a subscription to a pattern.
    fn new(subscription: Subscription) -> Option<Followed> {
        let (topic, position) = subscription.place_of_name()?;
        let topic = Arc::clone(topic);
        Some(Followed { topic, subscription, position, last: None })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Option<Delivery> {
        if self.last.is_some_and(|last| self.position.offset >= last) {
            return None;
        }
        match Pin::new(&mut self.subscription).poll_next(cx) {
            Poll::Ready(delivery) => delivery,
            Poll::Pending => None,
        }
    }
}

fn json(event: &Event<'_>) -> Vec<u8> {
    let mut json = Vec::new();
    event.encode(Encoding::Json, &mut json);
    json
}

/// Appends an event with this `data`, and with an `id` if it moves the client's position.
fn write(out: &mut Vec<u8>, kind: &str, id: Option<&[Followed]>, json: &[u8]) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    if let Some(followed) = id {
        out.extend_from_slice(b"\nid: ");
        id::write(followed.iter().map(|followed| followed.position), out);
    }
    out.extend_from_slice(b"\ndata: ");
    // JSON has line ends between its tokens only, where a space is as good; here they would end the field.
    out.extend(json.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    out.extend_from_slice(b"\n\n");
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if let Some(attendance) = &self.attendance {
            attendance.end();
        }
        self.streams.exit(self.followed.len());
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("topics", &self.followed.len())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
