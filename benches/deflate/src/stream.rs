//! Messages and what they become on the wire: checked here, timed by whoever asks.

use std::hint::black_box;
use std::rc::Rc;

use crate::library::{Library, TAIL, miniz, zlib};
use crate::measure::Work;

/// Whether a message may refer to those before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    /// RFC 7692, 7.1.1: no context takeover.
    Fresh,
    /// Each message builds on those before it.
    Kept,
}

pub(crate) struct Stream {
    pub(crate) messages: Rc<Vec<Vec<u8>>>,
    context: Context,
}

/// The payloads of a stream, each with its tail.
pub(crate) struct Payloads {
    messages: Rc<Vec<Vec<u8>>>,
    payloads: Vec<Vec<u8>>,
    context: Context,
}

impl Stream {
    pub(crate) fn new(messages: Vec<Vec<u8>>, context: Context) -> Stream {
        Stream { messages: Rc::new(messages), context }
    }

    /// The mean length of a message.
    pub(crate) fn mean(&self) -> f64 {
        self.messages.iter().map(Vec::len).sum::<usize>() as f64 / self.messages.len() as f64
    }

    /// What `library` makes of the messages, after another library has made the messages of it again.
    pub(crate) fn payloads(&self, library: &dyn Library, level: u8) -> Payloads {
        let mut deflater = library.deflater(level);
        let judge = if library.name().starts_with("zlib-rs") { miniz::library() } else { zlib::library(15, 8) };
        let mut inflater = judge.inflater();
        let mut room = self.room();
        let mut back = vec![0; room.len()];
        let mut payloads = Vec::with_capacity(self.messages.len());
        for message in self.messages.iter() {
            if self.context == Context::Fresh {
                deflater.reset();
                inflater.reset();
            }
            let length = deflater.deflate(message, &mut room);
            let mut payload = room[..length].to_vec();
            payload.extend_from_slice(TAIL);
            let length = inflater.inflate(&payload, &mut back);
            let who = (library.name(), level, judge.name());
            assert!(back[..length] == message[..], "{who:?}: not the message that was deflated");
            payloads.push(payload);
        }
        Payloads { messages: Rc::clone(&self.messages), payloads, context: self.context }
    }

    /// To deflate all messages.
    pub(crate) fn deflate(&self, library: &dyn Library, level: u8) -> Work {
        let (messages, context) = (Rc::clone(&self.messages), self.context);
        let mut room = self.room();
        let mut deflater = library.deflater(level);
        Work::new(messages.len(), move || {
            // Else the pass before would be the best context there is.
            if context == Context::Kept {
                deflater.reset();
            }
            for message in messages.iter() {
                if context == Context::Fresh {
                    deflater.reset();
                }
                black_box(deflater.deflate(black_box(message), &mut room));
            }
        })
    }

    /// As much as any payload needs: what does not shrink is stored with a few bytes more, or coded with
    /// nine bits for eight.
    fn room(&self) -> Vec<u8> {
        let longest = self.messages.iter().map(Vec::len).max().unwrap_or(0);
        vec![0; longest + longest / 8 + 64]
    }
}

impl Payloads {
    /// The part of a message's length that is left.
    pub(crate) fn ratio(&self) -> f64 {
        let messages: usize = self.messages.iter().map(Vec::len).sum();
        self.mean() * self.payloads.len() as f64 / messages as f64
    }

    /// The mean length of a payload, as it is on the wire.
    pub(crate) fn mean(&self) -> f64 {
        let bytes: usize = self.payloads.iter().map(|payload| payload.len() - TAIL.len()).sum();
        bytes as f64 / self.payloads.len() as f64
    }

    /// To inflate all payloads.
    pub(crate) fn inflate(&self, library: &dyn Library) -> Work {
        let mut inflater = library.inflater();
        let more = inflater.tail().strip_prefix(TAIL).expect("a tail begins with the common one");
        let payloads: Vec<Vec<u8>> = self.payloads.iter().map(|payload| [payload, more].concat()).collect();
        let (messages, context) = (Rc::clone(&self.messages), self.context);
        let longest = messages.iter().map(Vec::len).max().unwrap_or(0);
        let mut out = vec![0; longest + 64];
        Work::new(messages.len(), move || {
            if context == Context::Kept {
                inflater.reset();
            }
            for (payload, message) in payloads.iter().zip(messages.iter()) {
                if context == Context::Fresh {
                    inflater.reset();
                }
                let length = inflater.inflate(black_box(payload), &mut out);
                assert_eq!(length, message.len(), "the whole message");
            }
        })
    }
}
