//! No protocol at all: each frame is a message, and a server passes each on to everybody.

use crate::cli::bench::frame::Outbox;
use crate::protocol::Encoding;

use super::{Client, Dialect, Heard, Publish, Unheard, Wanted};

#[derive(Debug)]
pub(super) struct Raw;

impl Dialect for Raw {
    fn token_in_header(&self) -> bool {
        true
    }

    fn pattern(&self, _: &str) -> Option<String> {
        None
    }

    fn subscribe(&self, _: &Client<'_>, _: &[Wanted<'_>], _: &[u8], _: &mut Outbox) -> usize {
        0
    }

    fn publish(&self, _: &Publish<'_>, data: &mut dyn FnMut(&mut Vec<u8>), out: &mut Outbox) {
        out.text(|out| data(out));
    }

    fn hear<'a>(&self, _: Encoding, input: &'a [u8]) -> Result<Option<(Heard<'a>, usize)>, Unheard> {
        Ok(Some((Heard::Message { topic: None, offset: None, data: input }, input.len())))
    }

    fn waits_for_greeting(&self) -> bool {
        false
    }
}
