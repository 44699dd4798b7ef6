//! Reads a connection and carries out what it asks for, in order.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::machine::{Ask, Counting, Machine, SessionOptions, Shown, Step, Waiting};
use super::resume::{Resumable, Resumables, Taken};
use super::stream::Stream;
use crate::broker::{ConnectionId, Form};
use crate::fanout::headcount::Counted;
use crate::fanout::turns::Turns;
use crate::fanout::{Asker, Goodbye, HandOver, Keepsake, Lease, Link, Mailbox, Terms, Transport, What};
use crate::gate::{Denied, Gate, Pass};
use crate::limits::{Meters, Moment};
use crate::protocol::{
    CloseCode, Command, Encoding, ErrorCode, Event, Filter, Refusal as Refused, Request, decode_json, decode_msgpack,
};
use crate::ws::{self, Incoming, Opcode, ReadError, ReadLimits, Reader};

/// Replies that are kept together before they are handed to the shard.
const OUT_BYTES_MAX: usize = 16 * 1024;

/// What a connection has carried out before it is others' turn, its shard's among them.
const TURN_COMMANDS_MAX: u32 = 32;

/// The same while many have much to do: whoever has little waits for less.
const CROWDED_COMMANDS_MAX: u32 = 8;

/// How many fragments of a message are as much work as a command.
const COMMAND_FRAGMENTS: u64 = 128;

/// What each fragment of a message counts beside its bytes: an empty one makes as much work as many bytes.
const FRAGMENT_BYTES: u64 = 128;

/// Joins and leaves that are on their way to the shard at once: their answers count as unread only once
/// they are there.
const ASKED_MAX: u32 = 64;

/// How long the last bytes may take to be written, and the peer to close its side after them.
const FLUSH_TIME: Duration = Duration::from_secs(5);
const LINGER_TIME: Duration = Duration::from_secs(1);

/// What is read meanwhile of somebody who is closed for sending too fast: to read on for all of that time would
/// be what a flood is after.
const FLOOD_LINGER_BYTES_MAX: usize = 64 * 1024;

/// A connection that has been let in.
pub(crate) struct Admission {
    pub(crate) pass: Pass,
    /// What it uses of its rates; `None` if it is exempt from them.
    pub(crate) meters: Option<Box<Meters>>,
    /// Gives out the next pass, for an `auth` command.
    pub(crate) gate: Gate,
    /// Who shows credentials that do not count, where no status can be seen, is told so and let go.
    pub(crate) refusal: Option<Box<Refusal>>,
    pub(crate) id: ConnectionId,
    pub(crate) form: Form,
    /// Present if messages may be compressed.
    pub(crate) deflate: Option<ws::Deflate>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) options: Arc<SessionOptions>,
    /// Where those look who take another one's place.
    pub(crate) resumables: Arc<Resumables>,
    /// The client's address, where it is known.
    pub(crate) address: Option<IpAddr>,
    /// Counts the connection for as long as it lives.
    pub(crate) counted: Counted,
}

/// Why a connection is opened only to be closed.
pub(crate) struct Refusal {
    pub(crate) denied: Denied,
    /// Counts such connections.
    pub(crate) _counted: Counted,
}

