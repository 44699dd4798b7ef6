//! Where a server is, from the address that people write.

use http::Uri;
use http::uri::Authority;
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

/// What an address says, whoever serves there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tls: bool,
    /// The host as it was written, with the port if there was one.
    pub(crate) authority: String,
    /// The host without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query.
    pub(crate) path: String,
}

impl Place {
    /// Reads `ws://HOST:PORT/PATH`, or `http://HOST:PORT` with the path that the server is mounted at, below
    /// which its WebSocket is at `socket`. An address without a path means that one as well.
    pub(crate) fn parse(text: &str, socket: &str) -> Result<Place, TargetError> {
        let form = || TargetError::Form(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| form())?;
        let scheme = uri.scheme_str().map(str::to_ascii_lowercase);
        let (mounted, tls) = match scheme.as_deref() {
            Some("ws") => (false, false),
            Some("http") => (true, false),
            Some("wss") => (false, true),
            Some("https") => (true, true),
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
            None if tls => 443,
            None => 80,
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let path = if mounted || uri.path() == "/" {
            format!("{}{socket}", uri.path().trim_end_matches('/'))
        } else {
            uri.path().to_owned()
        };
        let path = match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        Ok(Place { tls, authority: authority.to_string(), host, port, path })
    }
}

impl Target {
    /// Reads `ws://HOST:PORT/ws`, or `http://HOST:PORT` with the path that the server is mounted at.
    pub(crate) fn parse(text: &str) -> Result<Target, TargetError> {
        let Place { tls, authority, host, port, path } = Place::parse(text, "/ws")?;
        if tls {
            return Err(TargetError::Tls(text.to_owned()));
        }
        let uri = Uri::builder().scheme("ws").authority(authority).path_and_query(path).build();
        Ok(Target { uri: uri.map_err(|_| TargetError::Form(text.to_owned()))?, host, port })
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
