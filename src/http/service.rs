//! The service: who may call, and which part answers.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use super::arrival::{self, Arrived};
use super::attended::Attendance;
use super::credentials::Shown;
use super::events::{self, Streams};
use super::options::{Options, ServiceBuilder};
use super::origin::Trust;
use super::reply::{self, Body};
use super::{api, connections, credentials, metrics, origin, page, stats, upgrade};
use crate::broker::Broker;
use crate::fanout::headcount::Headcount;
use crate::fanout::turns::Turns;
use crate::fanout::{Pool, Totals};
use crate::gate::{Denied, Gate, Pass};
use crate::limits::{Client, Limits, Meters};
use crate::protocol::{Encoding, ErrorCode};
use crate::session::{Resumables, SessionOptions};

/// A broker's HTTP service: `/ws`, `/v1/…`, `/healthz`, `/readyz`, `/metrics` and the page at `/`.
///
/// Cloning is cheap and gives another handle to the same service. It is a tower service and a hyper
/// service; the connection it is called on must allow upgrades (axum's does, hyper's
/// `with_upgrades()`).
///
/// # Examples
///
/// ```no_run
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = fanfare::Broker::new();
/// let app = axum::Router::new().nest_service("/events", fanfare::Service::new(broker.clone()));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// tokio::spawn(async move { axum::serve(listener, app).await });
///
/// broker.publish("news", &serde_json::json!({"hello": 1})).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Service {
    pub(super) shared: Arc<Shared>,
    /// The shard that serves the connections that come through this handle; `None` takes turns.
    pub(super) shard: Option<usize>,
    /// The connection that this handle is for, where the acceptor is ours.
    pub(super) arrival: Option<Arrived>,
    /// Tells whether the peer of that connection has ended its side, where that can be told.
    pub(super) attendance: Option<Attendance>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) broker: Broker,
    pub(super) pool: Pool,
    pub(super) options: Options,
    pub(super) session_options: Arc<SessionOptions>,
    pub(super) limits: Arc<Limits>,
    pub(super) resumables: Arc<Resumables>,
    /// In which requests are answered.
    pub(super) turns: Turns,
    pub(super) gate: Gate,
    /// Connections that are open only to be told that their credentials do not count.
    pub(super) refusals: Arc<Headcount>,
    pub(super) draining: AtomicBool,
    /// Connections refused, for want of room or while draining.
    pub(super) refused: AtomicU64,
    /// Requests refused for their `Host` or `Origin`.
    pub(super) refused_origins: AtomicU64,
    /// Bodies of requests that were too large.
    pub(super) large_bodies: AtomicU64,
    /// Requests that took too long to arrive.
    pub(super) slow_requests: AtomicU64,
    /// Whether a task publishes `$stats`.
    pub(super) stats_served: AtomicBool,
    /// What event streams have done, and whether they are to end.
    pub(super) streams: Arc<Streams>,
}

impl Service {
    /// A service with the default settings.
    pub fn new(broker: Broker) -> Self {
        ServiceBuilder::new(broker).build()
    }

    /// Settings first.
    pub fn builder(broker: Broker) -> ServiceBuilder {
        ServiceBuilder::new(broker)
    }

    /// Sends every connection away: no new ones, `/readyz` says 503, and everybody gets a `goodbye`
    /// that asks to return at times spread evenly over `spread`.
    ///
    /// It does not wait for them to leave, see [`drained`](Self::drained).
    pub fn drain(&self, spread: std::time::Duration) {
        self.shared.draining.store(true, Ordering::SeqCst);
        let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
        self.shared.pool.drain(spread_ms);
        self.shared.streams.drain(spread_ms);
    }

    /// Completes once no WebSocket connection and no event stream is open or about to be: at once where
    /// there is none.
    ///
    /// It comes after [`drain`](Self::drain), which lets nobody in any more; without that, others may be
    /// there by the time it is done. A WebSocket peer that leaves its goodbye unanswered is hung up on
    /// within seconds; an event stream whose client takes no bytes lasts as long as the host's server
    /// bears it. Who has less time than that waits with a time-out.
    ///
    /// It may be awaited on any runtime, and by several at once.
    ///
    /// # Cancel safety
    ///
    /// It only watches: dropped, it changes nothing, and another call waits for the same.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let service = fanfare::Service::new(fanfare::Broker::new());
    /// service.drain(Duration::from_secs(5));
    /// if tokio::time::timeout(Duration::from_secs(10), service.drained()).await.is_err() {
    ///     eprintln!("{} clients have not left", service.connections());
    /// }
    /// # }
    /// ```
    pub async fn drained(&self) {
        self.shared.pool.connections().emptied().await;
    }