/// How a connection's commands ended.
#[derive(Debug)]
enum End {
    /// The peer sent a close frame.
    Closed(Option<CloseCode>),
    /// The peer is gone.
    Lost,
    /// The peer has ended its side, without a close frame.
    Left,
    /// The server ends it, for that reason.
    Close(CloseCode, &'static str),
    /// The shard has ended it.
    Over,
}

/// Serves one connection until it ends. `head` is written before anything else.
///
/// # Cancel safety
///
/// Dropped, the connection ends without a goodbye; its shard is told.
pub(crate) fn run(
    admission: Admission,
    head: Vec<u8>,
    mut stream: Stream,
    transport: Transport,
) -> impl Future<Output = ()> + Send + use<> {
    // Not an `async fn`, which would hold its arguments beside what they become for as long as the connection
    // lasts.
    let mut session = Session::open(admission, head, transport);
    let link = Arc::clone(&session.link);
    let mailbox = Arc::clone(&session.mailbox);
    async move {
        let mut serving = pin!(session.serve(&mut stream));
        poll_fn(|cx| {
            // The shard has met a full socket: it is told when there is room again.
            if link.poll_room(cx).is_ready() {
                mailbox.post(&link, What::Writable);
            }
            serving.as_mut().poll(cx)
        })
        .await;
    }
}

struct Session {
    machine: Machine,
    link: Arc<Link>,
    mailbox: Arc<Mailbox>,
    options: Arc<SessionOptions>,
    deflate: Option<ws::Deflate>,
    /// There until the session is dropped.
    resumable: Option<Resumable>,
    /// Finished replies that have not been handed to the shard.
    out: Vec<u8>,
    /// Joins and leaves that the shard has been asked for. Wraps, as the shard's count does.
    asked: u32,
    /// Commands that have been carried out in this turn.
    turn: u32,
    gate: Gate,
    refusal: Option<Box<Refusal>>,
    _counted: Counted,
}

impl Drop for Session {
    fn drop(&mut self) {
        let kept = self.resumable.take().map_or_else(|| Keepsake::new(()), Keepsake::new);
        self.mailbox.post(&self.link, What::Gone(kept));
        if self.refusal.is_none() {
            self.machine.pass().disconnect();
        }
    }
}

impl Session {
    fn open(admission: Admission, head: Vec<u8>, transport: Transport) -> Self {
        let Admission {
            pass,
            meters,
            gate,
            refusal,
            id,
            form,
            deflate,
            mailbox,
            options,
            resumables,
            address,
            counted,
        } = admission;
        let link = Arc::new(Link::new(id, form, transport));
        link.add_lane(head.len());
        mailbox.post(&link, What::Open(head));
        let resumable = resumables.add(&link, &mailbox, pass.subject().cloned(), address);
        let secret = resumable.secret();
        let machine = Machine::new(pass, meters, id, form, &options);
        let mut session = Session {
            machine,
            resumable: Some(resumable),
            link,
            mailbox,
            options,
            deflate,
            out: Vec::new(),
            asked: 0,
            turn: 0,
            gate,
            refusal,
            _counted: counted,
        };
        if session.refusal.is_none() {
            session.welcome(&secret.text());
            session.begin_lease();
        }
        session
    }

    /// Says until when the connection may go on with the pass it has.
    fn begin_lease(&self) {
        let pass = self.machine.pass();
        let lease = if pass.is_stranger() {
            Lease::Credentials { within_ms: self.options.first_command_ms }
        } else {
            match pass.expires_in_ms() {
                Some(in_ms) => Lease::Expires { in_ms },
                None => Lease::Endless,
            }
        };
        self.mailbox.post(&self.link, What::Lease(lease));
    }

    fn welcome(&mut self, resume: &str) {
        let connection = self.link.id.to_string();
        let event = Event::Welcome {
            connection: &connection,
            resume,
            heartbeat_ms: self.options.heartbeat_ms,
            max_message_bytes: self.options.message_bytes_max as u64,
        };
        self.machine.say(&event, &mut self.out);
        self.hand_over();
    }

    async fn serve(&mut self, stream: &mut Stream) {
        if let Some(refusal) = &self.refusal {
            let denied = &refusal.denied;
            self.machine.deny(denied, None, None, None, &mut self.out);
            let end = refused(denied);
            Box::pin(self.end(end, stream)).await;
            return;
        }
        let end = loop {
            if self.idle(stream).await.is_break() {
                break End::Over;
            }
            // In a box of its own: an idle connection holds neither the reader nor its future.
            if let ControlFlow::Break(end) = Box::pin(self.burst(stream)).await {
                break end;
            }
        };
        Box::pin(self.end(end, stream)).await;
    }

    /// Waits for something to read, or for the shard to end the connection.
    async fn idle(&self, stream: &mut Stream) -> ControlFlow<()> {
        poll_fn(|cx| {
            if self.link.is_over() {
                return Poll::Ready(ControlFlow::Break(()));
            }
            stream.poll_readable(cx).map(ControlFlow::Continue)
        })
        .await
    }

