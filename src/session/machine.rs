//! What a command asks for, decided without I/O.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::broker::{ConnectionId, Form, Message, Placed, Topic};
use crate::fanout::{Asker, Start, Terms, What};
use crate::gate::{Admitted, Denied, Pass, Publication};
use crate::limits::{Meters, Moment};
use crate::protocol::{
    Auth, Command, Data, DecodeLimits, Encoding, ErrorCode, Event, Filter, History, Id, Item, Items, Position, Publish,
    Refusal, Request, Subscribe,
};
use crate::ws;

/// What a message is about (`key`) and what a member says of itself are labels, not payloads.
const KEY_BYTES_MAX: usize = 256;
const MEMBER_BYTES_MAX: usize = 1024;

/// What an `auth` counts: to check a signature takes as long as many commands.
const AUTH_COMMANDS: usize = 10;

/// The settings of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionOptions {
    /// A message, inflated, a batch counting whole.
    pub(crate) message_bytes_max: usize,
    /// Into how many frames a message may be cut.
    pub(crate) fragments_max: usize,
    pub(crate) batch_items_max: usize,
    /// Replies that wait to be written; beyond it nothing more is read.
    pub(crate) control_lane_bytes_max: usize,
    pub(crate) malformed_in_a_row_max: usize,
    /// How long a publish waits for room before it is answered with `overloaded`.
    pub(crate) publish_wait: Duration,
    pub(crate) heartbeat_ms: u64,
    /// How long a client that has to show credentials may take to show them.
    pub(crate) first_command_ms: u64,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            message_bytes_max: 64 * 1024,
            // Far more than any client cuts a message of 64 KiB into, and bounds the work of empty ones.
            fragments_max: 4096,
            batch_items_max: 1000,
            control_lane_bytes_max: 64 * 1024,
            malformed_in_a_row_max: 16,
            publish_wait: Duration::from_secs(5),
            heartbeat_ms: 25_000,
            first_command_ms: 10_000,
        }
    }
}

impl SessionOptions {
    pub(crate) fn decode_limits(&self) -> DecodeLimits {
        DecodeLimits {
            batch_items_max: self.batch_items_max,
            key_bytes_max: KEY_BYTES_MAX,
            member_bytes_max: MEMBER_BYTES_MAX,
        }
    }
}

/// What is to be done about one command, beside the replies that have been written.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing.
    Answered,
    /// Asks of the shard, in order, with refusals in between.
    Ask(Vec<Ask>),
    /// A publish that waits for room.
    Wait(Waiting),
    /// A publish that is done, and that says how many it is for.
    Count(Counting),
    /// Another connection's place is to be taken: its secret.
    Resume(Asker, Secrecy),
    /// Credentials to be judged.
    Auth(Shown),
    /// It has been answered with this, and does not go on.
    Refuse(Denied),
    /// Too many malformed commands.
    GiveUp,
    /// Past its rates for too long.
    TooFast,
}

/// A text that no log line may hold.
pub(super) struct Secrecy(pub(super) String);

impl std::fmt::Debug for Secrecy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrecy(..)")
    }
}

/// One item of a subscribe or unsubscribe.
#[derive(Debug)]
pub(super) enum Ask {
    Shard(What),
    /// A finished reply.
    Refused(Vec<u8>),
}

/// A token that a client shows.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) auth: Auth<'static>,
    pub(super) id: Option<Id<'static>>,
    pub(super) index: Option<u32>,
}

/// A publish that was allowed and found no room.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) topic: Arc<Topic>,
    pub(super) message: Arc<Message>,
    /// Whom it is not for, and whether the others are to be counted.
    pub(super) skip: Option<ConnectionId>,
    pub(super) counts: bool,
    pub(super) id: Option<Id<'static>>,
    pub(super) index: Option<u32>,
}

/// A publish that has been placed.
#[derive(Debug)]
pub(super) struct Counting {
    pub(super) placed: Placed,
    pub(super) skip: Option<ConnectionId>,
    pub(super) id: Option<Id<'static>>,
}

/// The state of a connection's commands.
#[derive(Debug)]
pub(super) struct Machine {
    pass: Pass,
    /// What it has used of its rates; `None` if it is exempt from them.
    meters: Option<Box<Meters>>,
    connection: ConnectionId,
    form: Form,
    /// Malformed commands since the last one that was not.
    malformed: u32,
    /// As many are borne; the next one ends the connection.
    malformed_max: u32,
    items_max: u32,
    /// The topic that was published to last: most connections publish to one.
    recent: Option<Arc<Topic>>,
}

