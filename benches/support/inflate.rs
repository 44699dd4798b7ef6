//! Compressed messages, inflated once for all subscribers.
//!
//! A load that inflated each message of each subscriber would be what is measured. The bytes of a message
//! have to be the same for everybody, so that comparing them checks as much.

use miniz_oxide::inflate::decompress_to_vec;

use super::Result;

/// Messages that were seen before: more than can be on their way.
const KNOWN_MAX: usize = 4096;

/// By their offsets: what came, and what it is.
#[derive(Default)]
pub(crate) struct Known(Vec<Message>);

#[derive(Clone, Default)]
struct Message {
    offset: u64,
    deflated: Vec<u8>,
    text: Vec<u8>,
}

impl Known {
    /// # Errors
    ///
    /// When it is not DEFLATE, or not what another subscriber got.
    pub(crate) fn inflate(&mut self, offset: u64, deflated: &[u8]) -> Result<&[u8]> {
        self.0.resize_with(KNOWN_MAX, Message::default);
        let message = &mut self.0[offset as usize % KNOWN_MAX];
        if message.offset != offset {
            // The end of the block that is not sent (RFC 7692, 7.2.2), and one that says it is the last.
            let whole = [deflated, &[0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff]].concat();
            let text = decompress_to_vec(&whole).map_err(|error| format!("{error:?}"))?;
            *message = Message { offset, deflated: deflated.to_vec(), text };
        } else if message.deflated != deflated {
            return Err(format!("message {offset} is not the same for everybody").into());
        }
        Ok(&message.text)
    }
}