    /// Reads and carries out commands until no more have come.
    async fn burst(&mut self, stream: &mut Stream) -> ControlFlow<End> {
        let limits =
            ReadLimits { message_bytes_max: self.options.message_bytes_max, fragments_max: self.options.fragments_max };
        let tells_readable = stream.tells_readable();
        let mut reader = match &self.deflate {
            Some(deflate) => Reader::inflating(stream, limits, deflate),
            None => Reader::new(stream, limits),
        };
        let (mut inflated, mut frames) = (0, 0);
        loop {
            let read = async { if tells_readable { reader.next().await } else { reader.recv().await } };
            let Some(read) = self.unless_over(read).await else {
                return ControlFlow::Break(End::Over);
            };
            self.link.hear(self.mailbox.tick());
            if reader.inflated() != inflated {
                self.mailbox.add_inflated(reader.inflated() - inflated);
                inflated = reader.inflated();
            }
            let fragments = (reader.frames() - frames).saturating_sub(1);
            frames = reader.frames();
            self.turn += u32::try_from(fragments / COMMAND_FRAGMENTS).unwrap_or(TURN_COMMANDS_MAX);
            let fragment_bytes = fragments * FRAGMENT_BYTES;
            let weight = |payload: usize| payload + usize::try_from(fragment_bytes).unwrap_or(usize::MAX);
            // Once a message: what its commands wait for on the way is not theirs to use.
            let now = self.machine.now();
            match read {
                Ok(Incoming::Text(text)) => {
                    self.machine.hear(weight(text.as_str().len()), now);
                    let limits = self.options.decode_limits();
                    for request in decode_json(text.as_str(), &limits) {
                        self.prepare(&request).await;
                        let step = self.machine.decide(request, now, Encoding::Json, || text.to_bytes(), &mut self.out);
                        self.carry_out(step).await?;
                    }
                }
                Ok(Incoming::Binary(bytes)) => {
                    self.machine.hear(weight(bytes.len()), now);
                    let limits = self.options.decode_limits();
                    for request in decode_msgpack(&bytes, &limits) {
                        self.prepare(&request).await;
                        let step =
                            self.machine.decide(request, now, Encoding::MsgPack, || bytes.clone(), &mut self.out);
                        self.carry_out(step).await?;
                    }
                }
                Ok(Incoming::Ping(payload)) => {
                    ws::push(&mut self.out, Opcode::Pong, &payload);
                    let step = self.machine.hear_control(weight(payload.len()), now);
                    self.carry_out(step).await?;
                }
                Ok(Incoming::Pong(payload)) => {
                    let step = self.machine.hear_control(weight(payload.len()), now);
                    self.carry_out(step).await?;
                }
                Ok(Incoming::Close(close)) => {
                    return ControlFlow::Break(End::Closed(close.map(|(code, _)| CloseCode(code.0))));
                }
                Ok(Incoming::Idle) => {
                    self.hand_over();
                    return ControlFlow::Continue(());
                }
                Err(ReadError::Violation { code, reason }) => {
                    if CloseCode(code.0) == CloseCode::MESSAGE_TOO_BIG {
                        self.mailbox.count_large();
                    }
                    self.machine.fault(now);
                    return ControlFlow::Break(End::Close(CloseCode(code.0), reason));
                }
                Err(ReadError::Io(_)) => return ControlFlow::Break(End::Lost),
                Err(ReadError::Eof { .. }) => return ControlFlow::Break(End::Left),
            }
            self.hold_back(now).await?;
        }
    }

    /// What comes before a command is carried out: one that takes long waits for its turn.
    async fn prepare(&self, request: &Result<Request<'_>, Refused<'_>>) {
        match request {
            Ok(Request { command: Command::History(_), .. }) => self.mailbox.turns().next().await,
            Err(refusal) if refusal.code == ErrorCode::TooLarge => self.mailbox.count_large(),
            _ => {}
        }
    }

    /// Whoever was refused something is not read from for a while, and comes after the others then.
    async fn hold_back(&mut self, now: Moment) -> ControlFlow<End> {
        let pause = self.machine.pause(now);
        if pause.is_zero() {
            return ControlFlow::Continue(());
        }
        if self.unless_over(sleep(pause)).await.is_none() {
            return ControlFlow::Break(End::Over);
        }
        // A crowd of them is told to wait as long as one another.
        self.mailbox.turns().next().await;
        // A peer that was not read from cannot have been silent.
        self.link.hear(self.mailbox.tick());
        ControlFlow::Continue(())
    }

    /// Waits for `read` unless the connection is over first. Replies do not wait with it.
    async fn unless_over<T>(&mut self, read: impl Future<Output = T>) -> Option<T> {
        let mut read = pin!(read);
        poll_fn(|cx| {
            if self.link.is_over() {
                return Poll::Ready(None);
            }
            let polled = read.as_mut().poll(cx);
            if polled.is_pending() {
                self.hand_over();
            }
            polled.map(Some)
        })
        .await
    }