impl Machine {
    pub(super) fn new(
        pass: Pass,
        meters: Option<Box<Meters>>,
        connection: ConnectionId,
        form: Form,
        options: &SessionOptions,
    ) -> Self {
        Machine {
            pass,
            meters,
            connection,
            form,
            malformed: 0,
            malformed_max: u32::try_from(options.malformed_in_a_row_max).unwrap_or(u32::MAX),
            items_max: u32::try_from(options.batch_items_max).unwrap_or(u32::MAX),
            recent: None,
        }
    }

    pub(super) fn pass(&self) -> &Pass {
        &self.pass
    }

    /// The time, if anything goes by it.
    pub(super) fn now(&self) -> Moment {
        self.meters.as_ref().map_or(Moment::default(), |meters| meters.now())
    }

    /// Takes note of a message of so many bytes; its commands are decided about next.
    pub(super) fn hear(&mut self, bytes: usize, now: Moment) {
        if let Some(meters) = &mut self.meters {
            meters.message(bytes, now);
        }
    }

    /// Writes an event as a finished frame.
    pub(super) fn say(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        let mut payload = Vec::with_capacity(128);
        event.encode(self.form.encoding(), &mut payload);
        ws::push(out, self.form.opcode(), &payload);
    }

    /// Takes note of a ping or pong: it costs as much as a command.
    pub(super) fn hear_control(&mut self, bytes: usize, now: Moment) -> Step {
        self.hear(bytes, now);
        if self.meter(|| 1, now).is_err() { self.slow_down(now) } else { Step::Answered }
    }

    /// Takes note of credentials that do not count.
    pub(super) fn refuse_credentials(&self, denied: &Denied) {
        if let Some(meters) = self.meters.as_ref().filter(|_| denied.code == ErrorCode::Unauthorized) {
            meters.refuse_credentials(self.now());
        }
    }

    /// Takes note of what ends a connection because it is no WebSocket's.
    pub(super) fn fault(&self, now: Moment) {
        if let Some(meters) = &self.meters {
            meters.fault(now);
        }
    }

    /// For how long nothing more is to be read after the message that came at `now`.
    pub(super) fn pause(&self, now: Moment) -> Duration {
        self.meters.as_ref().map_or(Duration::ZERO, |meters| meters.pause(now))
    }

    /// Writes an event that may be long. What its client asks for counts with what it sends.
    fn say_weighed(&self, event: &Event<'_>, now: Moment, out: &mut Vec<u8>) -> Result<(), Denied> {
        let before = out.len();
        self.say(event, out);
        let weighed = self.meters.as_ref().map_or(Ok(()), |meters| meters.answer(out.len() - before, now));
        weighed.map_err(|excess| {
            out.truncate(before);
            excess.into()
        })
    }

    /// Decides about one command of a frame. `source` gives the bytes that the command's `data` is a
    /// slice of.
    pub(super) fn decide(
        &mut self,
        request: Result<Request<'_>, Refusal<'_>>,
        now: Moment,
        encoding: Encoding,
        source: impl Fn() -> Bytes,
        out: &mut Vec<u8>,
    ) -> Step {
        let Request { id, index, command } = match request {
            Ok(request) => request,
            Err(refusal) => return self.refuse(&refusal, now, out),
        };
        self.malformed = 0;
        if let Err(denied) = self.meter(|| weight(&command), now) {
            self.deny(&denied, id.as_ref(), index, topic(&command), out);
            return self.slow_down(now);
        }
        if self.pass.is_stranger() && !matches!(command, Command::Auth(_) | Command::Ping) {
            let denied = Denied::stranger();
            self.deny(&denied, id.as_ref(), index, topic(&command), out);
            return Step::Refuse(denied);
        }
        let denied = match command {
            // Metered before the topic is looked up: that may have it born.
            Command::Publish(publish) => match self
                .meter_publish(&publish, now)
                .and_then(|()| self.publish(&publish, id.as_ref(), index, encoding, source, out))
            {
                Ok(step) => return step,
                Err(denied) => (denied, Some(publish.topic)),
            },
            Command::Subscribe(subscribe) => match self.subscribe(&subscribe, id.as_ref(), index, encoding) {
                Ok(step) => return step,
                Err(denied) => (denied, None),
            },
            Command::Unsubscribe(unsubscribe) => match self.unsubscribe(&unsubscribe.items, id.as_ref(), index) {
                Ok(step) => return step,
                Err(denied) => (denied, None),
            },
            Command::Ping => {
                self.say(&Event::Pong { id: id.as_ref() }, out);
                return Step::Answered;
            }
            Command::Presence(presence) => match self.presence(&presence.topic, id.as_ref(), now, out) {
                Ok(()) => return Step::Answered,
                Err(denied) => (denied, Some(presence.topic)),
            },
            Command::History(history) => match self.history(&history, id.as_ref(), now, out) {
                Ok(()) => return Step::Answered,
                Err(denied) => (denied, Some(history.topic)),
            },
            Command::Resume(resume) => {
                let asker = Asker { id: owned(id.as_ref()), index };
                return Step::Resume(asker, Secrecy(resume.secret.into_owned()));
            }
            Command::Auth(Auth { token }) => {
                let auth = Auth { token: token.into_owned().into() };
                return Step::Auth(Shown { auth, id: owned(id.as_ref()), index });
            }
        };
        let (denied, topic) = denied;
        self.deny(&denied, id.as_ref(), index, topic.as_deref(), out);
        if denied.code == ErrorCode::RateLimited { self.slow_down(now) } else { Step::Answered }
    }

