//! The API under `/v1/`.

use std::error::Error;
use std::pin::pin;
use std::str::Utf8Error;
use std::sync::atomic::Ordering;

use bytes::{BufMut, Bytes};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::time::timeout;

use super::credentials::deny;
use super::reply::{self, Body, ErrorFields};
use super::service::Shared;
use crate::broker::Placed;
use crate::gate::{Admitted, Denied, Pass, Publication};
use crate::limits::Meters;
use crate::protocol::{
    Data, Encoding, Epoch, ErrorCode, Event, Publish, PublishBody, Refusal, Since, decode_publish_body,
};

/// How many topics a listing has unless it is asked for another number, and at most.
const LIST_DEFAULT: usize = 100;
const LIST_MAX: usize = 1_000;

/// What became of one message.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Published {
        topic: String,
        epoch: String,
        offset: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        receivers: Option<u64>,
    },
    Failed {
        error: ErrorFields<'static>,
    },
}

#[derive(Serialize)]
struct Results<'a> {
    results: &'a [Outcome],
}

#[derive(Serialize)]
struct Topics<'a> {
    topics: Vec<ListedTopic<'a>>,
}

#[derive(Serialize)]
struct ListedTopic<'a> {
    topic: &'a str,
    subscribers: u64,
    epoch: String,
    offset: u64,
}

/// `POST /v1/publish`
pub(super) async fn publish<B>(
    shared: &Shared,
    pass: &Pass,
    mut meters: Option<Meters>,
    headers: &HeaderMap,
    body: B,
) -> Response<Body>
where
    B: http_body::Body + Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Some(encoding) = encoding(headers) else {
        let message = "the body is to be application/json or application/msgpack";
        return reply::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::BadRequest, message);
    };
    let body = match collect(shared, body).await {
        Ok(body) => body,
        Err(status) => {
            let (code, message) = match status {
                StatusCode::PAYLOAD_TOO_LARGE => (ErrorCode::TooLarge, "the body is larger than the limit"),
                StatusCode::REQUEST_TIMEOUT => (ErrorCode::BadRequest, "the body took too long to arrive"),
                _ => (ErrorCode::BadRequest, "the body did not arrive whole"),
            };
            return reply::failure(status, encoding, code, message, None);
        }
    };
    if let Some(meters) = &mut meters
        && let Err(excess) = meters.body(body.len())
    {
        return deny(encoding, &excess.into());
    }
    let limits = shared.options.session.decode_limits();
    let meters = meters.as_ref();
    match decode_publish_body(encoding, &body, &limits) {
        Err(refusal) => deny(encoding, &denied(refusal)),
        Ok(PublishBody::One(publish)) => match publish_one(pass, meters, encoding, &publish).await {
            Ok(placed) => reply::encoded(StatusCode::OK, encoding, &Outcome::from(Ok(placed))),
            Err(denied) => deny(encoding, &denied),
        },
        Ok(PublishBody::Many(items)) => {
            let mut results = Vec::with_capacity(items.len());
            for item in items {
                results.push(Outcome::from(match item {
                    Ok(publish) => publish_one(pass, meters, encoding, &publish).await,
                    Err(refusal) => Err(denied(refusal)),
                }));
            }
            reply::encoded(StatusCode::OK, encoding, &Results { results: &results })
        }
    }
}

/// Publishes at once or not at all: over HTTP it is the caller who waits.
async fn publish_one(
    pass: &Pass,
    meters: Option<&Meters>,
    encoding: Encoding,
    publish: &Publish<'_>,
) -> Result<(Placed, Option<u64>), Denied> {
    if let Some(meters) = meters {
        meters.publish(&publish.topic, meters.now())?;
    }
    let topic = pass.publish_to(&publish.topic, None)?;
    let data = Data::already_checked(encoding, Bytes::copy_from_slice(publish.data));
    let (key, idempotency_key) = (publish.key.as_deref(), publish.idempotency_key.as_deref());
    match pass.publish(topic, Publication { data, key, idempotency_key, skip: None })? {
        Admitted::Placed(placed) => {
            let receivers = if publish.receivers { Some(pass.receivers(&placed, None).await) } else { None };
            Ok((placed, receivers))
        }
        Admitted::Full(..) => Err(Denied::overloaded("the topic's subscribers are being served, there is no room")),
    }
}

/// The encoding of the body; JSON if nothing is said.
fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Some(Encoding::Json) };
    let kind = value.to_str().ok()?.split(';').next()?.trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/json" => Some(Encoding::Json),
        "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => Some(Encoding::MsgPack),
        _ => None,
    }
}

async fn collect<B>(shared: &Shared, body: B) -> Result<Vec<u8>, StatusCode>
where
    B: http_body::Body + Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let whole = gather(Limited::new(body, shared.options.http_body_bytes_max));
    match timeout(shared.options.http_body_time, whole).await {
        Err(_) => {
            shared.slow_requests.fetch_add(1, Ordering::Relaxed);
            Err(StatusCode::REQUEST_TIMEOUT)
        }
        Ok(Ok(whole)) => Ok(whole),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            shared.large_bodies.fetch_add(1, Ordering::Relaxed);
            Err(StatusCode::PAYLOAD_TOO_LARGE)
        }
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
    }
}

/// The bytes of a body, and nothing of what they came in: each piece is one of hyper's buffers, thousands of bytes
/// even where a single one of them is this body's.
async fn gather<B: http_body::Body>(body: B) -> Result<Vec<u8>, B::Error> {
    let mut body = pin!(body);
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            whole.put(data);
        }
    }
    Ok(whole)
}

fn denied(refusal: Refusal<'_>) -> Denied {
    Denied::new(refusal.code, refusal.message)
}