    async fn carry_out(&mut self, step: Step) -> ControlFlow<End> {
        match step {
            Step::Answered => {}
            Step::Ask(asks) => self.ask(asks).await,
            Step::Wait(waiting) => self.wait_for_room(waiting).await,
            Step::Count(counting) => self.count(counting).await,
            Step::TooFast => {
                let reason = "rate limits passed again and again";
                return ControlFlow::Break(End::Close(CloseCode::RATE_LIMITED, reason));
            }
            Step::Resume(asker, secret) => self.resume(&asker, &secret.0).await,
            Step::Auth(shown) => self.authenticate(shown).await?,
            Step::Refuse(denied) => return ControlFlow::Break(refused(&denied)),
            Step::GiveUp => {
                self.mailbox.count_malformed();
                return ControlFlow::Break(End::Close(CloseCode::MALFORMED, "too many malformed commands in a row"));
            }
        }
        self.give_way().await;
        // The rest of a batch does not count any more.
        if self.link.is_over() { ControlFlow::Break(End::Over) } else { ControlFlow::Continue(()) }
    }

    /// Asks the shard and waits until it has done all: the next command comes after.
    async fn ask(&mut self, asks: Vec<Ask>) {
        for ask in asks {
            // A peer that is not read from cannot be silent.
            self.link.hear(self.mailbox.tick());
            match ask {
                Ask::Refused(reply) => {
                    self.out.extend_from_slice(&reply);
                    self.give_way().await;
                }
                Ask::Shard(what) => {
                    self.hand_over();
                    // A walk over many topics: what follows in the list must be answered after it. And who
                    // is there may be long to tell: one such answer at a time waits to be read.
                    let is_walk = matches!(
                        &what,
                        What::Join(Filter::Pattern(_), ..) | What::Join(_, Terms { member: Some(_), .. }, _)
                    );
                    self.asked = self.asked.wrapping_add(1);
                    self.mailbox.post(&self.link, what);
                    if is_walk || self.asked.wrapping_sub(self.link.done()) >= ASKED_MAX {
                        self.until_done().await;
                    }
                    self.give_way().await;
                }
            }
        }
        self.until_done().await;
    }

    /// Takes the place of another connection, whose end is the other shard's to make.
    async fn resume(&mut self, asker: &Asker, secret: &str) {
        let all = self.resumable.as_ref().map(Resumable::all);
        let found = all.and_then(|all| all.find(secret, self.machine.pass().subject()));
        let Some((taken, mailbox)) = found.filter(|(taken, _)| taken.id() != self.link.id) else {
            let denied = Denied::new(ErrorCode::BadRequest, "no other connection has this secret any more");
            self.machine.deny(&denied, asker.id.as_ref(), asker.index, None, &mut self.out);
            return;
        };
        self.hand_over();
        self.asked = self.asked.wrapping_add(1);
        let hand_over = HandOver::new(&self.link, &self.mailbox);
        match taken {
            Taken::From(link) => mailbox.post(&link, What::HandOver(hand_over)),
            Taken::Left(connection) => mailbox.post(&self.link, What::Reclaim(connection, hand_over)),
        }
        self.until_done().await;
        self.machine.say(&Event::Resumed { id: asker.id.as_ref() }, &mut self.out);
    }

    async fn until_done(&self) {
        self.link.until(|link| link.done() == self.asked).await;
    }

    /// A token is shown, first of all or in place of the credentials so far.
    async fn authenticate(&mut self, shown: Shown) -> ControlFlow<End> {
        self.hand_over();
        let Shown { auth, id, index } = shown;
        let (gate, pass) = (self.gate.clone(), self.machine.pass().clone());
        let Some(renewed) = self.unless_over(gate.renew(&pass, &auth.token)).await else {
            return ControlFlow::Break(End::Over);
        };
        // A peer that was not read from cannot have been silent.
        self.link.hear(self.mailbox.tick());
        match renewed {
            Ok(renewed) => {
                if let Some(resumable) = &mut self.resumable {
                    resumable.belong_to(renewed.pass.subject().cloned());
                }
                self.machine.authenticated(renewed.pass, id.as_ref(), &mut self.out);
                self.begin_lease();
                if renewed.narrowed {
                    // What it follows was allowed by what is no more: with a new connection it is looked at anew.
                    return ControlFlow::Break(End::Close(
                        CloseCode::UNAUTHORIZED,
                        "the token allows less than before",
                    ));
                }
            }
            Err(denied) => {
                self.machine.refuse_credentials(&denied);
                self.machine.deny(&denied, id.as_ref(), index, None, &mut self.out);
                if pass.is_stranger() {
                    return ControlFlow::Break(refused(&denied));
                }
            }
        }
        ControlFlow::Continue(())
    }

