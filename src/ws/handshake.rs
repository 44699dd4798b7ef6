//! The opening handshake (RFC 6455, 4.2): whether a request may become a WebSocket.
//!
//! [`check`] looks at a request and decides; sending the answer is up to the caller, who has
//! reasons of its own to refuse.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
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
/// [`headers`](Self::headers) say what to answer.
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
    /// A request with a body.
    #[error("a WebSocket handshake has no body")]
    Body,
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

    /// The headers that belong into the answer.
    #[must_use]
    pub fn headers(self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.status() == StatusCode::UPGRADE_REQUIRED {
            // RFC 9110, 15.5.22: the server MUST send Upgrade in a 426 response; and 7.8: with Connection.
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        if self == Self::Version {
            // RFC 6455, 4.2.2: with a Sec-WebSocket-Version that the server is willing to use.
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        headers
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
pub fn check<'a>(method: &Method, version: Version, headers: &'a HeaderMap) -> Result<Accept<'a>, HandshakeError> {
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
    // RFC 6455, 4.1: what follows the handshake are frames. Whether bytes that came with it are those or
    // a body, this side and what stands before it might not agree.
    if has_body(headers) {
        return Err(HandshakeError::Body);
    }
    // RFC 6455, 4.4: before the rest, as another version may have other headers.
    let version = the_only(headers, &SEC_WEBSOCKET_VERSION).ok_or(HandshakeError::VersionCount)?;
    if version.as_bytes().trim_ascii() != b"13" {
        return Err(HandshakeError::Version);
    }
    let key = the_only(headers, &SEC_WEBSOCKET_KEY).ok_or(HandshakeError::Key)?;
    let accept_key = accept_key(key.as_bytes().trim_ascii()).ok_or(HandshakeError::Key)?;
    let protocols = protocols(headers).ok_or(HandshakeError::Protocol)?;
    Ok(Accept { accept_key, protocols })
}

/// RFC 9112, 6.3: whether the head announces a body.
fn has_body(headers: &HeaderMap) -> bool {
    let is_long = |length: &HeaderValue| length.as_bytes().trim_ascii() != b"0";
    headers.contains_key(TRANSFER_ENCODING) || headers.get_all(CONTENT_LENGTH).iter().any(is_long)
}

/// Answers the key of a client (RFC 6455, 4.2.2), if it is one.
fn accept_key(key: &[u8]) -> Option<HeaderValue> {
    // RFC 6455, 4.1: a nonce of 16 bytes, base64-encoded. The decoder wants room for 18.
    let mut nonce = [0; 18];
    if STANDARD.decode_slice(key, &mut nonce) != Ok(16) {
        return None;
    }
    let hash = Sha1::new().chain_update(key).chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
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
        line.as_bytes().split(|&byte| byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

/// The value of a header that is there exactly once.
fn the_only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::request::Parts;

    use super::*;

    /// The handshake of RFC 6455, 1.2, with this header removed and these lines added.
    fn request(without: &str, with: &[(&str, &str)]) -> Parts {
        let mut request = Request::get("/chat");
        let usual = [
            ("host", "server.example.com"),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ];
        for (name, value) in usual.iter().filter(|(name, _)| *name != without).chain(with) {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn check_parts(parts: &Parts, expected: Result<&[&str], HandshakeError>) {
        let found = check(&parts.method, parts.version, &parts.headers);
        let protocols = found.as_ref().map(|accept| accept.protocols.as_slice());
        assert_eq!(protocols.map_err(|error| *error), expected, "{parts:?}");
        if let Ok(accept) = found {
            assert_eq!(accept.accept_key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        }
    }

    fn check_request(without: &str, with: &[(&str, &str)], expected: Result<&[&str], HandshakeError>) {
        check_parts(&request(without, with), expected);
    }

    #[test]
    fn section_1_3_the_sample_handshake_is_accepted() {
        check_request("", &[], Ok(&[]));
    }

    #[test]
    fn section_4_2_1_tokens_may_stand_in_lists_on_any_line_in_any_case() {
        check_request("upgrade", &[("upgrade", "h2c , WebSocket")], Ok(&[]));
        check_request("connection", &[("connection", "keep-alive, uPGRADE")], Ok(&[]));
        let two_lines = [("connection", "keep-alive"), ("connection", "x,\tupgrade ,")];
        check_request("connection", &two_lines, Ok(&[]));
    }

    #[test]
    fn section_4_2_1_a_plain_request_is_told_what_to_speak() {
        check_request("upgrade", &[], Err(HandshakeError::NotWebSocket));
        check_request("upgrade", &[("upgrade", "websockets")], Err(HandshakeError::NotWebSocket));
        assert_eq!(HandshakeError::NotWebSocket.status(), 426);
        let headers = HandshakeError::NotWebSocket.headers();
        assert_eq!(headers[UPGRADE], "websocket");
        assert_eq!(headers[CONNECTION], "upgrade");
    }

    #[test]
    fn section_4_2_1_a_handshake_is_a_get_of_http_1_1() {
        let mut parts = request("", &[]);
        parts.method = Method::POST;
        check_parts(&parts, Err(HandshakeError::Method));
        for version in [Version::HTTP_10, Version::HTTP_2] {
            let mut parts = request("", &[]);
            parts.version = version;
            check_parts(&parts, Err(HandshakeError::HttpVersion));
        }
        assert_eq!(HandshakeError::Method.status(), 400);
        assert!(HandshakeError::Method.headers().is_empty());
    }

    #[test]
    fn section_4_2_1_host_and_connection_are_required() {
        check_request("host", &[], Err(HandshakeError::Host));
        check_request("", &[("host", "another")], Err(HandshakeError::Host));
        check_request("connection", &[], Err(HandshakeError::Connection));
        let close = [("connection", "close")];
        check_request("connection", &close, Err(HandshakeError::Connection));
    }

    #[test]
    fn section_4_2_1_a_handshake_has_no_body() {
        for line in [("content-length", "5"), ("content-length", ""), ("transfer-encoding", "chunked")] {
            check_request("", &[line], Err(HandshakeError::Body));
        }
        check_request("", &[("content-length", "0")], Ok(&[]));
    }

    #[test]
    fn section_4_2_1_the_key_is_16_bytes_in_base64_once() {
        check_request("sec-websocket-key", &[], Err(HandshakeError::Key));
        let twice = [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
        check_request("", &twice, Err(HandshakeError::Key));
        for key in [
            "",
            "x",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZSE=",
            "dGhlIHNhbXBsZSBub25jZSEh",
            "dGhlIHNhbXBsZSBub25jZ===",
            "dGhlIHNhbXBsZSBub25j!Q==",
            "dGhlIHNhbXBsZSBub25jZR==",
        ] {
            let key = [("sec-websocket-key", key)];
            check_request("sec-websocket-key", &key, Err(HandshakeError::Key));
        }
    }

    #[test]
    fn section_4_4_another_version_is_told_which_one_is_spoken() {
        for version in ["8", "14", "013", "13, 8"] {
            let version = [("sec-websocket-version", version)];
            check_request("sec-websocket-version", &version, Err(HandshakeError::Version));
        }
        assert_eq!(HandshakeError::Version.status(), 426);
        let headers = HandshakeError::Version.headers();
        assert_eq!(headers[SEC_WEBSOCKET_VERSION], "13");
        assert_eq!(headers[UPGRADE], "websocket");
        check_request("sec-websocket-version", &[], Err(HandshakeError::VersionCount));
        let twice = [("sec-websocket-version", "13")];
        check_request("", &twice, Err(HandshakeError::VersionCount));
    }

    #[test]
    fn section_4_2_2_subprotocols_keep_the_order_of_the_client() {
        let lines = [
            ("sec-websocket-protocol", "fanfare.v1.msgpack, fanfare.token.a-b_c.d"),
            ("sec-websocket-protocol", ",fanfare.v1.json,,"),
        ];
        let names = ["fanfare.v1.msgpack", "fanfare.token.a-b_c.d", "fanfare.v1.json"];
        check_request("", &lines, Ok(&names));
        let foreign = [("sec-websocket-protocol", "fan\u{e9}are")];
        check_request("", &foreign, Err(HandshakeError::Protocol));
    }
}
