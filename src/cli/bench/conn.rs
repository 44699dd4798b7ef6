//! One connection: from the first packet over handshake and subscription to the last message.

use std::borrow::Cow;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::{Registry, Token};

use crate::protocol::Encoding;

use super::context::{Context, Io};
use super::dialect::{Client, Heard, Standing, Wanted};
use super::frame::{self, Frame, Outbox};
use super::handshake::Request;
use super::inflate::Inflater;
use super::plan::Plan;
use super::publisher::Publisher;
use super::subscriber::{Message, Subscriber};
use super::tls;
use super::transport::Transport;

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) role: Role,
    /// Its number among all connections of the run.
    number: usize,
    transport: Option<Transport>,
    pub(super) state: State,
    encoding: Encoding,
    compression: bool,
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
    /// The beginning of what spans several frames: a message, or whatever a stream is in the middle of.
    said: Vec<u8>,
    /// The first frame of a message in several, while more are to come.
    fragment: Option<Fragment>,
    out: Outbox,
    /// How much of `out` the socket has taken.
    written: usize,
    /// When the first packet left, and when it was ready for use.
    began: u64,
    joined: u64,
    /// Answers to subscriptions that have not come.
    waiting: usize,
    /// What the server said that explains the end.
    farewell: Option<String>,
}

#[derive(Debug)]
pub(super) enum Role {
    Subscriber(Box<Subscriber>),
    Publisher(Box<Publisher>),
}

/// What a connection is doing.
///
/// ```text
/// Away -> Connecting -> Upgrading -> Greeting -> Joining -> Live -> Leaving -> Away
///                   any but Away and Gone: -> Gone, or -> Away
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not there: yet, or for a while.
    Away,
    Connecting,
    Upgrading,
    /// The WebSocket stands, and the server has not said that it is ready.
    Greeting,
    /// Subscriptions are on their way.
    Joining,
    Live,
    /// It has said farewell, and waits for the server to hang up.
    Leaving,
    /// It will not return.
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Fragment {
    compressed: bool,
}

/// Why a connection is over.
#[derive(Debug)]
pub(super) struct Over(pub(super) String);

impl<E: std::error::Error> From<E> for Over {
    fn from(error: E) -> Over {
        Over(error.to_string())
    }
}

/// Reads one after the other before the others get their turn.
const READS_MAX: usize = 16;

/// What a socket with a slow reader holds back: little, so that the server soon notices.
const SLOW_RECEIVE_BYTES: usize = 16 * 1024;

impl Conn {
    pub(super) fn subscriber(plan: &Plan, index: usize) -> Conn {
        let role = Role::Subscriber(Box::new(Subscriber::new(plan, index)));
        Conn::new(role, index, plan.encoding)
    }

    pub(super) fn publisher(plan: &Plan, index: usize) -> Conn {
        let role = Role::Publisher(Box::new(Publisher::new(plan, index)));
        Conn::new(role, plan.subscribers + index, plan.publish_encoding)
    }

    fn new(role: Role, number: usize, encoding: Encoding) -> Conn {
        Conn {
            role,
            number,
            transport: None,
            state: State::Away,
            encoding,
            compression: false,
            rest: Vec::new(),
            said: Vec::new(),
            fragment: None,
            out: Outbox::default(),
            written: 0,
            began: 0,
            joined: 0,
            waiting: 0,
            farewell: None,
        }
    }

    /// Starts to connect.
    pub(super) fn open(&mut self, ctx: &mut Context, registry: &Registry, token: Token) -> Result<(), Over> {
        let receive = self.is_slow().then_some(SLOW_RECEIVE_BYTES);
        let opened = Transport::open(&ctx.plan.route, &mut ctx.source, receive);
        let mut transport = opened.map_err(|error| Over(ctx.plan.explain(&error)))?;
        transport.register(registry, token)?;
        self.transport = Some(transport);
        self.state = State::Connecting;
        self.began = ctx.now;
        Ok(())
    }

    pub(super) fn is_slow(&self) -> bool {
        matches!(&self.role, Role::Subscriber(subscriber) if subscriber.credit.is_some())
    }

    pub(super) fn is_subscriber(&self) -> bool {
        matches!(self.role, Role::Subscriber(_))
    }

    /// Nanoseconds since the run began at which it started to connect.
    pub(super) fn began(&self) -> u64 {
        self.began
    }

    pub(super) fn role_and_out(&mut self) -> (&mut Role, &mut Outbox) {
        (&mut self.role, &mut self.out)
    }

    /// Bytes that the socket has not taken.
    pub(super) fn unsent(&self) -> usize {
        self.out.bytes.len() - self.written
    }