    /// The credentials shown count: from now on this pass does.
    pub(super) fn authenticated(&mut self, pass: Pass, id: Option<&Id<'_>>, out: &mut Vec<u8>) {
        let subject = pass.subject().map(|subject| &**subject);
        self.say(&Event::Authenticated { id, subject, expires_in_ms: pass.expires_in_ms() }, out);
        self.pass = pass;
        // The pass that allowed it is no more.
        self.recent = None;
    }

    /// Counts a command.
    fn meter(&self, weight: impl FnOnce() -> usize, now: Moment) -> Result<(), Denied> {
        self.meters.as_ref().map_or(Ok(()), |meters| Ok(meters.command(weight(), now)?))
    }

    fn meter_publish(&self, publish: &Publish<'_>, now: Moment) -> Result<(), Denied> {
        self.meters.as_ref().map_or(Ok(()), |meters| Ok(meters.publish(&publish.topic, now)?))
    }

    /// What is to be done about somebody who was told to slow down.
    fn slow_down(&mut self, now: Moment) -> Step {
        let ends = self.meters.as_mut().is_some_and(|meters| meters.refuse(now));
        if ends { Step::TooFast } else { Step::Answered }
    }

    fn refuse(&mut self, refusal: &Refusal<'_>, now: Moment, out: &mut Vec<u8>) -> Step {
        // It costs as much as one that is well-formed; what it is told is what is wrong with it.
        if self.meter(|| 1, now).is_err()
            && let step @ Step::TooFast = self.slow_down(now)
        {
            return step;
        }
        let denied = Denied::new(refusal.code, refusal.message.clone());
        self.deny(&denied, refusal.id.as_ref(), refusal.index, refusal.topic.as_deref(), out);
        if !refusal.malformed {
            self.malformed = 0;
            return Step::Answered;
        }
        self.malformed = self.malformed.saturating_add(1);
        if self.malformed <= self.malformed_max {
            return Step::Answered;
        }
        if let Some(meters) = &self.meters {
            meters.bar(now);
        }
        Step::GiveUp
    }

    pub(super) fn deny(
        &self,
        denied: &Denied,
        id: Option<&Id<'_>>,
        index: Option<u32>,
        topic: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        let Denied { code, message, retry_after_ms } = denied;
        // Without an id the place in the batch says which command it was.
        let index = index.filter(|_| id.is_none());
        self.say(&Event::Error { id, index, topic, code: *code, message, retry_after_ms: *retry_after_ms }, out);
    }

    fn publish(
        &mut self,
        publish: &Publish<'_>,
        id: Option<&Id<'_>>,
        index: Option<u32>,
        encoding: Encoding,
        source: impl Fn() -> Bytes,
        out: &mut Vec<u8>,
    ) -> Result<Step, Denied> {
        if !publish.echo && id.is_none() {
            return Err(Denied::new(ErrorCode::BadRequest, "a publish with echo:false needs an id"));
        }
        if publish.receivers && id.is_none() {
            return Err(Denied::new(ErrorCode::BadRequest, "a publish with receivers:true needs an id"));
        }
        let topic = self.pass.publish_to(&publish.topic, self.recent.as_ref())?;
        let data = Data::already_checked(encoding, kept(publish.data, source));
        let skip = (!publish.echo).then_some(self.connection);
        let (key, idempotency_key) = (publish.key.as_deref(), publish.idempotency_key.as_deref());
        let counts = publish.receivers;
        match self.pass.publish(topic, Publication { data, key, idempotency_key, skip })? {
            Admitted::Placed(placed) if counts => Ok(Step::Count(Counting { placed, skip, id: owned(id) })),
            Admitted::Placed(placed) => {
                self.published(placed, None, id, out);
                Ok(Step::Answered)
            }
            Admitted::Full(topic, message) => {
                Ok(Step::Wait(Waiting { topic, message, skip, counts, id: owned(id), index }))
            }
        }
    }

