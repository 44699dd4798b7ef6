//! Listeners, and the connections that come through them.
//!
//! All cores accept from the same sockets. A socket per core (`SO_REUSEPORT`) spreads a storm of
//! connections no better here, loses the ones that wait in the queue of a core that ends, and lets a
//! second server share the port in silence; a shared one is taken or free.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::StartError;
use super::descriptors::Reserve;
use crate::config::Config;
use crate::fanout::headcount::{Counted, Headcount};
use crate::http::Service;

/// Connections that wait to be accepted, at most; the kernel may allow fewer.
const BACKLOG: i32 = 4096;

/// What hyper may buffer of a request's head. Longer ones are answered with 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long to wait when the system has no room for another connection.
const BACK_OFF: Duration = Duration::from_millis(50);

/// The sockets of a server.
#[derive(Debug)]
pub(super) struct Listeners(Vec<StdListener>);

impl Listeners {
    pub(super) fn bind(addresses: &[String]) -> Result<Self, StartError> {
        let mut listeners = Vec::new();
        for address in addresses {
            let fail = |error| StartError::Listen { address: address.clone(), error };
            for resolved in address.to_socket_addrs().map_err(fail)? {
                listeners.push(bind(resolved).map_err(fail)?);
            }
        }
        Ok(Listeners(listeners))
    }

    /// The same sockets for one more core.
    pub(super) fn share(&self) -> Result<Vec<StdListener>, StartError> {
        self.0.iter().map(StdListener::try_clone).collect::<io::Result<_>>().map_err(StartError::Thread)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|listener| listener.local_addr().ok())
    }
}

fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last connections' time-outs; a live server still keeps the port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

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
    pub(super) async fn serve(self: &Arc<Self>, listeners: Vec<StdListener>, service: &Service) {
        for listener in listeners {
            match TcpListener::from_std(listener) {
                Ok(listener) => drop(tokio::spawn(Arc::clone(self).accept(listener, service.clone()))),
                Err(error) => tracing::error!(%error, "a core cannot accept connections"),
            }
        }
        std::future::pending::<()>().await;
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, service: Service) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if self.reserve.restore() {
                        // Who is not worth an answer gets none.
                        if let Some(service) = service.for_peer(peer.ip()) {
                            self.take(stream, &service);
                        }
                    } else {
                        service.count_refused();
                        refuse(&stream);
                        drop(stream);
                        self.reserve.restore();
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no room for another connection");
                    self.reserve.spend(|| refuse_waiting(&listener, &service));
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    fn take(self: &Arc<Self>, stream: TcpStream, service: &Service) {
        // Counted first: either the end is seen below, or it waits for this one.
        let Some(counted) = self.open.enter(self.connections_max.saturating_sub(service.connections())) else {
            service.count_refused();
            refuse(&stream);
            return;
        };
        if *self.stopped.borrow() {
            // Probes and newcomers are answered to the end; the end does not wait for them.
            tokio::spawn(refuse_late(stream, service.clone(), self.header_time));
            return;
        }
        tokio::spawn(serve_http(stream, service.clone(), self.header_time, self.stopped.clone(), counted));
    }
}

async fn serve_http(
    stream: TcpStream,
    service: Service,
    header_time: Duration,
    mut stopped: watch::Receiver<bool>,
    _counted: Counted,
) {
    let connection = http(header_time).serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

/// One request of somebody who came while everybody is sent away: the service says so.
async fn refuse_late(stream: TcpStream, service: Service, header_time: Duration) {
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
fn refuse_waiting(listener: &TcpListener, service: &Service) {
    if let Ok((socket, _)) = SockRef::from(listener).accept() {
        service.count_refused();
        if socket.set_nonblocking(true).is_ok() {
            say_full(&mut &socket);
        }
    }
}

fn refuse(stream: &TcpStream) {
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