    /// How many WebSocket connections and event streams are open or about to be.
    pub fn connections(&self) -> u64 {
        self.shared.pool.connections().present()
    }

    /// How many of them do not speak HTTP any more.
    #[cfg(feature = "server")]
    pub(crate) fn upgraded(&self) -> u64 {
        self.connections().saturating_sub(self.shared.streams.open())
    }

    /// The same service for the connections of one core.
    #[cfg(feature = "server")]
    pub(crate) fn on_shard(&self, shard: usize) -> Self {
        Service { shared: Arc::clone(&self.shared), shard: Some(shard), arrival: None, attendance: None }
    }

    /// The same service, for a connection that is attended to.
    #[cfg(feature = "server")]
    pub(crate) fn attending(self, attendance: Attendance) -> Self {
        Service { attendance: Some(attendance), ..self }
    }

    /// A connection was refused before it spoke.
    #[cfg(feature = "server")]
    pub(crate) fn count_refused(&self) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The head of a request has not come in time.
    #[cfg(feature = "server")]
    pub(crate) fn count_slow(&self) {
        self.shared.slow_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers one request.
    ///
    /// # Cancel safety
    ///
    /// Dropped while a body arrives, nothing has been published.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        // A connection that sends one request after another has others take their turn in between.
        self.shared.turns.next().await;
        let head_only = request.method() == Method::HEAD;
        let mut response = match self.sender(&request) {
            Ok(client) => self.answer(request, &client).await,
            Err(unwelcome) => unwelcome.answer(),
        };
        // Whether it is served depends on the origin, also where the answer says nothing about it.
        response.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
        if head_only {
            *response.body_mut() = Body::default();
        }
        response
    }

    async fn answer<B>(&self, request: Request<B>, client: &Client) -> Response<Body>
    where
        B: http_body::Body + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        match origin::judge(request.uri(), request.headers(), &self.shared.options, self.shared.trust()) {
            Err(foreign) => {
                self.shared.refused_origins.fetch_add(1, Ordering::Relaxed);
                reply::error(StatusCode::FORBIDDEN, ErrorCode::Forbidden, foreign.as_str())
            }
            Ok(allowed) => {
                let preflight = request.method() == Method::OPTIONS;
                let mut response = if preflight { origin::preflight() } else { self.route(request, client).await };
                if let Some(origin) = allowed {
                    origin::allow(&mut response, origin);
                }
                response
            }
        }
    }

    async fn route<B>(&self, request: Request<B>, client: &Client) -> Response<Body>
    where
        B: http_body::Body + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        // A handshake is an attempt to connect, which has a rate of its own.
        let metered = if request.uri().path() == "/ws" { Ok(None) } else { self.meter(&request, client) };
        if let Some(probed) = self.probe(&request) {
            // Who looks after a server must not take it for dead because somebody else at its address is too loud.
            return if metered.is_ok() { probed } else { arrival::ended(probed) };
        }
        let meters = match metered {
            Ok(meters) => meters,
            Err(excess) => return arrival::refuse(excess),
        };
        if request.uri().path() == "/ws" {
            return upgrade::upgrade(self, request, client).await;
        }
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let is_post = head.method == Method::POST;
        let is_get = matches!(head.method, Method::GET | Method::HEAD);
        let query = head.uri.query().unwrap_or("");
        let shared = &self.shared;
        let answered = match path {
            "/v1/publish" if is_post => match self.caller(&head.headers, client).await {
                Ok(pass) => Ok(api::publish(shared, &pass, meters, &head.headers, body).await),
                Err(denied) => Err(denied),
            },
            "/v1/publish" => Ok(not_allowed("POST")),
            "/v1/events" if is_get => match self.follower(&head, client).await {
                Ok(pass) => Ok(events::open(self, &head, &pass, client)),
                Err(denied) => Err(denied),
            },
            "/v1/topics" if is_get => {
                self.administrator(&head.headers, client).await.map(|()| api::topics(shared, query))
            }
            "/v1/connections" if is_get => match self.administrator(&head.headers, client).await {
                Ok(()) => Ok(connections::list(shared, query).await),
                Err(denied) => Err(denied),
            },
            "/metrics" if is_get && shared.options.protect_metrics => {
                self.administrator(&head.headers, client).await.map(|()| metrics::render(shared))
            }
            "/metrics" if is_get => Ok(metrics::render(shared)),
            path if path.starts_with("/v1/connections/") => match head.method == Method::DELETE {
                true => self.administrator(&head.headers, client).await.map(|()| connections::expel(shared, path)),
                false => Ok(not_allowed("DELETE")),
            },
            "/v1/events" | "/v1/topics" | "/v1/connections" | "/healthz" | "/readyz" | "/metrics" => {
                Ok(not_allowed("GET, HEAD"))
            }
            path if api::is_of_topic(path, "/presence") => match is_get {
                true => self.caller(&head.headers, client).await.map(|pass| weigh(meters, api::presence(&pass, path))),
                false => Ok(not_allowed("GET, HEAD")),
            },
            path if api::is_of_topic(path, "/history") => match is_get {
                true => {
                    self.caller(&head.headers, client).await.map(|pass| weigh(meters, api::history(&pass, path, query)))
                }
                false => Ok(not_allowed("GET, HEAD")),
            },
            path => Ok(match page::asset(path) {
                Some(_) if !is_get => not_allowed("GET, HEAD"),
                Some(asset) => asset.respond(&head.headers),
                None => reply::error(StatusCode::NOT_FOUND, ErrorCode::BadRequest, "nothing here"),
            }),
        };
        answered.unwrap_or_else(|denied| {
            let response = credentials::deny(Encoding::Json, &denied);
            if denied.code == ErrorCode::RateLimited { arrival::ended(response) } else { response }
        })
    }

    /// The answer to whoever looks whether it is alive and ready.
    fn probe<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        Some(match request.uri().path() {
            "/healthz" => reply::text(StatusCode::OK, "ok\n"),
            "/readyz" if self.shared.is_draining() => reply::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            "/readyz" => reply::text(StatusCode::OK, "ready\n"),
            _ => return None,
        })
    }

    /// What the caller of the API may do, which is something.
    async fn caller(&self, headers: &HeaderMap, client: &Client) -> Result<Pass, Denied> {
        self.admit(Shown::in_headers(headers), client).await
    }

    /// The same for who opens a stream of events: an `EventSource` of a page sends no headers of the page's.
    async fn follower(&self, head: &Parts, client: &Client) -> Result<Pass, Denied> {
        self.admit(Shown::in_headers(&head.headers).or_else(|| Shown::in_query(&head.uri)), client).await
    }

    async fn admit(&self, shown: Option<Shown<'_>>, client: &Client) -> Result<Pass, Denied> {
        let Shared { gate, limits, .. } = &*self.shared;
        let credential = shown.as_ref().map(Shown::credential);
        if gate.asks() && credential.is_some() {
            limits.credentials(client, limits.now())?;
        }
        let admitted = gate.admit(credential, None).await;
        if admitted.as_ref().is_err_and(|denied| denied.code == ErrorCode::Unauthorized) {
            limits.refuse_credentials(client, limits.now());
        }
        let pass = admitted?;
        if pass.is_stranger() { Err(Denied::stranger()) } else { Ok(pass) }
    }

    /// Nothing, if the caller administers.
    async fn administrator(&self, headers: &HeaderMap, client: &Client) -> Result<(), Denied> {
        self.caller(headers, client).await?.require_admin()
    }
}