    /// Hangs up without a word, and forgets all but what it has received.
    pub(super) fn drop_now(&mut self, ctx: &mut Context, state: State) {
        if self.state == State::Live {
            ctx.live -= 1;
        }
        self.transport = None;
        self.state = state;
        self.compression = false;
        self.rest = Vec::new();
        self.said = Vec::new();
        self.fragment = None;
        self.out.bytes = Vec::new();
        self.written = 0;
        self.farewell = None;
        if let Role::Subscriber(subscriber) = &mut self.role {
            subscriber.unread = false;
        }
    }

    /// Says farewell; the server hangs up then.
    pub(super) fn leave(&mut self, ctx: &mut Context) -> Result<(), Over> {
        if self.state == State::Live {
            ctx.live -= 1;
        }
        self.state = State::Leaving;
        self.out.close();
        self.flush()
    }

    /// The socket takes bytes again.
    pub(super) fn writable(&mut self, ctx: &mut Context) -> Result<(), Over> {
        if self.state == State::Connecting {
            let Some(transport) = &self.transport else {
                return Ok(());
            };
            let connected = transport.is_connected().map_err(|error| Over(ctx.plan.explain(&error)))?;
            if !connected {
                return Ok(());
            }
            let plan = ctx.plan.clone();
            if self.speaks_http(&plan) {
                self.state = State::Greeting;
                return self.ready(&[], ctx);
            }
            self.state = State::Upgrading;
            self.request(&plan, &self.path(&plan)).write(&mut self.out.bytes);
        }
        self.flush()
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> Result<(), Over> {
        /// What a connection keeps of its buffer while there is nothing to write.
        const KEPT_BYTES: usize = 4096;
        let Some(transport) = &mut self.transport else {
            return Ok(());
        };
        while self.written < self.out.bytes.len() {
            match transport.write(&self.out.bytes[self.written..]) {
                Ok(0) => return Err(Over("the connection takes no more".to_owned())),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Over(self.end(&tls::explain(&error)))),
            }
        }
        self.written = 0;
        self.out.bytes.clear();
        let held = transport.flush();
        if self.out.bytes.capacity() > KEPT_BYTES && self.is_subscriber() {
            self.out.bytes = Vec::new();
        }
        match held {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(Over(self.end(&tls::explain(&error)))),
            _ => Ok(()),
        }
    }

