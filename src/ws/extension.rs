//! The negotiation of permessage-deflate (RFC 7692, 7.1; the syntax is that of RFC 6455, 9.1).
//!
//! A client may send several offers in the order of its preference; the first that can be met is
//! accepted. An offer that is malformed or cannot be met is passed over: without compression a
//! connection is slower, but it is one.

use std::fmt::Write;

use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

use super::deflate::Window;

/// What a server agrees to.
#[derive(Clone, Copy, Debug)]
pub struct DeflateOptions {
    /// Whether clients may refer to earlier messages when they compress (context takeover).
    ///
    /// It makes short messages of a client that sends many about half as long, and costs up to 32 KiB
    /// for each connection as long as it lives. The default is not to: an idle connection then keeps
    /// nothing.
    pub client_context_takeover: bool,
    /// The largest window that clients may use, 9 to 15 bits. It bounds what
    /// [`client_context_takeover`](Self::client_context_takeover) costs, for clients that offer to
    /// obey (`client_max_window_bits`). The default is 15: no bound.
    pub client_window_bits_max: u8,
}

impl Default for DeflateOptions {
    fn default() -> Self {
        DeflateOptions { client_context_takeover: false, client_window_bits_max: 15 }
    }
}

/// permessage-deflate as agreed with a client.
///
/// The server never refers to earlier messages (`server_no_context_takeover`): so that a message
/// compressed once can be sent to many.
///
/// # Examples
///
/// ```
/// use fanfare::ws::{Deflate, DeflateOptions};
/// use http::HeaderMap;
/// use http::header::SEC_WEBSOCKET_EXTENSIONS;
///
/// let mut headers = HeaderMap::new();
/// let offers = "permessage-deflate; server_max_window_bits=8, permessage-deflate; client_max_window_bits";
/// headers.insert(SEC_WEBSOCKET_EXTENSIONS, offers.parse()?);
/// let deflate = Deflate::negotiate(&headers, &DeflateOptions::default()).ok_or("no offer can be met")?;
/// assert_eq!(
///     deflate.header_value(),
///     "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    /// What the client asked for, 9 to 15; it has to be answered (7.1.2.1).
    server_max_window_bits: Option<u8>,
    /// What the client is asked for, where it offered to obey (7.1.2.2).
    client_max_window_bits: Option<u8>,
    client_context_takeover: bool,
}

impl Deflate {
    /// Accepts the first offer in `Sec-WebSocket-Extensions` that can be met. `None`: there is none,
    /// and the header must not be in the answer.
    #[must_use]
    pub fn negotiate(headers: &HeaderMap, options: &DeflateOptions) -> Option<Self> {
        // RFC 6455, 9.1: several lines are one list.
        let lines = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
        let mut offers = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| split(line, ','));
        offers.find_map(|offer| Self::accept(offer, options))
    }

    /// The value of `Sec-WebSocket-Extensions` in the answer.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        let mut value = String::from("permessage-deflate; server_no_context_takeover");
        // Writing to a string does not fail.
        if !self.client_context_takeover {
            value.push_str("; client_no_context_takeover");
        }
        if let Some(bits) = self.server_max_window_bits {
            let _ = write!(value, "; server_max_window_bits={bits}");
        }
        if let Some(bits) = self.client_max_window_bits {
            let _ = write!(value, "; client_max_window_bits={bits}");
        }
        HeaderValue::try_from(value).expect("letters, digits and signs")
    }

    /// The window to compress with, for this client.
    #[must_use]
    pub fn window(&self) -> Window {
        Window::within(self.server_max_window_bits.unwrap_or(15))
    }

    /// Whether the client may refer to earlier messages.
    #[must_use]
    pub fn client_context_takeover(&self) -> bool {
        self.client_context_takeover
    }

    /// How far back the client may refer, in bytes.
    pub(super) fn client_window_bytes(&self) -> usize {
        1 << self.client_max_window_bits.unwrap_or(15)
    }

    fn accept(offer: &str, options: &DeflateOptions) -> Option<Self> {
        let mut parts = split(offer, ';');
        if parts.next()? != "permessage-deflate" {
            return None;
        }
        let mut offered = Offered::default();
        for part in parts {
            offered.take(part)?;
        }
        let client_max_window_bits = offered.client_max_window_bits.and_then(|most| {
            let bits = options.client_window_bits_max.clamp(9, 15);
            (bits < most).then_some(bits)
        });
        Some(Deflate {
            server_max_window_bits: offered.server_max_window_bits,
            client_max_window_bits,
            client_context_takeover: options.client_context_takeover && !offered.client_no_context_takeover,
        })
    }
}

/// The parameters of one offer.
#[derive(Default)]
struct Offered {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// 15 where the client only says that it would obey.
    client_max_window_bits: Option<u8>,
}

impl Offered {
    /// Takes one parameter; `None` if the offer has to be declined (RFC 7692, 7.1): for a parameter
    /// that is unknown or there twice, or a value that is not allowed.
    fn take(&mut self, parameter: &str) -> Option<()> {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim_ascii(), Some(unquote(value.trim_ascii())?)),
            None => (parameter, None),
        };
        match (name, value) {
            ("server_no_context_takeover", None) => once(&mut self.server_no_context_takeover),
            ("client_no_context_takeover", None) => once(&mut self.client_no_context_takeover),
            ("server_max_window_bits", Some(value)) if self.server_max_window_bits.is_none() => {
                // 7.1.2.1 allows 8, but the compressors at hand, like zlib, silently use 9 instead,
                // which such a client cannot read.
                self.server_max_window_bits = Some(window_bits(value).filter(|&bits| bits > 8)?);
                Some(())
            }
            ("client_max_window_bits", value) if self.client_max_window_bits.is_none() => {
                self.client_max_window_bits = Some(value.map_or(Some(15), window_bits)?);
                Some(())
            }
            _ => None,
        }
    }
}

