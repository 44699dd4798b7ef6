//! The opening handshake (RFC 6455, 4), from the client's side.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use thiserror::Error;

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) subprotocol: Option<&'a str>,
    pub(super) token: Option<&'a str>,
    pub(super) compression: bool,
    /// Different for each connection.
    pub(super) nonce: u128,
}

/// What the server agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    /// Bytes of the response.
    pub(super) bytes: usize,
    pub(super) compression: bool,
}

/// Why there is no WebSocket.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum HandshakeError {
    #[error("the server answered {0}")]
    Refused(String),
    #[error("the server did not answer with HTTP")]
    NotHttp,
    #[error("the server's answer to the handshake proves nothing: another Sec-WebSocket-Accept")]
    Accept,
    #[error("the server agreed on the subprotocol {0:?}, which was not asked for")]
    Subprotocol(String),
    #[error("the server agreed on {0:?}, which was not offered")]
    Extension(String),
}

/// The longest head of a response.
const HEAD_BYTES_MAX: usize = 16 * 1024;

impl Request<'_> {
    fn key(&self) -> String {
        STANDARD.encode(self.nonce.to_be_bytes())
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut text = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {}\r\n",
            self.path,
            self.host,
            self.key()
        );
        if let Some(subprotocol) = self.subprotocol {
            text += &format!("Sec-WebSocket-Protocol: {subprotocol}\r\n");
        }
        if let Some(token) = self.token {
            text += &format!("Authorization: Bearer {token}\r\n");
        }
        if self.compression {
            // Messages that refer to earlier ones would have to be inflated for each connection by itself.
            text += "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                     client_no_context_takeover\r\n";
        }
        text += "\r\n";
        out.extend_from_slice(text.as_bytes());
    }

    /// What came of it, or `None` while the response is not complete. `ended`: nothing more will come.
    pub(super) fn answer(&self, input: &[u8], ended: bool) -> Result<Option<Agreed>, HandshakeError> {
        let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else {
            if input.len() > HEAD_BYTES_MAX || ended {
                return Err(HandshakeError::NotHttp);
            }
            return Ok(None);
        };
        let head = std::str::from_utf8(&input[..end]).map_err(|_| HandshakeError::NotHttp)?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).ok_or(HandshakeError::NotHttp)?;
        let headers = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim()));
        let header = |name: &str| headers.clone().find(|(other, _)| other.eq_ignore_ascii_case(name));
        let body = &input[end + 4..];
        if !status.starts_with("101") {
            let length = header("content-length").and_then(|(_, length)| length.parse::<usize>().ok()).unwrap_or(0);
            // The reason stands in the body; nobody waits for a long one.
            if body.len() < length.min(HEAD_BYTES_MAX) && !ended {
                return Ok(None);
            }
            return Err(HandshakeError::Refused(refusal(status, body)));
        }
        // RFC 6455, 4.2.2: the key and this, hashed.
        let digest = Sha1::new().chain_update(self.key()).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        if header("sec-websocket-accept").is_none_or(|(_, accept)| accept != STANDARD.encode(digest.finalize())) {
            return Err(HandshakeError::Accept);
        }
        if let Some((_, subprotocol)) = header("sec-websocket-protocol")
            && Some(subprotocol) != self.subprotocol
        {
            return Err(HandshakeError::Subprotocol(subprotocol.to_owned()));
        }
        let extensions = header("sec-websocket-extensions").map(|(_, extensions)| extensions);
        let compression = match extensions {
            None | Some("") => false,
            Some(agreed)
                if self.compression
                    && agreed.starts_with("permessage-deflate")
                    && agreed.contains("server_no_context_takeover")
                    && !agreed.contains(',') =>
            {
                true
            }
            Some(other) => return Err(HandshakeError::Extension(other.to_owned())),
        };
        Ok(Some(Agreed { bytes: end + 4, compression }))
    }
}

