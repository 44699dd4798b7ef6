//! The ways in which a message can look on the wire.

use crate::protocol::Encoding;
use crate::ws::{Opcode, Window};

/// How messages look to a connection. A message's frame is made once for each form in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    encoding: Encoding,
    /// Compressed, with that window, where it makes a message shorter.
    window: Option<Window>,
}

impl Form {
    pub(crate) const COUNT: usize = 2 * (1 + Window::ALL.len());

    pub(crate) const fn new(encoding: Encoding, window: Option<Window>) -> Self {
        Form { encoding, window }
    }

    /// 0 <= index < `COUNT`
    pub(crate) fn index(self) -> usize {
        self.encoding as usize + 2 * self.window.map_or(0, |window| 1 + window as usize)
    }

    /// The form of that index.
    pub(crate) fn of_index(index: usize) -> Self {
        let encoding = if index % 2 == Encoding::Json as usize { Encoding::Json } else { Encoding::MsgPack };
        Form { encoding, window: (index / 2).checked_sub(1).map(|window| Window::ALL[window]) }
    }

    /// The same, not compressed.
    pub(crate) fn plain(self) -> Self {
        Form { window: None, ..self }
    }

    pub(crate) fn encoding(self) -> Encoding {
        self.encoding
    }

    pub(crate) fn window(self) -> Option<Window> {
        self.window
    }

    pub(crate) fn opcode(self) -> Opcode {
        match self.encoding {
            Encoding::Json => Opcode::Text,
            Encoding::MsgPack => Opcode::Binary,
        }
    }
}

impl From<Encoding> for Form {
    fn from(encoding: Encoding) -> Self {
        Form::new(encoding, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_numbered() {
        for index in 0..Form::COUNT {
            assert_eq!(Form::of_index(index).index(), index);
        }
        assert_eq!(Form::from(Encoding::Json).index() + Form::from(Encoding::MsgPack).index(), 1);
    }
}
