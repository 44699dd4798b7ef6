//! Where a request carries credentials, and what is said to who shows none that count.
//!
//! The carriers are asked in the contract's order, and the first that is present counts: what it holds is
//! judged, and no other is tried after it. `Authorization` with another scheme than `Bearer` is none:
//! it is most often meant for a proxy in front.

use std::borrow::Cow;
use std::fmt;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;

use super::reply::{self, Body};
use crate::auth::Credential;
use crate::gate::Denied;
use crate::protocol::{Encoding, ErrorCode};

/// A subprotocol item that carries a token; it is never echoed.
pub(super) const TOKEN_PREFIX: &str = "fanfare.token.";

/// What a request shows. A secret: `Debug` has only where it came from.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Shown<'a> {
    pub(super) carrier: Carrier,
    secret: Cow<'a, str>,
}

/// Where credentials come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Authorization,
    ApiKey,
    Subprotocol,
    Query,
}

impl Carrier {
    /// Whether it is what pages have to take, which cannot see with what status a handshake fails.
    pub(super) fn is_of_pages(self) -> bool {
        matches!(self, Carrier::Subprotocol | Carrier::Query)
    }
}

impl<'a> Shown<'a> {
    /// From the headers that every request may have.
    pub(super) fn in_headers(headers: &'a HeaderMap) -> Option<Self> {
        // What is no text is present, and no credential.
        let text = |value: &'a HeaderValue| value.to_str().unwrap_or_default();
        if let Some(token) = headers.get(AUTHORIZATION).map(text).and_then(bearer) {
            return Some(Shown { carrier: Carrier::Authorization, secret: token.into() });
        }
        let key = headers.get("x-api-key").map(text)?;
        Some(Shown { carrier: Carrier::ApiKey, secret: key.into() })
    }

    /// From a handshake, which may carry them in its subprotocols or its query as well.
    pub(super) fn in_handshake(headers: &'a HeaderMap, protocols: &[&'a str], uri: &'a Uri) -> Option<Self> {
        if let Some(shown) = Shown::in_headers(headers) {
            return Some(shown);
        }
        if let Some(token) = protocols.iter().find_map(|item| item.strip_prefix(TOKEN_PREFIX)) {
            return Some(Shown { carrier: Carrier::Subprotocol, secret: token.into() });
        }
        Shown::in_query(uri)
    }

    /// From the query, of which a log of somebody in front may keep a copy: only where there may be no
    /// other way.
    pub(super) fn in_query(uri: &'a Uri) -> Option<Self> {
        let mut pairs = uri.query().unwrap_or("").split('&');
        let token = pairs.find_map(|pair| pair.strip_prefix("token="))?;
        let secret = percent_decode_str(token).decode_utf8().unwrap_or_default();
        Some(Shown { carrier: Carrier::Query, secret })
    }

    pub(super) fn credential(&self) -> Credential<'_> {
        match self.carrier {
            Carrier::ApiKey => Credential::Key(&self.secret),
            Carrier::Authorization | Carrier::Subprotocol | Carrier::Query => Credential::Token(&self.secret),
        }
    }
}

/// RFC 9110, 11.1: the name of a scheme is case-insensitive.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("carrier", &self.carrier).finish_non_exhaustive()
    }
}

/// The response to who may not.
pub(super) fn deny(encoding: Encoding, denied: &Denied) -> Response<Body> {
    let status = StatusCode::from_u16(denied.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = reply::failure(status, encoding, denied.code, &denied.message, denied.retry_after_ms);
    if denied.code == ErrorCode::Unauthorized {
        // RFC 9110, 15.5.2: the server must send at least one challenge.
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The first carrier that a handshake has, and what it holds.
    #[track_caller]
    fn check(headers: &[(&str, &str)], protocols: &[&str], target: &str, expected: Option<(Carrier, &str)>) {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let shown = Shown::in_handshake(request.headers(), protocols, request.uri());
        let found = shown.as_ref().map(|shown| (shown.carrier, &*shown.secret));
        assert_eq!(found, expected);
        assert!(!format!("{shown:?}").contains("secret"));
    }

    const BEARER: (&str, &str) = ("Authorization", "Bearer secret-a");
    const KEY: (&str, &str) = ("X-API-Key", "secret-k");
    const ITEM: &str = "fanfare.token.secret-s";

    #[test]
    fn the_first_carrier_that_is_present_counts() {
        check(&[BEARER, KEY], &[ITEM], "/ws?token=secret-q", Some((Carrier::Authorization, "secret-a")));
        check(&[KEY], &[ITEM], "/ws?token=secret-q", Some((Carrier::ApiKey, "secret-k")));
        check(&[], &["fanfare.v1.json", ITEM], "/ws?token=secret-q", Some((Carrier::Subprotocol, "secret-s")));
        check(&[], &["fanfare.v1.json"], "/ws?deflate=off&token=secret%2Dq", Some((Carrier::Query, "secret-q")));
        check(&[], &[], "/ws?other=1", None);
    }

    #[test]
    fn an_empty_carrier_is_present() {
        check(&[("Authorization", "Bearer"), KEY], &[], "/ws", Some((Carrier::Authorization, "")));
        check(&[("X-API-Key", "")], &[ITEM], "/ws", Some((Carrier::ApiKey, "")));
        check(&[], &[], "/ws?token=", Some((Carrier::Query, "")));
        check(&[("Authorization", "Bearer \u{e9}"), KEY], &[], "/ws", Some((Carrier::ApiKey, "secret-k")));
    }

    #[test]
    fn other_schemes_are_for_others() {
        check(&[("Authorization", "Basic c2VjcmV0"), KEY], &[], "/ws", Some((Carrier::ApiKey, "secret-k")));
        check(&[("Authorization", "bEARER  secret-a ")], &[], "/ws", Some((Carrier::Authorization, "secret-a")));
        check(&[("Authorization", "Bearertoken")], &[], "/ws", None);
    }
}
