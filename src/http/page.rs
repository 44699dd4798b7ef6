//! The page at `/`: a few files, part of the binary.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderValue, Response, StatusCode};

use super::reply::{self, Body};

/// Nothing inline, nothing foreign, no frames.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! files {
    ($($name:literal),*) => {
        &[$(($name, include_bytes!(concat!("../../assets/", $name)))),*]
    };
}

const FILES: &[(&str, &[u8])] = files![
    "index.html",
    "style.css",
    "favicon.svg",
    "app.js",
    "connection.js",
    "figures.js",
    "format.js",
    "publish.js",
    "spark.js",
    "tail.js",
    "topics.js"
];

/// A file of the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asset {
    kind: &'static str,
    bytes: &'static [u8],
}

pub(super) fn asset(path: &str) -> Option<Asset> {
    let name = match path {
        "" | "/" => "index.html",
        path => path.strip_prefix("/assets/")?,
    };
    let &(_, bytes) = FILES.iter().find(|(file, _)| *file == name)?;
    let (_, extension) = name.rsplit_once('.')?;
    let kind = match extension {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        _ => "image/svg+xml",
    };
    Some(Asset { kind, bytes })
}

impl Asset {
    pub(super) fn respond(self) -> Response<Body> {
        let mut response = reply::with_type(StatusCode::OK, self.kind, Bytes::from_static(self.bytes));
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}
