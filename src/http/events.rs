//! `GET /v1/events`: topics as Server-Sent Events, for whoever has HTTP and no WebSocket.
//!
//! What a request asks for is judged here, before a stream begins: a browser's `EventSource` does not come
//! back from an error, and nothing can be refused later. [`EventStream`] is what follows the head.

mod id;
mod stream;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use self::id::EventId;
use self::stream::Seat;
use super::api::{self, NOT_UTF8, bad_query};
use super::arrival;
use super::credentials::deny;
use super::reply::Body;
use super::service::Service;
use super::upgrade;
use crate::auth::Right;
use crate::broker::Subscription;
use crate::gate::{Denied, Pass};
use crate::limits::Client;
use crate::protocol::{Encoding, ErrorCode, TopicName};

pub(super) use stream::EventStream;
pub(super) use streams::Streams;

/// How many topics one stream may follow: each takes a place in every event's `id`.
const TOPICS_MAX: usize = 16;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What a request asks for.
#[derive(Debug)]
struct Asked {
    /// Each once.
    topics: Vec<TopicName>,
    /// Where to go on, if it says so.
    after: Option<EventId>,
}

/// `GET /v1/events?topic=a&topic=b`
pub(super) fn open(service: &Service, head: &Parts, pass: &Pass, client: &Client) -> Response<Body> {
    let shared = &service.shared;
    if let Err(excess) = service.attempt(client) {
        return arrival::refuse(excess);
    }
    let asked = match read(head.uri.query().unwrap_or(""), &head.headers) {
        Ok(asked) => asked,
        Err(refused) => return *refused,
    };
    let most = shared.options.shard.subscriptions_per_connection_max;
    if asked.topics.len() > most {
        let message = format!("a connection follows at most {most} topics");
        return deny(Encoding::Json, &Denied::new(ErrorCode::TooManySubscriptions, message));
    }
    // Counted first: either the drain is seen below, or whoever waits for its end waits for this one.
    let counted = shared.pool.admit(shared.options.connections_max as u64);
    if shared.is_draining() {
        return upgrade::unavailable(shared, "the server is being restarted");
    }
    let Some(counted) = counted else {
        return upgrade::unavailable(shared, "as many connections as the server may hold");
    };
    let meters = match shared.limits.connect(client, shared.limits.now()) {
        Ok(meters) => meters,
        Err(excess) => return arrival::refuse(excess),
    };
    // All of them before any is brought into being.
    if let Err(denied) = asked.topics.iter().try_for_each(|name| pass.require(Right::Subscribe, name)) {
        return deny(Encoding::Json, &denied);
    }
    if head.method == Method::HEAD {
        // Nobody will read a stream, so nothing is followed.
        return response(Body::default());
    }
    let followed: Result<Vec<_>, Denied> =
        asked.topics.into_iter().map(|name| follow(pass, name, asked.after.as_ref())).collect();
    let followed = match followed {
        Ok(followed) => followed,
        Err(denied) => return deny(Encoding::Json, &denied),
    };
    shared.serve_stats();
    // A shard has the clock by which histories age, also where nobody has a WebSocket.
    shared.pool.shard(service.shard);
    let heartbeat = Duration::from_millis(shared.options.session.heartbeat_ms);
    // Clients whose server has gone all at once should not all return at once.
    let seed = shared.broker.next_connection().0;
    let seat = Seat { _counted: counted, _meters: meters };
    let stream = EventStream::new(followed, heartbeat, seed, Arc::clone(&shared.streams), seat);
    let stream = stream.until(pass.expires_in_ms().map(Duration::from_millis)).attended(service.attendance.clone());
    response(stream.into())
}

fn read(query: &str, headers: &HeaderMap) -> Result<Asked, Box<Response<Body>>> {
    let (mut topics, mut last_event_id) = (Vec::new(), None);
    for pair in api::pairs(query) {
        let (name, value) = pair.map_err(|_| bad_query(NOT_UTF8))?;
        match name {
            "topic" => {
                let topic = TopicName::parse(&value)
                    .map_err(|error| deny(Encoding::Json, &Denied::new(ErrorCode::BadTopic, error.to_string())))?;
                if !topics.contains(&topic) {
                    topics.push(topic);
                }
                if topics.len() > TOPICS_MAX {
                    return Err(bad_query("a stream has at most 16 topics").into());
                }
            }
            "last_event_id" => last_event_id = Some(value),
            // As in commands, what is not known is ignored.
            _ => {}
        }
    }
    if topics.is_empty() {
        return Err(bad_query("name a topic: ?topic=").into());
    }
    // The header first: a browser that reconnects has the same query as at first.
    let header = headers.get(LAST_EVENT_ID).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let last_event_id = header.filter(|id| !id.is_empty()).or(last_event_id.filter(|id| !id.is_empty()));
    Ok(Asked { topics, after: last_event_id.map(|id| EventId::parse(&id)) })
}

fn follow(pass: &Pass, name: TopicName, after: Option<&EventId>) -> Result<Subscription, Denied> {
    let mut subscription = pass.follow(name)?;
    if let Some(after) = after
        && let Some((topic, _)) = subscription.place_of_name()
    {
        let since = after.since(topic.epoch());
        subscription.go_back_to(since);
    }
    Ok(subscription)
}

fn response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that collects a response before it passes it on would pass nothing on.
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}
