//! One connection of a client: frames on a network that is as it is, and a model that checks each event.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::SEC_WEBSOCKET_EXTENSIONS;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::frames::{command, event, frame, inflate, whole_frame};
use super::model::{Answer, Model};
use super::network::{Cut, End, Weather, connection};
use super::random::Random;
use super::world::{STRICT, World};
use crate::fanout::Pipe;
use crate::protocol::Encoding;
use crate::session::Stream;
use crate::ws;

/// Who does not read for so long may miss the word with which it is closed: the server waits no longer for what
/// comes after that, and its socket is reset with what is unread on both sides,
const SLOW: Duration = Duration::from_secs(1);

/// or may be taken for dead.
const DEAF: Duration = Duration::from_secs(15);

pub(super) struct Line {
    world: Arc<World>,
    pub(super) end: End,
    encoding: Encoding,
    /// Bytes that have come and are not a whole frame yet.
    unread: Vec<u8>,
    pub(super) model: Model,
    ids: u64,
    /// Whether more may come.
    pub(super) is_open: bool,
    /// Whether the client, or the network for it, has ended the connection.
    is_cut: bool,
    /// When it last read, and the longest time in which it did not.
    read_at: Instant,
    deaf: Duration,
    /// Whether it has read less than had come, or its network does not take much.
    is_slow: bool,
}

impl Line {
    pub(super) async fn open(world: &Arc<World>, subject: Option<&str>, random: &mut Random) -> Line {
        let pick = |random: &mut Random, of: [u64; 4]| of[random.below(4) as usize];
        let weather = Weather {
            delay_ms_max: pick(random, [0, 3, 40, 300]),
            capacity: pick(random, [150, 1_000, 5_000, 1 << 20]) as usize,
            piece_bytes_max: pick(random, [30, 400, 1 << 16, 1 << 16]),
        };
        let pipe = Pipe::with_capacity(pick(random, [100, 700, 4_000, 1 << 16]) as usize);
        let encoding = if random.one_in(2) { Encoding::Json } else { Encoding::MsgPack };
        let deflate = random.one_in(3).then(offer);
        let (end, server) = connection(weather, random.next());
        let number = world.next_line();
        let shard = random.below(1 << 16) as usize;
        let admission = world.admit(subject, encoding, deflate, shard).await;
        let (stream, transport) = Stream::through(pipe, Box::new(server), &[]);
        world.serve(admission, stream, transport, random.next());
        let now = Instant::now();
        Line {
            world: Arc::clone(world),
            end,
            encoding,
            unread: Vec::new(),
            model: Model::new(number, subject.map(str::to_owned)),
            ids: 0,
            is_open: true,
            is_cut: false,
            read_at: now,
            deaf: Duration::ZERO,
            is_slow: weather.is_slow(),
        }
    }

    /// Sends commands in one frame, each with an `id` of its own.
    pub(super) fn say(&mut self, commands: Vec<(Value, Vec<Answer>)>) {
        let mut list = Vec::new();
        for (mut said, answers) in commands {
            if !answers.is_empty() {
                self.ids += 1;
                said["id"] = json!(self.ids);
            }
            self.model.asked(self.ids, answers, &mut self.world.ledger());
            list.push(said);
        }
        let said = if list.len() == 1 { list.remove(0) } else { Value::Array(list) };
        self.end.send(&command(&said, self.encoding == Encoding::MsgPack));
    }

    /// Something that is no command, and has no answer but an error.
    pub(super) fn babble(&mut self) {
        self.end.send(&frame(0x81, b"{\"type\":\"ping\",\"id\":0"));
        self.model.asked(u64::MAX, [Answer::BadRequest], &mut self.world.ledger());
    }

    /// Begins a frame and does not end it.
    pub(super) fn break_off(&mut self) {
        let whole = frame(0x81, b"{\"type\":\"publish\",\"topic\":\"a.1\",\"data\":0}");
        self.end.send(&whole[..whole.len() / 2]);
    }

