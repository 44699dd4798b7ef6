//! Responses.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::events::EventStream;
use crate::protocol::{Encoding, ErrorCode};

/// The body of a response of the service: whole, or a stream of events that ends when the client or the
/// service leaves.
///
/// It is a [`http_body::Body`], which is all that a server or a layer needs of it.
#[derive(Debug, Default)]
pub struct Body(Content);

#[derive(Debug)]
enum Content {
    Whole(Full<Bytes>),
    Events(Box<EventStream>),
}

impl Default for Content {
    fn default() -> Self {
        Content::Whole(Full::default())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body(Content::Whole(Full::new(bytes)))
    }
}

impl From<EventStream> for Body {
    fn from(events: EventStream) -> Self {
        Body(Content::Events(Box::new(events)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Content::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Content::Events(events) => {
                events.poll_bytes(cx).map(|bytes| bytes.map(|bytes| Ok(http_body::Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Whole(whole) => whole.is_end_stream(),
            Content::Events(events) => events.is_over(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.0 {
            Content::Whole(whole) => whole.size_hint(),
            Content::Events(_) => http_body::SizeHint::default(),
        }
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorFields<'a>,
}

/// An error as the API shows it.
#[derive(Serialize)]
pub(super) struct ErrorFields<'a> {
    pub(super) code: &'a str,
    pub(super) message: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after_ms: Option<u64>,
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

/// `value` in the encoding that the request came in.
pub(super) fn encoded(status: StatusCode, encoding: Encoding, value: &impl Serialize) -> Response<Body> {
    let (kind, bytes) = match encoding {
        Encoding::Json => ("application/json", serde_json::to_vec(value).expect("strings and numbers serialize")),
        Encoding::MsgPack => {
            ("application/msgpack", rmp_serde::to_vec_named(value).expect("strings and numbers serialize"))
        }
    };
    with_type(status, kind, bytes.into())
}

pub(super) fn error(status: StatusCode, code: ErrorCode, message: &str) -> Response<Body> {
    failure(status, Encoding::Json, code, message, None)
}

/// An error, and when to come back if that helps.
pub(super) fn failure(
    status: StatusCode,
    encoding: Encoding,
    code: ErrorCode,
    message: &str,
    retry_after_ms: Option<u64>,
) -> Response<Body> {
    let error = ErrorFields { code: code.as_str(), message: message.into(), retry_after_ms };
    let mut response = encoded(status, encoding, &ErrorBody { error });
    if let Some(ms) = retry_after_ms {
        // Whole seconds, rounded up: to come back early would be refused again.
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
    }
    response
}

pub(super) fn with_type(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
