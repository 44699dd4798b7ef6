//! The page at `/`: a few files, part of the binary.

use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

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
    "views.css",
    "favicon.svg",
    "account.js",
    "app.js",
    "causes.js",
    "client.js",
    "connections.js",
    "exact.js",
    "fallback.js",
    "figures.js",
    "format.js",
    "history.js",
    "listing.js",
    "members.js",
    "message.js",
    "notice.js",
    "overview.js",
    "pattern.js",
    "publish.js",
    "rows.js",
    "series.js",
    "session.js",
    "spark.js",
    "tail.js",
    "theme.js",
    "topic.js",
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
    /// The file, or that the one which the browser has is still the same.
    pub(super) fn respond(self, asked: &HeaderMap) -> Response<Body> {
        let tag = self.tag();
        // RFC 9110, 13.1.2: a list of tags, which are compared weakly: `W/` does not count.
        let known = asked.get_all(IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
        let is_known = known.flat_map(|list| list.split(',')).any(|known| known.trim().trim_start_matches("W/") == tag);
        let mut response = match is_known {
            true => reply::with_type(StatusCode::NOT_MODIFIED, self.kind, Bytes::new()),
            false => reply::with_type(StatusCode::OK, self.kind, Bytes::from_static(self.bytes)),
        };
        let headers = response.headers_mut();
        headers.extend(HeaderValue::try_from(tag).map(|tag| (ETAG, tag)));
        // It may be kept, and is asked for again each time: a new version's page is a whole new page.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }

    /// Tells one version of the file from another.
    fn tag(self) -> String {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.bytes);
        format!("\"{:016x}\"", hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("assets")).expect("the page's files");
        let there: BTreeSet<_> =
            folder.map(|file| file.expect("it can be read").file_name().into_string().expect("UTF-8")).collect();
        let served: BTreeSet<_> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(there, served);
    }

    #[test]
    fn every_module_is_asked_for_at_once() {
        let page = asset("/").expect("there is a page");
        let page = std::str::from_utf8(page.bytes).expect("UTF-8");
        for (name, _) in FILES.iter().filter(|(name, _)| name.ends_with(".js") && *name != "app.js") {
            assert!(page.contains(&format!("<link rel=\"modulepreload\" href=\"assets/{name}\">")), "{name}");
        }
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let check = |known: &str, status: u16| {
            let mut asked = HeaderMap::new();
            asked.insert(IF_NONE_MATCH, HeaderValue::from_str(known).expect("a value"));
            let response = asset("/assets/app.js").expect("a file").respond(&asked);
            assert_eq!(response.status().as_u16(), status, "{known}");
            assert!(response.headers().contains_key(ETAG) && response.headers().contains_key(CONTENT_SECURITY_POLICY));
        };
        let tag = asset("/assets/app.js").expect("a file").tag();
        check(&tag, 304);
        check(&format!("\"other\", W/{tag}"), 304);
        check("\"other\"", 200);
        check(&asset("/").expect("a file").tag(), 200);
        check("", 200);
    }
}
