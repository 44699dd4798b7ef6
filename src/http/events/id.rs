//! The `id` of an event: how far a client has come in each topic of its stream.

use std::io::Write;

use crate::protocol::{Epoch, Position, Since};

use super::TOPICS_MAX;

/// The longest `id`: an epoch, a colon and an offset for each topic, and the commas between them.
const ID_BYTES_MAX: usize = TOPICS_MAX * (13 + 1 + 20) + TOPICS_MAX - 1;

/// The positions that an `id` holds: `EPOCH:OFFSET`, or several of them with commas in between.
///
/// No names and no order: an epoch is never used twice, so it says which topic is meant. A client may name
/// its topics in another order, or others beside them, and what the id does not know is not recovered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EventId(Vec<Position>);

impl EventId {
    /// Reads what a client sent. What is not an id of ours holds no position: a browser could do nothing
    /// about an error, but is told with `recovered:false`.
    pub(super) fn parse(text: &str) -> EventId {
        let positions = (text.len() <= ID_BYTES_MAX).then(|| text.split(',').map(position).collect()).flatten();
        EventId(positions.unwrap_or_default())
    }

    /// Where to go on in the topic of this epoch.
    pub(super) fn since(&self, epoch: Epoch) -> Since {
        match self.0.iter().find(|position| position.epoch == epoch) {
            Some(position) => Since { epoch: Some(epoch), offset: position.offset },
            None => Since { epoch: None, offset: 0 },
        }
    }
}

fn position(text: &str) -> Option<Position> {
    let (epoch, offset) = text.split_once(':')?;
    let is_number = offset.bytes().all(|byte| byte.is_ascii_digit());
    let offset = is_number.then(|| offset.parse().ok()).flatten()?;
    Some(Position { epoch: Epoch::parse(epoch)?, offset })
}

/// Appends the `id` that holds these positions.
pub(super) fn write(positions: impl Iterator<Item = Position>, out: &mut Vec<u8>) {
    for (number, Position { epoch, offset }) in positions.enumerate() {
        let comma = if number == 0 { "" } else { "," };
        // A vector takes everything that is written to it.
        let _ = write!(out, "{comma}{epoch}:{offset}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(positions: &[(u64, u64)]) -> String {
        let mut text = Vec::new();
        write(positions.iter().map(|&(epoch, offset)| Position { epoch: Epoch(epoch), offset }), &mut text);
        String::from_utf8(text).expect("digits and letters")
    }

    #[test]
    fn an_id_holds_a_position_for_each_topic_in_any_order() {
        let id = EventId::parse(&text(&[(7, 1), (u64::MAX, u64::MAX), (35, 0)]));
        for (epoch, offset) in [(35, 0), (7, 1), (u64::MAX, u64::MAX)] {
            assert_eq!(id.since(Epoch(epoch)), Since { epoch: Some(Epoch(epoch)), offset });
        }
        assert_eq!(id.since(Epoch(8)).epoch, None);
        assert_eq!(text(&[(35, 41)]), "z:41");
    }

    #[test]
    fn the_longest_id_is_as_long_as_the_bound_says() {
        let longest = text(&[(u64::MAX, u64::MAX); TOPICS_MAX]);
        assert_eq!(longest.len(), ID_BYTES_MAX);
        assert_ne!(EventId::parse(&longest), EventId(Vec::new()));
    }

    #[test]
    fn what_is_no_id_of_ours_holds_no_position() {
        let long = format!("{},a:1", text(&[(u64::MAX, u64::MAX); TOPICS_MAX]));
        let wrong =
            ["", ":", "a", "a:", ":1", "a:+1", "a:-1", "a:1x", "A:1", "00:1", "a:1,", ",a:1", "a:1,b", "a:1;b:2"];
        for text in wrong.into_iter().chain(["a:99999999999999999999", "a:1 ", "🙂:1", &long]) {
            assert_eq!(EventId::parse(text), EventId(Vec::new()), "{text:?}");
        }
    }
}
