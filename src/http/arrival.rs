//! Where requests come from, and whether they are too many.

use std::net::IpAddr;

use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode};

use super::credentials::Shown;
use super::reply::{self, Body};
use super::service::{Service, Shared};
use crate::gate::Denied;
use crate::limits::{Arrival, Client, Excess, Meters, PeerAddr};
use crate::protocol::{Encoding, ErrorCode};

/// What a request counts: it makes as much work as so many commands,
const REQUEST_COMMANDS: usize = 25;
/// and one that goes through all there is as so many.
const OVERVIEW_COMMANDS: usize = 200;

/// The same for a publish with credentials, which is what backends do all the time. If they do not count, that takes
/// attempts to connect, which are few.
const PUBLISH_COMMANDS: usize = 6;

/// A connection that our own acceptor has taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    peer: IpAddr,
    arrival: Arrival,
}

/// Why nothing that somebody asks is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unwelcome {
    /// Nobody from there is served.
    Network,
    /// There are too many from there.
    Often(Excess),
}

impl Unwelcome {
    pub(super) fn answer(self) -> Response<Body> {
        match self {
            Unwelcome::Network => {
                let message = "requests from that address are not served";
                ended(reply::error(StatusCode::FORBIDDEN, ErrorCode::Forbidden, message))
            }
            Unwelcome::Often(excess) => refuse(excess),
        }
    }
}

impl Service {
    /// The same service for one connection, for hosts that accept connections themselves: it knows the
    /// peer's address without a [`PeerAddr`] in each request.
    ///
    /// The connection counts as an attempt at once, where it cannot be somebody else's: not if the peer is
    /// a trusted proxy. `None` if the address has tried too often and been told so too often: hang up.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use fanfare::{Broker, Service};
    /// use hyper::server::conn::http1;
    /// use hyper_util::rt::TokioIo;
    ///
    /// # async fn serve(listener: tokio::net::TcpListener) -> std::io::Result<()> {
    /// let service = Service::new(Broker::new());
    /// loop {
    ///     let (stream, peer) = listener.accept().await?;
    ///     if let Some(service) = service.for_peer(peer.ip()) {
    ///         tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn for_peer(&self, peer: IpAddr) -> Option<Service> {
        let limits = &self.shared.limits;
        let arrival = limits.arrive(peer, limits.now());
        let arrived = Service { arrival: Some(Arrived { peer, arrival }), ..self.clone() };
        (arrival != Arrival::Flood).then_some(arrived)
    }

    /// Whom the request counts for, unless it is refused for that.
    pub(super) fn sender<B>(&self, request: &Request<B>) -> Result<Client, Unwelcome> {
        let limits = &self.shared.limits;
        let peer = match self.arrival {
            Some(Arrived { peer, .. }) => Some(peer),
            None => request.extensions().get().map(|PeerAddr(peer)| *peer),
        };
        let client = limits.client(peer, request.headers());
        if !limits.serves(&client) {
            return Err(Unwelcome::Network);
        }
        match self.arrival {
            Some(Arrived { arrival: Arrival::Refused(excess), .. }) => Err(Unwelcome::Often(excess)),
            _ => Ok(client),
        }
    }

    /// Counts an attempt to connect, unless the acceptor has.
    pub(super) fn attempt(&self, client: &Client) -> Result<(), Excess> {
        let limits = &self.shared.limits;
        match self.arrival {
            Some(Arrived { arrival: Arrival::Admitted, .. }) => Ok(()),
            _ => limits.attempt(client, limits.now()),
        }
    }

    /// Counts a request, and gives what its content is metered with.
    pub(super) fn meter<B>(&self, request: &Request<B>, client: &Client) -> Result<Option<Meters>, Excess> {
        let Shared { limits, gate, .. } = &*self.shared;
        let now = limits.now();
        let meters = limits.request(client, now);
        if let Some(meters) = &meters {
            let shows = || gate.asks() && Shown::in_headers(request.headers()).is_some();
            let commands = match request.uri().path() {
                "/metrics" | "/v1/topics" | "/v1/connections" => OVERVIEW_COMMANDS,
                "/v1/publish" if request.method() == Method::POST && shows() => PUBLISH_COMMANDS,
                _ => REQUEST_COMMANDS,
            };
            meters.command(commands, now)?;
        }
        Ok(meters)
    }
}

/// 429, and when to come back.
pub(super) fn refuse(excess: Excess) -> Response<Body> {
    let Denied { code, message, retry_after_ms } = excess.into();
    ended(reply::failure(StatusCode::TOO_MANY_REQUESTS, Encoding::Json, code, &message, retry_after_ms))
}

/// The last answer on its connection: what comes next from there costs an attempt to connect, which are few.
pub(super) fn ended(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
