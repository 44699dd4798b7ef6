//! Where a server is, from the address that people write.

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use thiserror::Error;

/// A server's WebSocket, as a client has to address it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// `ws://HOST:PORT/PATH`, complete.
    pub(crate) uri: Uri,
    /// The host without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Why an address cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum TargetError {
    #[error("{0:?} is no address; write ws://HOST:PORT/ws or http://HOST:PORT")]
    Form(String),
    #[error("{0:?} needs TLS, which this command cannot speak; use ws:// or http://")]
    Tls(String),
}

impl Target {
    /// Reads `ws://HOST:PORT/ws`, or `http://HOST:PORT` with the path that the server is mounted at.
    pub(crate) fn parse(text: &str) -> Result<Target, TargetError> {
        let form = || TargetError::Form(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| form())?;
        let scheme = uri.scheme_str().map(str::to_ascii_lowercase);
        let mounted = match scheme.as_deref() {
            Some("ws") => false,
            Some("http") => true,
            Some("wss" | "https") => return Err(TargetError::Tls(text.to_owned())),
            _ => return Err(form()),
        };
        let authority: &Authority = uri.authority().ok_or_else(form)?;
        // A name before the host would be a password in the process list, and goes nowhere.
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(form());
        }
        let port = match authority.port() {
            Some(port) => port.as_str().parse().map_err(|_| form())?,
            // A port that is none: `http` passes over it.
            None if authority.as_str() != authority.host() => return Err(form()),
            None => 80,
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let path = if mounted || uri.path() == "/" {
            format!("{}/ws", uri.path().trim_end_matches('/'))
        } else {
            uri.path().to_owned()
        };
        let path = match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        let path: PathAndQuery = path.parse().map_err(|_| form())?;
        let mut parts = uri.clone().into_parts();
        parts.scheme = Scheme::try_from("ws").ok();
        parts.path_and_query = Some(path);
        Ok(Target { uri: Uri::from_parts(parts).map_err(|_| form())?, host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::{Target, TargetError};

    #[test]
    fn addresses_of_both_kinds_lead_to_the_socket() {
        let check = |text, uri, host, port| {
            let target = Target::parse(text).expect("right");
            assert_eq!(
                (target.uri.to_string().as_str(), target.host.as_str(), target.port),
                (uri, host, port),
                "{text}"
            );
        };
        check("ws://127.0.0.1:7070/ws", "ws://127.0.0.1:7070/ws", "127.0.0.1", 7070);
        check("http://127.0.0.1:7070", "ws://127.0.0.1:7070/ws", "127.0.0.1", 7070);
        check("http://127.0.0.1:7070/", "ws://127.0.0.1:7070/ws", "127.0.0.1", 7070);
        check("http://a.example/live/", "ws://a.example/live/ws", "a.example", 80);
        check("ws://a.example", "ws://a.example/ws", "a.example", 80);
        check("ws://a.example/live", "ws://a.example/live", "a.example", 80);
        check("ws://[::1]:9/ws?deflate=off", "ws://[::1]:9/ws?deflate=off", "::1", 9);
        check("HTTP://a.example:1", "ws://a.example:1/ws", "a.example", 1);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in [
            "",
            "127.0.0.1:7070",
            "ws://",
            "ws://:7070",
            "ftp://a",
            "ws://a:99999/ws",
            "ws://a:/ws",
            "ws://u:p@a/ws",
            "/ws",
        ] {
            assert_eq!(Target::parse(wrong), Err(TargetError::Form(wrong.to_owned())));
        }
        for tls in ["wss://a/ws", "https://a"] {
            assert_eq!(Target::parse(tls), Err(TargetError::Tls(tls.to_owned())));
        }
    }
}