    pub(super) fn say_goodbye(&mut self) {
        self.is_cut = true;
        self.end.send(&frame(0x88, &1000_u16.to_be_bytes()));
    }

    pub(super) fn cut(&mut self, cut: Cut) {
        self.is_cut = true;
        self.is_open = false;
        self.end.cut(cut);
        self.finish();
    }

    /// The network lets nothing through for so long.
    pub(super) fn stall(&mut self, time: Duration) {
        self.deaf = self.deaf.max(time);
        self.end.stall(time);
    }

    /// Reads up to so many bytes until then.
    pub(super) async fn listen(&mut self, until: Instant, bytes_max: usize) {
        self.deaf = self.deaf.max(self.read_at.elapsed());
        let mut bytes = 0;
        while self.is_open && bytes < bytes_max {
            // A read that is given up has taken nothing.
            match timeout_at(until, self.end.read_buf(&mut self.unread)).await {
                Err(_) => break,
                Ok(Ok(count @ 1..)) => {
                    bytes += count;
                    self.take_frames();
                }
                Ok(_) => self.over(),
            }
        }
        self.is_slow |= bytes >= bytes_max;
        self.read_at = Instant::now();
    }

    fn take_frames(&mut self) {
        let mut at = 0;
        while let Some((first, payload)) = whole_frame(&self.unread[at..]) {
            let payload = at + payload.start..at + payload.end;
            at = payload.end;
            self.take(first, self.unread[payload].to_vec());
        }
        self.unread.drain(..at);
    }

    fn take(&mut self, first: u8, payload: Vec<u8>) {
        assert!(self.model.closed.is_none(), "a frame after the close frame");
        let payload = if first & 0x40 == 0 {
            payload
        } else {
            self.world.ledger().tally.count("compressed");
            inflate(&payload)
        };
        let event = match first & !0x40 {
            0x88 => {
                self.closed(u64::from(u16::from_be_bytes([payload[0], payload[1]])));
                return;
            }
            0x89 => {
                self.end.send(&frame(0x8A, &payload));
                return;
            }
            first => event(first, &payload, self.encoding == Encoding::MsgPack),
        };
        self.world.hear(self.model.number, &event, &payload);
        self.model.hear(&event, &mut self.world.ledger(), &*self.world);
    }

    /// The server closes, which it must have a reason to.
    fn closed(&mut self, code: u64) {
        self.model.closed = Some(code);
        let is_strict = self.is_strict();
        let tally = &mut self.world.ledger().tally;
        match code {
            1000 => assert!(self.is_cut, "closed with 1000 by the server"),
            1012 => assert!(self.world.is_drained(), "closed for a restart"),
            4008 if is_strict => tally.count("too slow"),
            4408 => {
                assert!(
                    self.deaf >= DEAF || self.is_slow,
                    "taken for dead, and was not deaf for more than {:?}",
                    self.deaf
                );
                tally.count("taken for dead");
            }
            // Whoever took its place says so itself.
            4409 => {}
            other => panic!("closed with {other}"),
        }
    }

    /// The connection has ended.
    fn over(&mut self) {
        let is_told = self.model.closed.is_some() || self.is_cut || self.world.is_drained();
        // Whoever does not read cannot be told.
        let is_deaf = self.is_slow || self.deaf >= DEAF || (self.deaf >= SLOW && self.is_strict());
        assert!(is_told || is_deaf, "connection {} was lost", self.model.number);
        self.is_open = false;
        self.finish();
    }

    /// Whether it follows a topic that closes the connections of those who miss something.
    fn is_strict(&self) -> bool {
        self.model.may_follow(STRICT)
    }

    fn finish(&mut self) {
        self.model.finish(&mut self.world.ledger());
        self.world.ended(&self.model);
    }
}

fn offer() -> ws::Deflate {
    let mut headers = HeaderMap::new();
    headers.insert(SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate".parse().expect("a header"));
    ws::Deflate::negotiate(&headers, &ws::DeflateOptions::default()).expect("an offer that can be met")
}
