//! Error codes, close codes and what a client should make of them: one table each.

use std::fmt;

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Not one well-formed value, or an envelope of the wrong form.
    BadRequest,
    /// The envelope is right and `data` cannot be carried in both encodings.
    BadData,
    /// A topic or pattern breaks the grammar.
    BadTopic,
    /// A command of a type that is not known.
    UnknownType,
    /// No credentials, or none that count any more.
    Unauthorized,
    /// Credentials that do not allow it.
    Forbidden,
    /// Batch, `member`, `key` or HTTP body over its limit.
    TooLarge,
    /// No further subscription on this connection.
    TooManySubscriptions,
    /// Unsubscribed from what was not subscribed.
    NotSubscribed,
    /// Over a rate; try again later.
    RateLimited,
    /// The server cannot take more now; try again later.
    Overloaded,
    /// The other nodes cannot be reached.
    BackplaneUnavailable,
    /// A fault of the server.
    Internal,
}

impl ErrorCode {
    /// Every code there is.
    pub const ALL: [ErrorCode; 13] = [
        ErrorCode::BadRequest,
        ErrorCode::BadData,
        ErrorCode::BadTopic,
        ErrorCode::UnknownType,
        ErrorCode::Unauthorized,
        ErrorCode::Forbidden,
        ErrorCode::TooLarge,
        ErrorCode::TooManySubscriptions,
        ErrorCode::NotSubscribed,
        ErrorCode::RateLimited,
        ErrorCode::Overloaded,
        ErrorCode::BackplaneUnavailable,
        ErrorCode::Internal,
    ];

    /// The code as it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status of an HTTP response with this error.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        self.row().1
    }

    const fn row(self) -> (&'static str, u16) {
        match self {
            ErrorCode::BadRequest => ("bad_request", 400),
            ErrorCode::BadData => ("bad_data", 400),
            ErrorCode::BadTopic => ("bad_topic", 400),
            ErrorCode::UnknownType => ("unknown_type", 400),
            ErrorCode::Unauthorized => ("unauthorized", 401),
            ErrorCode::Forbidden => ("forbidden", 403),
            ErrorCode::TooLarge => ("too_large", 413),
            ErrorCode::TooManySubscriptions => ("too_many_subscriptions", 429),
            ErrorCode::NotSubscribed => ("not_subscribed", 404),
            ErrorCode::RateLimited => ("rate_limited", 429),
            ErrorCode::Overloaded => ("overloaded", 503),
            ErrorCode::BackplaneUnavailable => ("backplane_unavailable", 503),
            ErrorCode::Internal => ("internal", 500),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A WebSocket close code (RFC 6455, 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

/// What a client should do after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Stay away.
    Stop,
    /// Stay away with the message that broke the rule.
    StopRepeating,
    /// Connect again.
    Return,
    /// Connect again after the `reconnect_ms` of `goodbye`.
    ReturnWhenTold,
    /// Connect again with a new token.
    ReturnWithNewToken,
    /// Connect again and recover from the last position.
    ReturnAndRecover,
    /// Connect again later.
    ReturnLater,
}

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $reason:literal, $advice:ident;)*) => {
        impl CloseCode {
            $($(#[$doc])* pub const $name: CloseCode = CloseCode($code);)*

            /// Every code with a meaning of its own here.
            pub const ALL: &'static [CloseCode] = &[$(CloseCode::$name),*];

            /// The word for it in `goodbye` and in the close frame; empty for a foreign code.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self.0 {
                    $($code => $reason,)*
                    _ => "",
                }
            }

            /// What a client should do after it; a foreign code is a fault on the way: return.
            #[must_use]
            pub const fn advice(self) -> Advice {
                match self.0 {
                    $($code => Advice::$advice,)*
                    _ => Advice::Return,
                }
            }
        }
    };
}

close_codes! {
    /// Nothing more to say.
    NORMAL = 1000, "done", Stop;
    /// The server is gone for good.
    GOING_AWAY = 1001, "going away", Return;
    /// The peer broke RFC 6455 or RFC 7692.
    PROTOCOL_ERROR = 1002, "protocol error", StopRepeating;
    /// A kind of data that is not accepted.
    UNSUPPORTED_DATA = 1003, "unsupported data", StopRepeating;
    /// Text that is not UTF-8.
    INVALID_PAYLOAD = 1007, "invalid payload", StopRepeating;
    /// A message larger than `max_message_bytes`.
    MESSAGE_TOO_BIG = 1009, "message too big", StopRepeating;
    /// Restart or drain.
    SERVICE_RESTART = 1012, "restart", ReturnWhenTold;
    /// The server has too much to do.
    TRY_AGAIN_LATER = 1013, "overloaded", ReturnWhenTold;
    /// Too many malformed commands.
    MALFORMED = 4400, "malformed", Stop;
    /// No credentials, or expired ones.
    UNAUTHORIZED = 4401, "unauthorized", ReturnWithNewToken;
    /// Not allowed, or removed by an operator.
    FORBIDDEN = 4403, "forbidden", Stop;
    /// No answer to pings, or no credentials in time.
    TIMEOUT = 4408, "timeout", Return;
    /// Another connection resumed this one.
    RESUMED_ELSEWHERE = 4409, "resumed elsewhere", Stop;
    /// Too slow, by the topic's policy.
    SLOW = 4008, "slow", ReturnAndRecover;
    /// Over the rate limit again and again.
    RATE_LIMITED = 4429, "rate limited", ReturnLater;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_code_has_a_name_of_its_own() {
        let mut names: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorCode::ALL.len());
    }

    #[test]
    fn every_close_code_has_a_reason_and_may_be_sent() {
        for &code in CloseCode::ALL {
            assert!(!code.reason().is_empty(), "{code:?}");
            // RFC 6455, 7.4.1: 1004, 1005, 1006 and 1015 must not be sent.
            assert!(matches!(code.0, 1000..=1003 | 1007..=1014 | 3000..=4999), "{code:?}");
        }
    }

    #[test]
    fn foreign_codes_ask_to_return() {
        assert_eq!(CloseCode(1006).advice(), Advice::Return);
        assert_eq!(CloseCode(1006).reason(), "");
    }
}