    async fn wait_for_room(&mut self, waiting: Waiting) {
        self.hand_over();
        let Waiting { topic, message, skip, counts, id, index } = waiting;
        let name = topic.name().clone();
        let pass = self.machine.pass().clone();
        let wait = timeout(self.options.publish_wait, pass.publish_when_room(topic, message));
        let placed = match self.unless_over(wait).await {
            None => return,
            Some(Ok(placed)) => placed,
            Some(Err(_)) => {
                self.mailbox.count_wait();
                Err(Denied::overloaded("the topic's subscribers are being served, there is no room"))
            }
        };
        // A peer that was not read from cannot have been silent.
        self.link.hear(self.mailbox.tick());
        match placed {
            Ok(placed) if counts => self.count(Counting { placed, skip, id }).await,
            Ok(placed) => self.machine.published(placed, None, id.as_ref(), &mut self.out),
            Err(denied) => self.machine.deny(&denied, id.as_ref(), index, Some(&name), &mut self.out),
        }
    }

    /// Has those counted whom a message is for, and says so.
    async fn count(&mut self, counting: Counting) {
        let Counting { placed, skip, id } = counting;
        let pass = self.machine.pass().clone();
        if let Some(receivers) = self.unless_over(pass.receivers(&placed, skip)).await {
            self.machine.published(placed, Some(receivers), id.as_ref(), &mut self.out);
        }
    }

    /// Hands replies over when there are many, and waits while too many are unread. Lets others have their turn.
    async fn give_way(&mut self) {
        self.turn += 1;
        let turns = self.mailbox.turns();
        let most = |turn: u32| {
            if turn >= CROWDED_COMMANDS_MAX && turns.is_crowded() { CROWDED_COMMANDS_MAX } else { TURN_COMMANDS_MAX }
        };
        // A message in many fragments is worth several turns.
        while let Some(rest) = self.turn.checked_sub(most(self.turn)) {
            self.turn = rest;
            turns.next().await;
        }
        if self.out.len() >= OUT_BYTES_MAX {
            self.hand_over();
        }
        let max = self.options.control_lane_bytes_max;
        if self.link.lane_bytes() + self.out.len() > max {
            self.hand_over();
            self.mailbox.count_lane();
            self.link.until(|link| link.lane_bytes() <= max / 2).await;
        }
    }

    fn hand_over(&mut self) {
        if !self.out.is_empty() {
            let frames = std::mem::take(&mut self.out);
            self.link.add_lane(frames.len());
            self.mailbox.post(&self.link, What::Lane(frames));
        }
    }

    /// The closing handshake, as far as the peer goes along.
    async fn end(&mut self, end: End, stream: &mut Stream) {
        if let End::Close(..) = end {
            // A crowd that did the same wrong does it at the same time.
            self.mailbox.turns().next().await;
        }
        self.hand_over();
        let close = match end {
            End::Lost => return,
            End::Left => {
                // It may still read what it has been answered: the answer to its handshake, if it was quick.
                let _ = timeout(FLUSH_TIME, self.link.until(|link| link.lane_bytes() == 0)).await;
                return;
            }
            End::Over => None,
            // RFC 6455, 5.5.1: the answer typically echoes the status code.
            End::Closed(code) => Some((code.unwrap_or(CloseCode::NORMAL), "", None)),
            End::Close(code, reason) => Some((code, reason, Some(Goodbye { reconnect_ms: None }))),
        };
        if let Some((code, reason, goodbye)) = close {
            self.mailbox.post(&self.link, What::Close { code, reason, goodbye });
        }
        let deadline = Instant::now() + FLUSH_TIME;
        if timeout_at(deadline, self.link.flushed()).await.is_err() || self.link.is_broken() {
            return;
        }
        // What the peer still sends is read and dropped: a socket that is closed with unread bytes is
        // reset, and the close frame lost with it.
        let is_flood = matches!(close, Some((CloseCode::RATE_LIMITED | CloseCode::MALFORMED, ..)));
        let bytes_max = if is_flood { FLOOD_LINGER_BYTES_MAX } else { usize::MAX };
        let _ = timeout(LINGER_TIME, drop_all(stream, bytes_max, self.mailbox.turns())).await;
    }
}

/// Reads until the peer closes its side, or has sent more than that.
async fn drop_all(stream: &mut Stream, bytes_max: usize, turns: &Turns) {
    let mut unread = [0; 4096];
    let mut dropped = 0;
    while dropped <= bytes_max
        && let Ok(count @ 1..) = stream.read(&mut unread).await
    {
        dropped += count;
        turns.next().await;
    }
}

/// The end of who was refused.
fn refused(denied: &Denied) -> End {
    let code = match denied.code {
        ErrorCode::Forbidden => CloseCode::FORBIDDEN,
        ErrorCode::Overloaded => CloseCode::TRY_AGAIN_LATER,
        _ => CloseCode::UNAUTHORIZED,
    };
    End::Close(code, code.reason())
}
