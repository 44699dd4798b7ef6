//! The API under `/v1/`.

use std::borrow::Cow;
use std::error::Error;

use bytes::{Buf, Bytes};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::time::timeout;

use super::reply::{self, Body, ErrorFields};
use super::service::Shared;
use crate::broker::Placed;
use crate::gate::{Admitted, Denied, Pass};
use crate::protocol::{Data, Encoding, ErrorCode, Publish, PublishBody, Refusal, decode_publish_body};

/// How many topics a listing has unless it is asked for another number, and at most.
const LIST_DEFAULT: usize = 100;
const LIST_MAX: usize = 1_000;

/// What became of one message.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Published { topic: String, epoch: String, offset: u64 },
    Failed { error: ErrorFields<'static> },
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
pub(super) async fn publish<B>(shared: &Shared, request: Request<B>) -> Response<Body>
where
    B: http_body::Body + Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Some(encoding) = encoding(request.headers()) else {
        let message = "the body is to be application/json or application/msgpack";
        return reply::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::BadRequest, message);
    };
    let body = match collect(shared, request.into_body()).await {
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
    let limits = shared.options.session.decode_limits();
    let pass = Pass::anonymous(shared.broker.clone());
    match decode_publish_body(encoding, &body, &limits) {
        Err(refusal) => deny(encoding, &denied(refusal)),
        Ok(PublishBody::One(publish)) => match publish_one(&pass, encoding, &publish) {
            Ok(placed) => reply::encoded(StatusCode::OK, encoding, &Outcome::from(Ok(placed))),
            Err(denied) => deny(encoding, &denied),
        },
        Ok(PublishBody::Many(items)) => {
            let results: Vec<Outcome> = items
                .into_iter()
                .map(|item| {
                    let publish = item.map_err(denied)?;
                    publish_one(&pass, encoding, &publish)
                })
                .map(Outcome::from)
                .collect();
            reply::encoded(StatusCode::OK, encoding, &Results { results: &results })
        }
    }
}

/// Publishes at once or not at all: over HTTP it is the caller who waits.
fn publish_one(pass: &Pass, encoding: Encoding, publish: &Publish<'_>) -> Result<Placed, Denied> {
    if publish.idempotency_key.is_some() {
        return Err(Denied::new(ErrorCode::BadRequest, "idempotency_key is not available in this version"));
    }
    let topic = pass.publish_to(&publish.topic, None)?;
    let data = Data::already_checked(encoding, Bytes::copy_from_slice(publish.data));
    match pass.publish(topic, data, None)? {
        Admitted::Placed(placed) => Ok(placed),
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

async fn collect<B>(shared: &Shared, body: B) -> Result<Bytes, StatusCode>
where
    B: http_body::Body + Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let body = Limited::new(body, shared.options.http_body_bytes_max);
    match timeout(shared.options.http_body_time, body.collect()).await {
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
        Ok(Ok(collected)) => {
            let mut bytes = collected.aggregate();
            Ok(bytes.copy_to_bytes(bytes.remaining()))
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
    }
}

fn denied(refusal: Refusal<'_>) -> Denied {
    Denied::new(refusal.code, refusal.message)
}

fn deny(encoding: Encoding, denied: &Denied) -> Response<Body> {
    let status = StatusCode::from_u16(denied.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply::failure(status, encoding, denied.code, &denied.message, denied.retry_after_ms)
}

impl From<Result<Placed, Denied>> for Outcome {
    fn from(result: Result<Placed, Denied>) -> Self {
        match result {
            Ok(placed) => {
                let Placed { topic, seq } = placed;
                Outcome::Published { topic: topic.name().to_string(), epoch: topic.epoch().to_string(), offset: seq.0 }
            }
            Err(Denied { code, message, retry_after_ms }) => {
                Outcome::Failed { error: ErrorFields { code: code.as_str(), message, retry_after_ms } }
            }
        }
    }
}

/// `GET /v1/topics?prefix=&limit=&after=`
pub(super) fn topics(shared: &Shared, query: &str) -> Response<Body> {
    let (mut prefix, mut after, mut limit) = (Cow::Borrowed(""), None, LIST_DEFAULT);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = value.replace('+', " ");
        let Ok(value) = percent_decode_str(&value).decode_utf8() else {
            return bad_query("the query is not UTF-8");
        };
        match name {
            "prefix" => prefix = value.into_owned().into(),
            "after" => after = Some(value.into_owned()),
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

fn bad_query(message: &str) -> Response<Body> {
    reply::error(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, message)
}