fn once(seen: &mut bool) -> Option<()> {
    (!std::mem::replace(seen, true)).then_some(())
}

/// RFC 7692, 7.1.2: a decimal number without leading zeros, 8 to 15.
fn window_bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// The value of a parameter, which may be a token or a quoted string that is one when unquoted
/// (RFC 6455, 9.1). A token needs no escapes, so none are understood.
fn unquote(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        None => Some(value),
        Some(rest) => rest.strip_suffix('"'),
    }
}

/// Cuts `text` at each `separator` outside of quotes. Empty elements of a list are passed over
/// (RFC 9110, 5.6.1.2).
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let cut = move |sign: char| {
        quoted ^= sign == '"';
        sign == separator && !quoted
    };
    text.split(cut).map(str::trim_ascii).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKEOVER: DeflateOptions = DeflateOptions { client_context_takeover: true, client_window_bits_max: 15 };

    fn negotiate(lines: &[&str], options: &DeflateOptions) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let deflate = Deflate::negotiate(&headers, options)?;
        Some(deflate.header_value().to_str().unwrap().to_owned())
    }

    /// The offer is accepted with these parameters, beside the two that are always there.
    fn accepts(offer: &str, parameters: &str) {
        let both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        let expected = format!("{both}{parameters}");
        assert_eq!(negotiate(&[offer], &DeflateOptions::default()), Some(expected), "{offer}");
    }

    fn declines(offer: &str) {
        assert_eq!(negotiate(&[offer], &DeflateOptions::default()), None, "{offer}");
    }

    #[test]
    fn rfc7692_7_1_offers_that_can_be_met_are_accepted() {
        accepts("permessage-deflate", "");
        accepts("permessage-deflate; server_no_context_takeover", "");
        accepts("permessage-deflate; client_no_context_takeover", "");
        accepts(" permessage-deflate ;server_no_context_takeover ; client_no_context_takeover ", "");
        accepts("permessage-deflate; client_max_window_bits", "");
        accepts("permessage-deflate; client_max_window_bits=8", "");
        accepts(
            "permessage-deflate; server_max_window_bits = \"10\"; client_max_window_bits=\"15\"",
            "; server_max_window_bits=10",
        );
        accepts(",permessage-deflate;;,", "");
    }

    #[test]
    fn rfc7692_7_1_2_1_a_window_that_was_asked_for_is_answered() {
        for bits in 9..=15 {
            let parameter = format!("; server_max_window_bits={bits}");
            accepts(&format!("permessage-deflate{parameter}"), &parameter);
        }
    }

    #[test]
    fn rfc7692_7_1_2_1_a_window_of_8_bits_is_declined() {
        declines("permessage-deflate; server_max_window_bits=8");
    }

    #[test]
    fn rfc7692_7_1_offers_that_cannot_be_met_are_declined() {
        declines("");
        declines("permessage-bzip2");
        declines("x-webkit-deflate-frame");
        declines("permessage-deflate=1");
        for parameter in [
            "unknown",
            "unknown=1",
            "=",
            "=1",
            "server_no_context_takeover=true",
            "server_no_context_takeover=",
            "client_no_context_takeover=1",
            "server_max_window_bits",
            "server_max_window_bits=",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=010",
            "server_max_window_bits=+10",
            "server_max_window_bits=1e1",
            "server_max_window_bits=\"10",
            "server_max_window_bits=10\"",
            "client_max_window_bits=",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=08",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover; client_no_context_takeover",
            "server_max_window_bits=10; server_max_window_bits=10",
            "client_max_window_bits; client_max_window_bits=10",
        ] {
            declines(&format!("permessage-deflate; {parameter}"));
        }
    }

    #[test]
    fn rfc7692_7_1_the_first_offer_that_can_be_met_is_taken() {
        accepts("permessage-deflate; server_max_window_bits=8, permessage-deflate", "");
        accepts(
            "foo; bar=\"a,b;c\", permessage-deflate; server_max_window_bits=9, permessage-deflate",
            "; server_max_window_bits=9",
        );
        let lines = ["permessage-deflate; nonsense", "permessage-deflate; server_max_window_bits=12"];
        let answer = negotiate(&lines, &DeflateOptions::default()).unwrap();
        assert!(answer.ends_with("server_max_window_bits=12"), "{answer}");
        let with_bad_bytes = ["caf\u{e9}", "permessage-deflate"];
        assert!(negotiate(&with_bad_bytes, &DeflateOptions::default()).is_some());
    }

    #[test]
    fn rfc7692_7_1_1_2_context_takeover_is_for_those_who_want_it_where_it_is_allowed() {
        let answer = negotiate(&["permessage-deflate"], &TAKEOVER).unwrap();
        assert_eq!(answer, "permessage-deflate; server_no_context_takeover");
        let answer = negotiate(&["permessage-deflate; client_no_context_takeover"], &TAKEOVER).unwrap();
        assert_eq!(answer, "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    }

    #[test]
    fn rfc7692_7_1_2_2_the_clients_window_is_bounded_only_where_it_offers_to_obey() {
        let options = DeflateOptions { client_window_bits_max: 10, ..TAKEOVER };
        for (offer, expected) in [
            ("permessage-deflate", ""),
            ("permessage-deflate; client_max_window_bits", "; client_max_window_bits=10"),
            ("permessage-deflate; client_max_window_bits=12", "; client_max_window_bits=10"),
            ("permessage-deflate; client_max_window_bits=9", ""),
        ] {
            let answer = negotiate(&[offer], &options).unwrap();
            assert_eq!(answer, format!("permessage-deflate; server_no_context_takeover{expected}"), "{offer}");
        }
    }
}