impl From<Result<(Placed, Option<u64>), Denied>> for Outcome {
    fn from(result: Result<(Placed, Option<u64>), Denied>) -> Self {
        match result {
            Ok((placed, receivers)) => {
                let Placed { topic, epoch, seq } = placed;
                let (topic, epoch) = (topic.name().to_string(), epoch.to_string());
                Outcome::Published { topic, epoch, offset: seq.0, receivers }
            }
            Err(Denied { code, message, retry_after_ms }) => {
                Outcome::Failed { error: ErrorFields { code: code.as_str(), message, retry_after_ms } }
            }
        }
    }
}

/// `GET /v1/topics?prefix=&limit=&after=`
pub(super) fn topics(shared: &Shared, query: &str) -> Response<Body> {
    let (mut prefix, mut after, mut limit) = (String::new(), None, LIST_DEFAULT);
    for pair in pairs(query) {
        let Ok((name, value)) = pair else { return bad_query(NOT_UTF8) };
        match name {
            "prefix" => prefix = value,
            "after" => after = Some(value),
            "limit" => match value.parse() {
                Ok(count @ 1..=LIST_MAX) => limit = count,
                _ => return bad_query("limit is a number from 1 to 1000"),
            },
            // As in commands, what is not known is ignored.
            _ => {}
        }
    }
    let listed = shared.broker.registry().list(&prefix, after.as_deref(), limit);
    let topics = listed.iter().map(|listed| ListedTopic {
        topic: listed.topic.name(),
        subscribers: listed.subscribers,
        epoch: listed.topic.epoch().to_string(),
        offset: listed.topic.ring().newest().0,
    });
    reply::encoded(StatusCode::OK, Encoding::Json, &Topics { topics: topics.collect() })
}

/// Whether the path is `/v1/topics/{topic}` and then `tail`.
pub(super) fn is_of_topic(path: &str, tail: &str) -> bool {
    topic_of(path, tail).is_some()
}

fn topic_of<'a>(path: &'a str, tail: &str) -> Option<&'a str> {
    path.strip_prefix("/v1/topics/")?.strip_suffix(tail).filter(|topic| !topic.is_empty() && !topic.contains('/'))
}

/// `GET /v1/topics/{topic}/history?epoch=&offset=&limit=`
pub(super) fn history(pass: &Pass, path: &str, query: &str) -> Response<Body> {
    let topic = topic_of(path, "/history").unwrap_or_default();
    let Ok(topic) = percent_decode_str(topic).decode_utf8() else { return bad_query(NOT_UTF8) };
    let (mut epoch, mut offset, mut limit) = (None, None, None);
    for pair in pairs(query) {
        let Ok((name, value)) = pair else { return bad_query(NOT_UTF8) };
        let number = || value.parse::<u64>().map_err(|_| ());
        let right = match name {
            // A parameter without a value is none.
            _ if value.is_empty() => Ok(()),
            "epoch" => {
                epoch = Some(Epoch::parse(&value));
                Ok(())
            }
            "offset" => number().map(|number| offset = Some(number)),
            "limit" => number().map(|number| limit = Some(number)),
            _ => Ok(()),
        };
        if right.is_err() {
            return bad_query("offset and limit are numbers");
        }
    }
    let since = match (epoch, offset) {
        (Some(epoch), Some(offset)) => Some(Since { epoch, offset }),
        (None, None) => None,
        _ => return bad_query("epoch and offset belong together"),
    };
    match pass.history(&topic, since, limit) {
        Ok(found) => {
            let mut body = Vec::new();
            found.event(None, &topic, &found.list()).encode(Encoding::Json, &mut body);
            reply::with_type(StatusCode::OK, "application/json", body.into())
        }
        Err(denied) => deny(Encoding::Json, &denied),
    }
}

/// `GET /v1/topics/{topic}/presence`
pub(super) fn presence(pass: &Pass, path: &str) -> Response<Body> {
    let topic = topic_of(path, "/presence").unwrap_or_default();
    let Ok(topic) = percent_decode_str(topic).decode_utf8() else { return bad_query(NOT_UTF8) };
    match pass.presence(&topic) {
        Ok(snapshot) => {
            let (version, count) = (snapshot.version, snapshot.count);
            let mut body = Vec::new();
            let members = &snapshot.list();
            Event::Presence { id: None, topic: &topic, version, count, members }.encode(Encoding::Json, &mut body);
            reply::with_type(StatusCode::OK, "application/json", body.into())
        }
        Err(denied) => deny(Encoding::Json, &denied),
    }
}

/// The names and decoded values of a query.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = Result<(&str, String), Utf8Error>> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = value.replace('+', " ");
        Ok((name, percent_decode_str(&value).decode_utf8()?.into_owned()))
    })
}

pub(super) const NOT_UTF8: &str = "the request's target is not UTF-8";

pub(super) fn bad_query(message: &str) -> Response<Body> {
    reply::error(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use bytes::Bytes;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    struct Buffer(#[expect(dead_code, reason = "counts who has it")] Arc<()>);

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            b"a"
        }
    }

    #[tokio::test]
    async fn a_body_that_trickles_holds_no_buffer_that_it_came_in() {
        let held = Arc::new(());
        let frames = (0..1_000).map(|_| {
            assert_eq!(Arc::strong_count(&held), 1, "what came before is kept");
            Ok::<_, Infallible>(Frame::data(Bytes::from_owner(Buffer(Arc::clone(&held)))))
        });
        let whole = super::gather(StreamBody::new(stream::iter(frames))).await.expect("nothing goes wrong");
        assert_eq!(whole, [b'a'; 1_000]);
    }
}
