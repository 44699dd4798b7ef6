//! Foreign web pages are kept out.
//!
//! A browser lets any page connect to any WebSocket and post to any address it can reach, this machine
//! included. Two headers tell such requests apart: `Host`, which a page cannot forge (a name that was
//! pointed at this machine, DNS rebinding, shows there), and `Origin`.

use std::net::IpAddr;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    HOST, ORIGIN,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};

use super::options::Options;
use super::reply::Body;

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    Host,
    Origin,
}

impl Foreign {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Foreign::Host => "this server does not go by that host name; see server.hosts",
            Foreign::Origin => "pages of that origin may not connect; see server.origins",
        }
    }
}

/// Whom a page is taken to speak for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Nobody is asked who they are: a page of this machine speaks for whoever sits at it.
    ThisMachine,
    /// Credentials are asked for, and somebody without may do something as well.
    NamesAndOrigins,
    /// Nobody may do anything without credentials: a page whose name was pointed at this machine has none.
    Credentials,
}

/// The request's origin if it has one and may connect, `None` if it has none.
pub(super) fn judge(
    uri: &Uri,
    headers: &HeaderMap,
    options: &Options,
    trust: Trust,
) -> Result<Option<HeaderValue>, Foreign> {
    let host = host(uri, headers).ok_or(Foreign::Host)?;
    let name = host.host();
    if trust != Trust::Credentials
        && !is_ip(name)
        && !name.eq_ignore_ascii_case("localhost")
        && !options.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    {
        return Err(Foreign::Host);
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(value) = origins.next() else { return Ok(None) };
    let origin = value.to_str().map_err(|_| Foreign::Origin)?;
    let listed = options.origins.iter().any(|known| known.eq_ignore_ascii_case(origin));
    // Several, or `null` (a sandboxed frame, a file), come from nowhere that could be trusted.
    if origins.next().is_none() && (listed || is_own(origin, &host, trust)) {
        Ok(Some(value.clone()))
    } else {
        Err(Foreign::Origin)
    }
}

/// The host that the request names: in its target if that is absolute, else in `Host`, exactly once.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    if let Some(authority) = uri.authority() {
        return Some(authority.clone());
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next()?.to_str().ok()?.parse().ok()?;
    hosts.next().is_none().then_some(host)
}

/// Whether an origin is the very host that was asked, or a page of this machine where those count.
fn is_own(origin: &str, host: &Authority, trust: Trust) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (origin.scheme_str(), origin.authority()) else { return false };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    if trust == Trust::ThisMachine && is_loopback(authority.host()) {
        return true;
    }
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    authority.host().eq_ignore_ascii_case(host.host()) && port(authority) == port(host)
}

fn address(name: &str) -> Option<IpAddr> {
    name.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_ip(name: &str) -> bool {
    address(name).is_some()
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || address(name).is_some_and(|ip| ip.to_canonical().is_loopback())
}

/// Lets the page of `origin`, which has been judged, read the response.
pub(super) fn allow(response: &mut Response<Body>, origin: HeaderValue) {
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
}

/// The answer to a browser that asks before it calls.
pub(super) fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, DELETE"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, last-event-id, x-api-key"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn check(host: &str, origin: Option<&str>, expected: Result<(), Foreign>) {
        check_with(Trust::ThisMachine, host, origin, expected);
    }

    #[track_caller]
    fn check_with(trust: Trust, host: &str, origin: Option<&str>, expected: Result<(), Foreign>) {
        let options = Options {
            hosts: vec!["events.example.com".into()],
            origins: vec!["https://app.example.com".into()],
            ..Options::default()
        };
        let mut request = Request::get("/ws").header(HOST, host);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        let request = request.body(()).expect("a request");
        let judged = judge(request.uri(), request.headers(), &options, trust).map(|_| ());
        assert_eq!(judged, expected, "host {host}, origin {origin:?}");
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_served() {
        for host in [
            "127.0.0.1:7070",
            "192.0.2.7",
            "[::1]:7070",
            "localhost:7070",
            "LOCALHOST",
            "events.example.com",
            "Events.Example.com:8443",
        ] {
            check(host, None, Ok(()));
        }
    }

    #[test]
    fn other_names_are_refused_whatever_the_origin_says() {
        for host in ["evil.example", "localhost.evil.example", "app.example.com"] {
            check(host, None, Err(Foreign::Host));
            check(host, Some("https://app.example.com"), Err(Foreign::Host));
        }
    }

    #[test]
    fn the_own_host_loopback_pages_and_configured_origins_may_connect() {
        check("192.0.2.7:7070", Some("http://192.0.2.7:7070"), Ok(()));
        check("events.example.com", Some("https://events.example.com"), Ok(()));
        check("127.0.0.1:7070", Some("http://localhost:5173"), Ok(()));
        check("192.0.2.7:7070", Some("http://127.0.0.1:5173"), Ok(()));
        check("127.0.0.1:7070", Some("http://[::1]:5173"), Ok(()));
        check("events.example.com", Some("https://app.example.com"), Ok(()));
    }

    #[test]
    fn foreign_pages_are_refused() {
        for origin in [
            "https://evil.example",
            "null",
            "",
            "http://192.0.2.7:8080",
            "file://",
            "http://localhost.evil.example",
            "ftp://localhost",
        ] {
            check("192.0.2.7:7070", Some(origin), Err(Foreign::Origin));
        }
    }

    #[test]
    fn with_credentials_only_the_own_host_and_listed_origins_count() {
        for trust in [Trust::NamesAndOrigins, Trust::Credentials] {
            check_with(trust, "192.0.2.7:7070", Some("http://192.0.2.7:7070"), Ok(()));
            check_with(trust, "192.0.2.7:7070", Some("https://app.example.com"), Ok(()));
            check_with(trust, "localhost:7070", Some("http://localhost:7070"), Ok(()));
            for foreign in ["http://localhost:5173", "http://127.0.0.1:5173", "http://[::1]:5173", "null"] {
                check_with(trust, "localhost:7070", Some(foreign), Err(Foreign::Origin));
            }
        }
    }

    #[test]
    fn any_name_will_do_where_nobody_may_do_anything_without_credentials() {
        check_with(Trust::Credentials, "push.example", None, Ok(()));
        check_with(Trust::Credentials, "push.example", Some("https://push.example"), Ok(()));
        check_with(Trust::Credentials, "push.example", Some("https://evil.example"), Err(Foreign::Origin));
        check_with(Trust::NamesAndOrigins, "push.example", Some("https://push.example"), Err(Foreign::Host));
    }

    #[test]
    fn two_hosts_or_two_origins_are_none() {
        let options = Options::default();
        let twice = Request::get("/").header(HOST, "localhost").header(HOST, "localhost").body(()).expect("a request");
        assert_eq!(judge(twice.uri(), twice.headers(), &options, Trust::ThisMachine), Err(Foreign::Host));
        let origins = Request::get("/")
            .header(HOST, "localhost")
            .header(ORIGIN, "http://localhost")
            .header(ORIGIN, "http://localhost");
        let origins = origins.body(()).expect("a request");
        assert_eq!(judge(origins.uri(), origins.headers(), &options, Trust::ThisMachine), Err(Foreign::Origin));
    }
}
