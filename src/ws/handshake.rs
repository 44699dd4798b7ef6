//! The opening handshake (RFC 6455, 4.2): whether a request may become a WebSocket.
//!
//! [`check`] looks at a request and decides; sending the answer is up to the caller, who has
//! reasons of its own to refuse.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, StatusCode, Version};
use sha1::{Digest, Sha1};

/// A handshake that may be answered with 101.
#[derive(Clone, Debug)]
pub struct Accept<'a> {
    /// The value of `Sec-WebSocket-Accept` in the answer.
    pub accept_key: HeaderValue,
    /// The subprotocols that the client offers, as it prefers them. At most one of them goes into
    /// `Sec-WebSocket-Protocol` of the answer.
    pub protocols: Vec<&'a str>,
}

/// Why a request cannot become a WebSocket. [`status`](Self::status) and
/// [`header`](Self::header) say what to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// A plain HTTP request.
    #[error("this is a WebSocket endpoint and the request has no `Upgrade: websocket`")]
    NotWebSocket,
    /// A method other than GET.
    #[error("a WebSocket handshake is a GET request")]
    Method,
    /// A version of HTTP that has no `Upgrade`.
    #[error("a WebSocket handshake is an HTTP/1.1 request")]
    HttpVersion,
    /// No `Host`, or several.
    #[error("a WebSocket handshake has exactly one `Host`")]
    Host,
    /// No `Connection: Upgrade`.
    #[error("the request has no `Connection: Upgrade`")]
    Connection,
    /// No `Sec-WebSocket-Key`, several, or one that is not 16 bytes in base64.
    #[error("a WebSocket handshake has exactly one `Sec-WebSocket-Key`: 16 bytes in base64")]
    Key,
    /// No `Sec-WebSocket-Version`, or several.
    #[error("a WebSocket handshake has exactly one `Sec-WebSocket-Version`")]
    VersionCount,
    /// Another version of the protocol.
    #[error("only version 13 of the WebSocket protocol is spoken here")]
    Version,
    /// A `Sec-WebSocket-Protocol` that is not visible ASCII.
    #[error("`Sec-WebSocket-Protocol` is not a list of names")]
    Protocol,
}

impl HandshakeError {
    /// The status of the answer: 426 if another kind of request would do, else 400.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotWebSocket | Self::Version => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// A header that belongs into the answer.
    #[must_use]
    pub fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            // RFC 9110, 15.5.22: the server MUST send Upgrade in a 426 response.
            Self::NotWebSocket => Some((UPGRADE, HeaderValue::from_static("websocket"))),
            // RFC 6455, 4.2.2: with a Sec-WebSocket-Version that the server is willing to use.
            Self::Version => Some((SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))),
            _ => None,
        }
    }
}

/// Decides whether a request may become a WebSocket.
///
/// # Errors
///
/// [`HandshakeError`], if the request is not what RFC 6455, 4.2.1 asks for.
///
/// # Examples
///
/// ```
/// use fanfare::ws::{HandshakeError, check};
/// use http::Request;
///
/// let request = Request::get("/ws")
///     .header("Host", "example.com")
///     .header("Upgrade", "websocket")
///     .header("Connection", "keep-alive, Upgrade")
///     .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
///     .header("Sec-WebSocket-Version", "13")
///     .header("Sec-WebSocket-Protocol", "fanfare.v1.msgpack, fanfare.v1.json")
///     .body(())?;
/// let accept = check(request.method(), request.version(), request.headers())?;
/// assert_eq!(accept.accept_key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// assert_eq!(accept.protocols, ["fanfare.v1.msgpack", "fanfare.v1.json"]);
///
/// let plain = Request::get("/ws").header("Host", "example.com").body(())?;
/// let refusal = check(plain.method(), plain.version(), plain.headers()).unwrap_err();
/// assert_eq!(refusal, HandshakeError::NotWebSocket);
/// assert_eq!(refusal.status(), 426);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check<'a>(
    method: &Method,
    version: Version,
    headers: &'a HeaderMap,
) -> Result<Accept<'a>, HandshakeError> {
    // First of all, as it is the friendliest answer to somebody who looks around with a browser.
    if !has_token(headers, &UPGRADE, "websocket") {
        return Err(HandshakeError::NotWebSocket);
    }
    if method != Method::GET {
        return Err(HandshakeError::Method);
    }
    if version != Version::HTTP_11 {
        return Err(HandshakeError::HttpVersion);
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(HandshakeError::Connection);
    }
    the_only(headers, &HOST).ok_or(HandshakeError::Host)?;
    // RFC 6455, 4.4: before the rest, as another version may have other headers.
    let version = the_only(headers, &SEC_WEBSOCKET_VERSION).ok_or(HandshakeError::VersionCount)?;
    if version.as_bytes().trim_ascii() != b"13" {
        return Err(HandshakeError::Version);
    }
    let key = the_only(headers, &SEC_WEBSOCKET_KEY).ok_or(HandshakeError::Key)?;
    let accept_key = accept_key(key.as_bytes().trim_ascii()).ok_or(HandshakeError::Key)?;
    let protocols = protocols(headers).ok_or(HandshakeError::Protocol)?;
    Ok(Accept {
        accept_key,
        protocols,
    })
}

/// Answers the key of a client (RFC 6455, 4.2.2), if it is one.
fn accept_key(key: &[u8]) -> Option<HeaderValue> {
    // RFC 6455, 4.1: a nonce of 16 bytes, base64-encoded.
    let mut nonce = [0; 18];
    if key.len() != KEY_BYTES || STANDARD.decode_slice(key, &mut nonce) != Ok(16) {
        return None;
    }
    let hash = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    HeaderValue::try_from(STANDARD.encode(hash)).ok()
}

/// The offered subprotocols; `None` if they are not text.
fn protocols(headers: &HeaderMap) -> Option<Vec<&str>> {
    let mut protocols = Vec::new();
    for line in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        // RFC 9110, 5.6.1.2: empty elements of a list are passed over.
        let names = line.to_str().ok()?.split(',').map(str::trim);
        protocols.extend(names.filter(|name| !name.is_empty()));
    }
    Some(protocols)
}

/// Whether a list, on one line or on several, has a token. Case does not count.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|line| {
        line.as_bytes()
            .split(|&byte| byte == b',')
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

/// The value of a header that is there exactly once.
fn the_only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// 16 bytes in base64, with padding.
const KEY_BYTES: usize = 24;
