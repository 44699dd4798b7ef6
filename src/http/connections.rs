//! `/v1/connections`: who is connected, and how an operator sends one of them away.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;
use http::{Response, StatusCode};
use serde::Serialize;
use tokio::time::timeout;

use super::api::{NOT_UTF8, bad_query, pairs};
use super::reply::{self, Body};
use super::service::Shared;
use crate::broker::ConnectionId;
use crate::fanout::Surveyed;
use crate::protocol::{Encoding, ErrorCode};
use crate::session::Connected;

/// How many connections a listing has unless it is asked for another number, and at most.
const LIST_DEFAULT: usize = 100;
const LIST_MAX: usize = 1_000;

/// How long the shards may take to say what they know. They answer in their next turn, unless the runtime that
/// they run on stands still.
const SURVEY_TIME: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
enum Sort {
    /// Those who have been there longest come first.
    Since,
    /// Those who are owed most.
    Backlog,
    /// Those who have missed most often.
    Gaps,
    /// Those who follow most.
    Subscriptions,
}

#[derive(Serialize)]
struct Connections {
    /// How many there are.
    total: usize,
    connections: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    connection: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// Milliseconds since 1970.
    since: u64,
    subscriptions: u64,
    backlog_bytes: u64,
    gaps: u64,
}

/// `GET /v1/connections?sort=&limit=`
pub(super) async fn list(shared: &Shared, query: &str) -> Response<Body> {
    let (mut sort, mut limit) = (Sort::Since, LIST_DEFAULT);
    for pair in pairs(query) {
        let Ok((name, value)) = pair else { return bad_query(NOT_UTF8) };
        match (name, value.as_str()) {
            ("sort", "since") => sort = Sort::Since,
            ("sort", "backlog") => sort = Sort::Backlog,
            ("sort", "gaps") => sort = Sort::Gaps,
            ("sort", "subscriptions") => sort = Sort::Subscriptions,
            ("sort", _) => return bad_query("sort is since, backlog, gaps or subscriptions"),
            ("limit", count) => match count.parse() {
                Ok(count @ 1..=LIST_MAX) => limit = count,
                _ => return bad_query("limit is a number from 1 to 1000"),
            },
            // As in commands, what is not known is ignored.
            _ => {}
        }
    }
    let Ok(surveyed) = timeout(SURVEY_TIME, shared.pool.survey()).await else {
        let message = "the connections' threads do not answer";
        return reply::failure(StatusCode::SERVICE_UNAVAILABLE, Encoding::Json, ErrorCode::Overloaded, message, None);
    };
    let surveyed: HashMap<ConnectionId, Surveyed, RandomState> =
        surveyed.into_iter().map(|surveyed| (surveyed.id, surveyed)).collect();
    // Who has come or gone in between is in one of the two only.
    let connected = shared.resumables.list().into_iter();
    let mut all: Vec<(Connected, Surveyed)> =
        connected.filter_map(|connected| surveyed.get(&connected.id).map(|found| (connected, *found))).collect();
    let total = all.len();
    all.sort_unstable_by_key(|(connected, surveyed)| {
        let most = match sort {
            Sort::Since => 0,
            Sort::Backlog => surveyed.backlog_bytes,
            Sort::Gaps => surveyed.gaps,
            Sort::Subscriptions => surveyed.subscriptions,
        };
        (Reverse(most), connected.since_ms, connected.id.0)
    });
    all.truncate(limit);
    let connections = all.into_iter().map(Line::from).collect();
    reply::encoded(StatusCode::OK, Encoding::Json, &Connections { total, connections })
}

/// `DELETE /v1/connections/{id}`
pub(super) fn expel(shared: &Shared, path: &str) -> Response<Body> {
    let connection = path.strip_prefix("/v1/connections/").unwrap_or_default();
    if !shared.resumables.expel(connection) {
        return reply::error(StatusCode::NOT_FOUND, ErrorCode::BadRequest, "there is no such connection");
    }
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

impl From<(Connected, Surveyed)> for Line {
    fn from((connected, surveyed): (Connected, Surveyed)) -> Self {
        Line {
            connection: connected.id.to_string(),
            address: connected.address.map(|address| address.to_string()),
            subject: connected.subject.map(|subject| subject.to_string()),
            since: connected.since_ms,
            subscriptions: surveyed.subscriptions,
            backlog_bytes: surveyed.backlog_bytes,
            gaps: surveyed.gaps,
        }
    }
}
