//! Close codes: what they are called and which of them may be on the wire.

use std::fmt;

/// Why a connection is closed (RFC 6455, 7.4): a number that goes into the close frame.
///
/// Codes from 4000 on belong to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server goes down, or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// The other side broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// The other side sent a kind of data that this side does not take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Stands for a close frame without a code. Never on the wire.
    pub const NO_STATUS: Self = Self(1005);
    /// Stands for a connection that ended without a close frame. Never on the wire.
    pub const ABNORMAL: Self = Self(1006);
    /// The data of a message contradicts its type, such as text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// A message goes against the policy of this side.
    pub const POLICY: Self = Self(1008);
    /// A message is too big to process.
    pub const TOO_BIG: Self = Self(1009);
    /// A client misses an extension that it needs.
    pub const EXTENSION_MISSING: Self = Self(1010);
    /// This side cannot go on because of a fault of its own.
    pub const INTERNAL: Self = Self(1011);
    /// The server starts anew.
    pub const RESTART: Self = Self(1012);
    /// The server is overloaded.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// A gateway got an invalid answer from the server behind it.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// Whether a close frame may carry this code.
    ///
    /// Those below 1000 are not used, 1004 to 1006 and 1015 only stand for something that is not
    /// in a close frame, and those up to 2999 wait for a meaning (RFC 6455, 7.4.1 and 7.4.2). 1012
    /// to 1014 were registered later.
    #[must_use]
    pub const fn is_allowed_on_wire(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6455_7_4_the_codes_that_may_be_sent() {
        let allowed = (0..=u16::MAX).filter(|&code| CloseCode::is_allowed_on_wire(code));
        let expected = (1000..=1003).chain(1007..=1014).chain(3000..=4999);
        assert!(allowed.eq(expected));
    }
}