/// The status, and what the body says in an error of this project's servers, or at all if it is no page.
fn refusal(status: &str, body: &[u8]) -> String {
    const SHOWN: usize = 200;
    let body = match crate::cli::event::Refused::from_http(body) {
        Some(refused) => refused.to_string(),
        None if body.trim_ascii_start().starts_with(b"<") => "a page, and no WebSocket".to_owned(),
        None => String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).trim().replace(['\r', '\n'], " "),
    };
    if body.is_empty() { status.to_owned() } else { format!("{status}: {body}") }
}

#[cfg(test)]
mod tests {
    use super::{Agreed, HandshakeError, Request};
    use crate::ws;

    const REQUEST: Request<'static> = Request {
        host: "localhost:7070",
        path: "/ws",
        subprotocol: Some("fanfare.v1.json"),
        token: Some("t"),
        compression: true,
        // The key of RFC 6455, 1.3.
        nonce: u128::from_be_bytes(*b"the sample nonce"),
    };
    const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    fn answer(head: &str) -> Result<Option<Agreed>, HandshakeError> {
        REQUEST.answer(head.as_bytes(), false)
    }

    #[test]
    fn the_request_is_one_that_servers_take() {
        let mut out = Vec::new();
        REQUEST.write(&mut out);
        let text = String::from_utf8(out).expect("text");
        let mut request = http::Request::builder().uri("/ws");
        for line in text.trim_end().lines().skip(1) {
            let (name, value) = line.split_once(": ").expect("a header");
            request = request.header(name, value);
        }
        let request = request.body(()).expect("a request");
        ws::check(request.method(), request.version(), request.headers()).expect("a handshake");
        assert!(text.starts_with("GET /ws HTTP/1.1\r\n") && text.ends_with("\r\n\r\n"));
    }

    #[test]
    fn an_upgrade_has_to_be_the_one_that_was_asked_for() {
        let plain = format!("HTTP/1.1 101 Switching Protocols\r\n{ACCEPT}");
        let right = format!("{plain}Sec-WebSocket-Protocol: fanfare.v1.json\r\n\r\n");
        assert_eq!(answer(&right), Ok(Some(Agreed { bytes: right.len(), compression: false })));
        for cut in [0, 10, right.len() - 1] {
            assert_eq!(answer(&right[..cut]), Ok(None));
        }
        let agreed = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
        let right = format!("{plain}{agreed}\r\n");
        assert_eq!(answer(&right), Ok(Some(Agreed { bytes: right.len(), compression: true })));
        let keeps = format!("{plain}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
        assert_eq!(answer(&keeps), Err(HandshakeError::Extension("permessage-deflate".to_owned())));
        let other = format!("{plain}Sec-WebSocket-Protocol: mqtt\r\n\r\n");
        assert_eq!(answer(&other), Err(HandshakeError::Subprotocol("mqtt".to_owned())));
        assert_eq!(answer("HTTP/1.1 101 Switching Protocols\r\n\r\n"), Err(HandshakeError::Accept));
        assert_eq!(answer("SSH-2.0-x\r\n\r\n"), Err(HandshakeError::NotHttp));
    }

    #[test]
    fn a_refusal_is_told_with_its_reason() {
        let body = r#"{"error":{"code":"unauthorized","message":"no credentials"}}"#;
        let head = format!("HTTP/1.1 401 Unauthorized\r\nContent-Length: {}\r\n\r\n", body.len());
        assert_eq!(answer(&head), Ok(None), "the body is on its way");
        let refused = HandshakeError::Refused("401 Unauthorized: unauthorized: no credentials".to_owned());
        assert_eq!(answer(&(head + body)), Err(refused.clone()));
        assert_eq!(refused.to_string(), "the server answered 401 Unauthorized: unauthorized: no credentials");
        let page = "HTTP/1.1 200 OK\r\n\r\n\n<!doctype html>";
        assert_eq!(answer(page), Err(HandshakeError::Refused("200 OK: a page, and no WebSocket".to_owned())));
        let bare = "HTTP/1.1 404 Not Found\r\n\r\n";
        assert_eq!(answer(bare), Err(HandshakeError::Refused("404 Not Found".to_owned())));
        assert_eq!(REQUEST.answer(b"HTTP/1.1", true), Err(HandshakeError::NotHttp));
    }
}