impl Shared {
    pub(super) fn is_draining(&self) -> bool {
        // SeqCst: see `Headcount`.
        self.draining.load(Ordering::SeqCst)
    }

    /// Whom a web page is taken to speak for.
    pub(super) fn trust(&self) -> Trust {
        match (self.gate.asks(), self.gate.serves_strangers()) {
            (false, _) => Trust::ThisMachine,
            (true, true) => Trust::NamesAndOrigins,
            (true, false) => Trust::Credentials,
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.pool.totals()
    }

    /// Sees to it that a task publishes `$stats`. Must be called within a runtime.
    pub(super) fn serve_stats(self: &Arc<Self>) {
        if let Some(served) = stats::Served::begin(self) {
            tokio::spawn(stats::publish(served));
        }
    }
}

/// The same response, unless it is more than its client may have.
fn weigh(meters: Option<Meters>, response: Response<Body>) -> Response<Body> {
    let Some(meters) = meters else { return response };
    let bytes = http_body::Body::size_hint(response.body()).exact().unwrap_or(0);
    let weighed = meters.answer(usize::try_from(bytes).unwrap_or(usize::MAX), meters.now());
    weighed.map_or_else(arrival::refuse, |()| response)
}

fn not_allowed(allow: &'static str) -> Response<Body> {
    let mut response =
        reply::error(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::BadRequest, "another method is needed here");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("broker", &self.shared.broker)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<B> tower_service::Service<Request<B>> for Service
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let service = self.clone();
        Box::pin(async move { Ok(service.handle(request).await) })
    }
}

impl<B> hyper::service::Service<Request<B>> for Service
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<B>) -> Answer {
        let service = self.clone();
        Box::pin(async move { Ok(service.handle(request).await) })
    }
}