    pub(super) fn published(&mut self, placed: Placed, receivers: Option<u64>, id: Option<&Id<'_>>, out: &mut Vec<u8>) {
        if id.is_some() {
            let position = Position { epoch: placed.epoch, offset: placed.seq.0 };
            self.say(&Event::Published { id, topic: placed.topic.name(), position, receivers }, out);
        }
        self.recent = Some(placed.topic);
    }

    fn presence(&self, topic: &str, id: Option<&Id<'_>>, now: Moment, out: &mut Vec<u8>) -> Result<(), Denied> {
        let snapshot = self.pass.presence(topic)?;
        let (version, count) = (snapshot.version, snapshot.count);
        self.say_weighed(&Event::Presence { id, topic, version, count, members: &snapshot.list() }, now, out)
    }

    fn history(
        &self,
        history: &History<'_>,
        id: Option<&Id<'_>>,
        now: Moment,
        out: &mut Vec<u8>,
    ) -> Result<(), Denied> {
        let found = self.pass.history(&history.topic, history.since, history.limit)?;
        self.say_weighed(&found.event(id, &history.topic, &found.list()), now, out)
    }

    fn subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        id: Option<&Id<'_>>,
        index: Option<u32>,
        encoding: Encoding,
    ) -> Result<Step, Denied> {
        let said = subscribe.member.map(|bytes| Data::already_checked(encoding, Bytes::copy_from_slice(bytes)));
        let join = |item: &Item<'_>, asker| {
            let filter = subscribe.filter(item).map_err(|refusal| Denied::new(refusal.code, refusal.message))?;
            let start = match (item.since, item.last) {
                (Some(since), _) => Start::Since(since),
                (None, Some(count)) => Start::Last(count),
                (None, None) => Start::Live,
            };
            let member = subscribe.presence.then(|| self.pass.introduce(&filter, said.clone())).transpose()?;
            // The decoder lets no more than 1,000 through.
            let max_rate = subscribe.max_rate.and_then(|rate| u16::try_from(rate).ok());
            Ok(What::Join(self.pass.subscribe(filter)?, Terms { start, member, max_rate }, asker))
        };
        self.each(&subscribe.items, id, index, join)
    }

    fn unsubscribe(&mut self, items: &Items<'_>, id: Option<&Id<'_>>, index: Option<u32>) -> Result<Step, Denied> {
        // Whoever got in may get out.
        let leave = |item: &Item<'_>, asker| match Filter::parse(&item.topic) {
            Ok(filter) => Ok(What::Leave(filter, asker)),
            Err(error) => Err(Denied::new(ErrorCode::BadTopic, error.to_string())),
        };
        self.each(items, id, index, leave)
    }

    /// Each item is answered on its own.
    fn each(
        &self,
        items: &Items<'_>,
        id: Option<&Id<'_>>,
        index: Option<u32>,
        what: impl Fn(&Item<'_>, Asker) -> Result<What, Denied>,
    ) -> Result<Step, Denied> {
        if items.clone().nth(self.items_max as usize).is_some() {
            let message = format!("more than {} topics in one command", self.items_max);
            return Err(Denied::new(ErrorCode::TooLarge, message));
        }
        let asks = items.clone().map(|item| match what(&item, Asker { id: owned(id), index }) {
            Ok(what) => Ask::Shard(what),
            Err(denied) => {
                let mut reply = Vec::new();
                self.deny(&denied, id, index, Some(&item.topic), &mut reply);
                Ask::Refused(reply)
            }
        });
        Ok(Step::Ask(asks.collect()))
    }
}

/// How many things a command asks for.
fn weight(command: &Command<'_>) -> usize {
    match command {
        Command::Subscribe(subscribe) => subscribe.items.clone().count().max(1),
        Command::Unsubscribe(unsubscribe) => unsubscribe.items.clone().count().max(1),
        Command::Auth(_) => AUTH_COMMANDS,
        _ => 1,
    }
}

/// The one topic that a command is about.
fn topic<'a>(command: &'a Command<'_>) -> Option<&'a str> {
    match command {
        Command::Publish(publish) => Some(&publish.topic),
        Command::Presence(presence) => Some(&presence.topic),
        Command::History(history) => Some(&history.topic),
        _ => None,
    }
}

fn owned(id: Option<&Id<'_>>) -> Option<Id<'static>> {
    id.map(|id| id.clone().into_owned())
}

/// The bytes of `data`, to be kept for as long as the message is. A slice keeps the whole frame with it,
/// so it is taken only of large data that is most of its frame.
fn kept(data: &[u8], source: impl Fn() -> Bytes) -> Bytes {
    const COPIED_BYTES_MAX: usize = 4 * 1024;
    if data.len() > COPIED_BYTES_MAX {
        let frame = source();
        if frame.len() <= 2 * data.len() {
            return frame.slice_ref(data);
        }
    }
    Bytes::copy_from_slice(data)
}
