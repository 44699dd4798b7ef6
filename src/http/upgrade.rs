//! From a request to a session.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, UPGRADE, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use super::arrival;
use super::attended::Attended;
use super::credentials::{self, Shown, TOKEN_PREFIX};
use super::deflate;
use super::reply::{self, Body};
use super::service::{Service, Shared};
use crate::broker::Form;
use crate::fanout::Transport;
use crate::gate::Denied;
use crate::limits::Client;
use crate::protocol::{Encoding, ErrorCode};
use crate::session::{self, Admission, Refusal, Stream};
use crate::ws;

/// When a full server may be asked again, in milliseconds.
const RETRY_MS: u64 = 5_000;

/// How many connections may be open at a time only to be told that their credentials do not count.
const REFUSALS_MAX: u64 = 256;

pub(super) async fn upgrade<B>(service: &Service, mut request: Request<B>, client: &Client) -> Response<Body> {
    let shared = &service.shared;
    if let Err(excess) = service.attempt(client) {
        return arrival::refuse(excess);
    }
    let upgraded = hyper::upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    let accept = match ws::check(&head.method, head.version, &head.headers) {
        Ok(accept) => accept,
        Err(error) => {
            let mut response = reply::error(error.status(), ErrorCode::BadRequest, &error.to_string());
            response.headers_mut().extend(error.headers());
            return arrival::ended(response);
        }
    };
    let encoding = match choose(&accept.protocols) {
        Ok(encoding) => encoding,
        Err(message) => {
            return arrival::ended(reply::error(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, &message));
        }
    };
    let echo = (!accept.protocols.is_empty()).then(|| encoding.subprotocol());
    // Counted first: either the drain is seen below, or whoever waits for its end waits for this one.
    let counted = shared.pool.admit(shared.options.connections_max as u64);
    if shared.is_draining() {
        return unavailable(shared, "the server is being restarted");
    }
    let Some(counted) = counted else {
        return unavailable(shared, "as many connections as the server may hold");
    };

    let meters = match shared.limits.connect(client, shared.limits.now()) {
        Ok(meters) => meters,
        Err(excess) => return arrival::refuse(excess),
    };
    let id = shared.broker.next_connection();
    let shown = Shown::in_handshake(&head.headers, &accept.protocols, &head.uri);
    let (pass, refusal) = match shared.gate.admit(shown.as_ref().map(Shown::credential), Some(id)).await {
        Ok(pass) => (pass, None),
        Err(denied) => {
            if let Some(meters) = meters.as_deref().filter(|_| denied.code == ErrorCode::Unauthorized) {
                meters.refuse_credentials(shared.limits.now());
            }
            let is_of_page = shown.is_some_and(|shown| shown.carrier.is_of_pages());
            let Some(counted) = is_of_page.then(|| shared.refusals.enter(REFUSALS_MAX)).flatten() else {
                return refuse(&denied);
            };
            (shared.gate.stranger(), Some(Box::new(Refusal { denied, _counted: counted })))
        }
    };

    let deflate = agree(shared, &head);
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.accept_key.clone());
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Some(protocol) = echo {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }

    if let Some(deflate) = &deflate {
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, deflate.header_value());
    }

    shared.serve_stats();
    let mailbox = shared.pool.shard(service.shard);
    let admission = Admission {
        pass,
        meters,
        gate: shared.gate.clone(),
        refusal,
        id,
        form: Form::new(encoding, deflate.as_ref().map(ws::Deflate::window)),
        deflate,
        mailbox,
        options: Arc::clone(&shared.session_options),
        resumables: Arc::clone(&shared.resumables),
        address: client.address,
        counted,
    };
    tokio::spawn(begin(upgraded, admission));
    if let Some(attendance) = &service.attendance {
        attendance.upgrade();
    }
    response
}

/// Waits for the stream, then serves it in a task of its own: this one's future holds what hyper
/// needed, and would for as long as the connection lasts.
async fn begin(upgraded: OnUpgrade, admission: Admission) {
    match upgraded.await {
        Ok(upgraded) => {
            let ((stream, transport), head) = open(upgraded);
            tokio::spawn(session::run(admission, head, stream, transport));
        }
        Err(error) => tracing::debug!(%error, "a connection ended during its handshake"),
    }
}

/// The stream below, without hyper's buffers where it is a plain TCP stream, and what has to be written to it first.
fn open(upgraded: Upgraded) -> ((Stream, Transport), Vec<u8>) {
    let upgraded = match upgraded.downcast::<TokioIo<Attended<TcpStream>>>() {
        Ok(parts) => {
            let (stream, head) = parts.io.into_inner().into_parts();
            return (Stream::tcp(stream, &parts.read_buf), head);
        }
        Err(upgraded) => upgraded,
    };
    let upgraded = match upgraded.downcast::<TokioIo<Attended<UnixStream>>>() {
        Ok(parts) => {
            let (stream, head) = parts.io.into_inner().into_parts();
            return (Stream::other(Box::new(stream), &parts.read_buf), head);
        }
        Err(upgraded) => upgraded,
    };
    (open_of_host(upgraded), Vec::new())
}

/// A stream of somebody else's server.
fn open_of_host(upgraded: Upgraded) -> (Stream, Transport) {
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => return Stream::tcp(parts.io.into_inner(), &parts.read_buf),
        Err(upgraded) => upgraded,
    };
    // axum's server and hyper-util's `auto` builder wrap the stream once more.
    match hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => Stream::tcp(parts.io.into_inner(), &parts.read_buf),
        Err(upgraded) => Stream::other(Box::new(TokioIo::new(upgraded)), &[]),
    }
}

/// Whether messages are compressed: if the operator wants it, the client offers it and does not decline,
/// and is not known to do it wrong.
///
/// Clients may not refer to earlier messages: an idle connection then keeps nothing.
fn agree(shared: &Shared, head: &Parts) -> Option<ws::Deflate> {
    let declined = || head.uri.query().unwrap_or("").split('&').any(|pair| pair == "deflate=off");
    let broken = || {
        let agent = head.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        agent.is_some_and(deflate::is_broken)
    };
    if !shared.options.compression || declined() || broken() {
        return None;
    }
    ws::Deflate::negotiate(&head.headers, &ws::DeflateOptions::default())
}

/// The client's order decides.
fn choose(offered: &[&str]) -> Result<Encoding, Cow<'static, str>> {
    let known = [Encoding::Json, Encoding::MsgPack];
    let chosen = offered.iter().find_map(|offer| known.into_iter().find(|encoding| encoding.subprotocol() == *offer));
    match chosen {
        Some(encoding) => Ok(encoding),
        None if offered.is_empty() => Ok(Encoding::Json),
        None => {
            let [json, msgpack] = known.map(Encoding::subprotocol);
            let hint =
                if offered.iter().any(|offer| offer.starts_with(TOKEN_PREFIX)) { " beside the token" } else { "" };
            Err(format!("offer the subprotocol {json} or {msgpack}{hint}").into())
        }
    }
}

/// Credentials do not count, and whoever shows them can see a status.
fn refuse(denied: &Denied) -> Response<Body> {
    arrival::ended(credentials::deny(Encoding::Json, denied))
}

pub(super) fn unavailable(shared: &Shared, message: &str) -> Response<Body> {
    shared.refused.fetch_add(1, Ordering::Relaxed);
    let (status, code) = (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Overloaded);
    arrival::ended(reply::failure(status, Encoding::Json, code, message, Some(RETRY_MS)))
}