    /// Reads what has come. Returns whether there may be more.
    pub(super) fn readable(&mut self, ctx: &mut Context, io: &mut Io) -> Result<bool, Over> {
        if matches!(self.state, State::Away | State::Gone | State::Connecting) {
            return Ok(false);
        }
        for _ in 0..READS_MAX {
            let kept = self.rest.len();
            let mut end = io.buffer.len();
            if let Role::Subscriber(subscriber) = &mut self.role
                && let Some(credit) = subscriber.credit
                && self.state == State::Live
            {
                subscriber.unread = credit == 0;
                if credit == 0 {
                    return Ok(false);
                }
                end = end.min(kept + credit);
            }
            let Some(transport) = &mut self.transport else {
                return Ok(false);
            };
            let count = match transport.read(&mut io.buffer[kept..end]) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if self.state != State::Leaving => return Err(Over(self.end(&tls::explain(&error)))),
                // It has said farewell, and how the server hangs up then is its own business.
                Err(_) => 0,
            };
            let all = count < end - kept && transport.short_read_is_all();
            if let Role::Subscriber(subscriber) = &mut self.role
                && let Some(credit) = &mut subscriber.credit
            {
                *credit = credit.saturating_sub(count);
            }
            ctx.now = ctx.shared.now();
            io.buffer[..kept].copy_from_slice(&self.rest);
            let filled = kept + count;
            let Io { buffer, inflater } = io;
            let used = self.take(&buffer[..filled], count == 0, ctx, inflater)?;
            if used == filled {
                self.rest = Vec::new();
            } else {
                self.rest.clear();
                self.rest.extend_from_slice(&buffer[used..filled]);
            }
            if count == 0 {
                return Err(Over(self.end("it closed the connection without a word")));
            }
            if all {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes what is complete of `input`, and returns how much that is.
    fn take(&mut self, input: &[u8], ended: bool, ctx: &mut Context, inflater: &mut Inflater) -> Result<usize, Over> {
        let plan = ctx.plan.clone();
        if self.speaks_http(&plan) {
            self.said(input, ctx)?;
            return Ok(input.len());
        }
        let mut used = 0;
        if self.state == State::Upgrading {
            let Some(agreed) = self.request(&plan, &self.path(&plan)).answer(input, ended)? else {
                return Ok(0);
            };
            used = agreed.bytes;
            self.compression = agreed.compression;
            self.state = State::Greeting;
            let name = self.name();
            plan.dialect.greet(&self.client(&plan, &name), &mut self.out);
            if !plan.dialect.waits_for_greeting() {
                self.ready(&[], ctx)?;
            }
        }
        let frame_bytes_max = plan.frame_bytes_max();
        while let Some(frame) = frame::next(&input[used..], frame_bytes_max)? {
            used += frame.bytes;
            ctx.counts.bytes += frame.bytes as u64;
            self.frame(&frame, ctx, inflater)?;
        }
        if !self.out.bytes.is_empty() {
            self.flush()?;
        }
        Ok(used)
    }

    #[inline]
    fn frame(&mut self, frame: &Frame<'_>, ctx: &mut Context, inflater: &mut Inflater) -> Result<(), Over> {
        match frame.opcode {
            frame::TEXT | frame::BINARY if self.fragment.is_none() => {
                if frame.compressed && !self.compression {
                    return Err(Over("a compressed frame, which nobody agreed on".to_owned()));
                }
                if frame.fin {
                    return match frame.compressed {
                        false => self.said(frame.payload, ctx),
                        true => self.said(inflater.inflate(frame.payload)?, ctx),
                    };
                }
                self.fragment = Some(Fragment { compressed: frame.compressed });
                self.gather(frame, ctx, inflater)
            }
            frame::CONTINUATION if self.fragment.is_some() => self.gather(frame, ctx, inflater),
            frame::PING => {
                let payload = frame.payload;
                self.out.frame(frame::PONG, |out| out.extend_from_slice(payload));
                Ok(())
            }
            frame::PONG => Ok(()),
            frame::CLOSE => Err(Over(self.end(&closing(frame.payload)))),
            opcode => Err(Over(format!("a frame out of place, with opcode {opcode}"))),
        }
    }

    /// A message in several frames.
    fn gather(&mut self, frame: &Frame<'_>, ctx: &mut Context, inflater: &mut Inflater) -> Result<(), Over> {
        let compressed = self.fragment.is_some_and(|fragment| fragment.compressed);
        if frame.fin {
            self.fragment = None;
        }
        if ctx.plan.dialect.is_stream() && !compressed {
            return self.said(frame.payload, ctx);
        }
        if self.said.len() + frame.payload.len() > ctx.plan.frame_bytes_max() {
            return Err(Over("a message far longer than what was published".to_owned()));
        }
        self.said.extend_from_slice(frame.payload);
        if !frame.fin {
            return Ok(());
        }
        let message = std::mem::take(&mut self.said);
        match compressed {
            false => self.said(&message, ctx),
            true => self.said(inflater.inflate(&message)?, ctx),
        }
    }

    /// What the server says, one message or a piece of the stream.
    #[inline]
    fn said(&mut self, input: &[u8], ctx: &mut Context) -> Result<(), Over> {
        if !self.said.is_empty() {
            let mut whole = std::mem::take(&mut self.said);
            whole.extend_from_slice(input);
            return self.hear(&whole, ctx);
        }
        self.hear(input, ctx)
    }

    #[inline]
    fn hear(&mut self, input: &[u8], ctx: &mut Context) -> Result<(), Over> {
        let plan = ctx.plan.clone();
        let mut used = 0;
        while used < input.len() {
            let Some((heard, bytes)) = plan.dialect.hear(self.encoding, &input[used..])? else {
                if input.len() - used > plan.frame_bytes_max() {
                    return Err(Over("a message far longer than what was published".to_owned()));
                }
                self.said = input[used..].to_vec();
                return Ok(());
            };
            used += bytes;
            match heard {
                Heard::Message { topic, offset, data } => {
                    if let Role::Subscriber(subscriber) = &mut self.role {
                        let since = self.joined;
                        subscriber.message(&Message { encoding: self.encoding, topic, offset, data, since }, ctx);
                    }
                }
                other => self.event(other, ctx)?,
            }
        }
        Ok(())
    }

    fn event(&mut self, heard: Heard<'_>, ctx: &mut Context) -> Result<(), Over> {
        match heard {
            Heard::Ready(hint) if self.state == State::Greeting => self.ready(hint, ctx),
            Heard::Settled if self.state == State::Greeting => self.ready(&[], ctx),
            Heard::Settled if self.state == State::Joining => {
                self.waiting = 1;
                self.subscribed(&Standing::default(), ctx);
                Ok(())
            }
            Heard::Subscribed(standing) if self.state == State::Joining => {
                self.subscribed(&standing, ctx);
                Ok(())
            }
            Heard::Published => {
                if let Role::Publisher(publisher) = &mut self.role
                    && let Some((due, _)) = publisher.answered()
                {
                    ctx.counts.answered += 1;
                    ctx.times.answer.record(ctx.now.saturating_sub(due) / 1000);
                }
                Ok(())
            }
            Heard::Unpublished(reason) => {
                if let Role::Publisher(publisher) = &mut self.role
                    && let Some((_, stream)) = publisher.answered()
                {
                    ctx.counts.refused_publishes += 1;
                    ctx.shared.refuse(stream);
                    ctx.reasons.add(format!("publish refused: {reason}"), 1);
                }
                Ok(())
            }
            Heard::Gap { topic, from, to } => {
                if let Role::Subscriber(subscriber) = &mut self.role {
                    subscriber.gap(&topic, from, to, ctx);
                }
                Ok(())
            }
            Heard::Ping => {
                ctx.plan.dialect.pong(&mut self.out);
                Ok(())
            }
            Heard::Refused(reason) if self.state != State::Live => Err(Over(format!("the server refused: {reason}"))),
            Heard::Refused(reason) => {
                ctx.reasons.add(reason.clone(), 1);
                self.farewell = Some(reason);
                Ok(())
            }
            Heard::Goodbye(reason) => {
                self.farewell = Some(reason);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The server is ready: subscribers subscribe, and publishers are live, unless they have to follow first.
    fn ready(&mut self, hint: &[u8], ctx: &mut Context) -> Result<(), Over> {
        let plan = ctx.plan.clone();
        let name = self.name();
        let client = self.client(&plan, &name);
        let wanted: Vec<Wanted<'_>> = match &self.role {
            Role::Publisher(publisher) if plan.dialect.publishers_subscribe() => publisher
                .streams()
                .iter()
                .map(|stream| Wanted { topic: &plan.topics[plan.layout.topic_of(*stream)], since: None })
                .collect(),
            Role::Publisher(_) => Vec::new(),
            Role::Subscriber(subscriber) => match &plan.pattern {
                Some(pattern) => vec![Wanted { topic: pattern, since: None }],
                None => subscriber.wanted(&plan).collect(),
            },
        };
        self.waiting = match wanted.is_empty() {
            true => 0,
            false => plan.dialect.subscribe(&client, &wanted, hint, &mut self.out),
        };
        self.state = State::Joining;
        if self.waiting == 0 {
            self.waiting = 1;
            self.subscribed(&Standing::default(), ctx);
        }
        self.flush()
    }

    /// A subscription stands, or all of them if it is not said which.
    fn subscribed(&mut self, standing: &Standing, ctx: &mut Context) {
        if let Role::Subscriber(subscriber) = &mut self.role {
            subscriber.subscribed(standing, ctx);
        }
        self.waiting -= 1;
        if self.waiting == 0 {
            self.state = State::Live;
            self.joined = ctx.now;
            ctx.live += 1;
            ctx.counts.joined += 1;
            ctx.counts.compressed += u64::from(self.compression);
            ctx.times.connect.record(ctx.now.saturating_sub(self.began) / 1000);
        }
    }

    /// Why it ended, as far as the server has explained it.
    fn end(&mut self, otherwise: &str) -> String {
        match self.farewell.take() {
            Some(farewell) => format!("{otherwise} ({farewell})"),
            None => otherwise.to_owned(),
        }
    }

    fn name(&self) -> String {
        format!("fanfare-bench-{}-{}", std::process::id(), self.number)
    }

    fn client<'a>(&self, plan: &'a Plan, name: &'a str) -> Client<'a> {
        Client { encoding: self.encoding, token: plan.token(self.number), name }
    }

    /// Whether there is no WebSocket: what comes is a stream, and what goes is no frame.
    fn speaks_http(&self, plan: &Plan) -> bool {
        plan.dialect.publishes_by_http() && !self.is_subscriber()
    }

    /// What it asks for.
    fn path<'a>(&self, plan: &'a Plan) -> Cow<'a, str> {
        let of_topic = match &self.role {
            Role::Subscriber(subscriber) => {
                subscriber.wanted(plan).next().and_then(|wanted| plan.dialect.path_of(wanted.topic))
            }
            Role::Publisher(_) => None,
        };
        of_topic.map_or(Cow::Borrowed(plan.path.as_str()), Cow::Owned)
    }

    fn request<'a>(&self, plan: &'a Plan, path: &'a str) -> Request<'a> {
        Request {
            host: &plan.host,
            path,
            subprotocol: plan.dialect.subprotocol(self.encoding),
            token: plan.token(self.number).filter(|_| plan.dialect.token_in_header()),
            compression: plan.compression && self.is_subscriber(),
            nonce: u128::from(self.began) << 64 | self.number as u128,
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if let Some(Transport::Plain(socket)) = &self.transport {
            // Whether the server still listens makes no difference any more.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// What a close frame says.
fn closing(payload: &[u8]) -> String {
    match payload.split_first_chunk::<2>() {
        None => "the server closed the connection".to_owned(),
        Some((code, reason)) => {
            let reason = String::from_utf8_lossy(reason);
            let colon = if reason.is_empty() { "" } else { ": " };
            format!("the server closed the connection with {}{colon}{reason}", u16::from_be_bytes(*code))
        }
    }
}
