//! Listeners, and the connections that come through them.
//!
//! All cores accept from the same sockets. A socket per core (`SO_REUSEPORT`) spreads a storm of
//! connections no better here, loses the ones that wait in the queue of a core that ends, and lets a
//! second server share the port in silence; a shared one is taken or free.

use std::io::{self, Write};
use std::net::{IpAddr, TcpStream as StdTcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::descriptors::Reserve;
use super::socket::{Bound, Kind, Listener};
use crate::config::Config;
use crate::fanout::headcount::{Counted, Headcount};
use crate::http::{Attendance, Attended, Readable, Service};
use crate::limits::proxy::{self, Header};

/// What hyper may buffer of a request's head. Longer ones are answered with 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How many connections are accepted before it is the turn of those that are there.
const TURN_CONNECTIONS_MAX: usize = 32;

/// From so many of them on that are hung up on it is a flood, which waits: to be woken for each of its connections
/// costs more than to hang up on it. The others wait as long, in the system's queue.
const FLOOD_MIN: usize = 1;

/// More are not hung up on before that pause, which lasts two milliseconds with the timer's own: some four thousand a
/// second and core. What comes faster fills the system's queue, and is for a firewall to keep out.
const FLOOD_MAX: usize = 8;
const FLOOD_PAUSE: Duration = Duration::from_millis(1);

/// How long to wait when the system has no room for another connection.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Accepts connections and serves them, on every core.
#[derive(Debug)]
pub(super) struct Acceptor {
    header_time: Duration,
    connections_max: u64,
    /// Connections that speak HTTP, as yet or for good.
    open: Arc<Headcount>,
    reserve: Reserve,
    stopped: watch::Receiver<bool>,
}

impl Acceptor {
    pub(super) fn new(config: &Config, stopped: watch::Receiver<bool>) -> Self {
        Acceptor {
            header_time: Duration::from_millis(config.limits.header_ms),
            connections_max: config.limits.connections as u64,
            open: Arc::default(),
            reserve: Reserve::new(),
            stopped,
        }
    }

    /// Completes when no connection speaks HTTP.
    pub(super) async fn emptied(&self) {
        self.open.emptied().await;
    }

    /// Serves one core's share; never ends.
    pub(super) async fn serve(self: &Arc<Self>, listeners: Vec<Bound>, service: &Service) {
        for bound in listeners {
            let is_proxied = bound.is_proxied;
            match bound.open() {
                Ok(listener) => drop(tokio::spawn(Arc::clone(self).accept(listener, is_proxied, service.clone()))),
                Err(error) => tracing::error!(%error, "a core cannot accept connections"),
            }
        }
        std::future::pending::<()>().await;
    }

    async fn accept(self: Arc<Self>, listener: Listener, is_proxied: bool, service: Service) {
        loop {
            let taken = match listener.ready().await {
                Ok(()) => self.accept_some(&listener, is_proxied, &service),
                Err(error) => Err(error),
            };
            match taken {
                Ok(hung_up) if hung_up >= FLOOD_MIN => tokio::time::sleep(FLOOD_PAUSE).await,
                Ok(_) => yield_now().await,
                Err(error) => {
                    tracing::warn!(%error, "no room for another connection");
                    self.reserve.spend(|| refuse_waiting(&listener, &service));
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Takes those that wait, a few at a time. How many were hung up on.
    fn accept_some(self: &Arc<Self>, listener: &Listener, is_proxied: bool, service: &Service) -> io::Result<usize> {
        let mut hung_up = 0;
        for _ in 0..TURN_CONNECTIONS_MAX {
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => return Err(error),
            };
            if !self.reserve.restore() {
                service.count_refused();
                refuse(&stream);
                drop(stream);
                self.reserve.restore();
                continue;
            }
            let caller = if is_proxied {
                Some(Caller::Proxy(service.clone(), peer))
            } else {
                service.for_peer(peer).map(Caller::Known)
            };
            match caller {
                Some(caller) => self.take(stream, caller, service),
                None => {
                    hang_up(&stream);
                    hung_up += 1;
                    if hung_up == FLOOD_MAX {
                        break;
                    }
                }
            }
        }
        Ok(hung_up)
    }

    fn take(self: &Arc<Self>, stream: Kind<StdTcpStream, StdUnixStream>, caller: Caller, service: &Service) {
        let taken = match stream {
            Kind::Tcp(stream) => TcpStream::from_std(stream).map(|stream| self.serve_one(stream, caller, service)),
            Kind::Unix(stream) => UnixStream::from_std(stream).map(|stream| self.serve_one(stream, caller, service)),
        };
        if let Err(error) = taken {
            tracing::warn!(%error, "a connection cannot be served");
        }
    }

    fn serve_one<S: Connection>(self: &Arc<Self>, stream: S, caller: Caller, service: &Service) {
        // Counted first: either the end is seen below, or it waits for this one.
        let Some(counted) = self.open.enter(self.connections_max.saturating_sub(service.upgraded())) else {
            service.count_refused();
            refuse(&stream);
            return;
        };
        if *self.stopped.borrow() {
            // Probes and newcomers are answered to the end; the end does not wait for them.
            tokio::spawn(refuse_late(stream, caller, self.header_time));
            return;
        }
        tokio::spawn(serve_http(stream, caller, self.header_time, self.stopped.clone(), counted));
    }
}

/// What HTTP is spoken over.
trait Connection: AsyncRead + AsyncWrite + Readable + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Readable + Unpin + Send + 'static> Connection for S {}

/// Who is at the other end of a connection.
enum Caller {
    /// The service for whoever it is.
    Known(Service),
    /// A proxy at that address, which is to say first whom it speaks for.
    Proxy(Service, IpAddr),
}

impl Caller {
    /// The service for whoever it is; `None` if nobody is to be served.
    async fn introduce(self, stream: &mut impl Connection, header_time: Duration) -> Option<Service> {
        let (service, proxy) = match self {
            Caller::Known(service) => return Some(service),
            Caller::Proxy(service, proxy) => (service, proxy),
        };
        match timeout(header_time, source(stream)).await {
            Ok(Ok(source)) => service.for_peer(source.unwrap_or(proxy)),
            Ok(Err(error)) => {
                tracing::debug!(%error, %proxy, "a proxy did not introduce a connection");
                None
            }
            Err(_) => None,
        }
    }
}

/// Reads the header of the PROXY protocol, and not a byte of what is behind it.
async fn source(stream: &mut impl Connection) -> io::Result<Option<IpAddr>> {
    let mut bytes = Vec::new();
    loop {
        match proxy::parse(&bytes).map_err(io::Error::other)? {
            Header::Source(source) => return Ok(source),
            Header::Needs(count) => {
                let read = bytes.len();
                bytes.resize(read + count, 0);
                stream.read_exact(&mut bytes[read..]).await?;
            }
        }
    }
}

async fn serve_http(
    mut stream: impl Connection,
    caller: Caller,
    header_time: Duration,
    mut stopped: watch::Receiver<bool>,
    _counted: Counted,
) {
    let introduced = tokio::select! {
        introduced = caller.introduce(&mut stream, header_time) => introduced,
        () = told(&mut stopped) => None,
    };
    let Some(service) = introduced else { return };
    let attendance = Attendance::default();
    let stream = Attended::new(stream, attendance.clone());
    let service = service.attending(attendance);
    let connection = http(header_time).serve_connection(TokioIo::new(stream), service.clone()).with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        if error.is_timeout() {
            service.count_slow();
        }
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

/// One request of somebody who came while everybody is sent away: the service says so.
async fn refuse_late(mut stream: impl Connection, caller: Caller, header_time: Duration) {
    let Some(service) = caller.introduce(&mut stream, header_time).await else { return };
    let connection = http(header_time).keep_alive(false).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a late HTTP connection ended early");
    }
}
fn http(header_time: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header_time).max_buf_size(HEAD_BYTES_MAX).half_close(true);
    builder
}

/// Waits until the server is told to stop, or has ended.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Errors that belong to the connection that was about to be accepted, not to the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Takes one waiting connection, with the descriptor that was kept for this, and refuses it.
fn refuse_waiting(listener: &Listener, service: &Service) {
    if let Ok((socket, _)) = SockRef::from(listener).accept() {
        service.count_refused();
        if socket.set_nonblocking(true).is_ok() {
            say_full(&mut &socket);
        }
    }
}

/// Who is not worth an answer gets none, and no farewell either, which the system would have to keep until it
/// has been acknowledged.
fn hang_up(stream: &impl AsFd) {
    // Where it fails the end is only less abrupt.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn refuse(stream: &impl AsFd) {
    say_full(&mut &*SockRef::from(stream));
}

/// Best effort: a peer that does not take so few bytes at once gets none.
fn say_full(mut to: impl Write) {
    const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Type: application/json\r\n\
        Content-Length: 71\r\n\r\n{\"error\":{\"code\":\"overloaded\",\"message\":\"the server has no room left\"}}";
    let _ = to.write(FULL);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_length_of_the_refusal_is_right() {
        let mut said = Vec::new();
        super::say_full(&mut said);
        let said = String::from_utf8(said).expect("ASCII");
        let (head, body) = said.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
