//! A socket, with or without TLS, that never blocks.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Where to, and through what.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Addresses of this machine to come from; none lets the system choose.
    pub(super) sources: Vec<IpAddr>,
}

/// Which of a route's sources the next connection comes from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source(usize);

/// Loopback addresses that are tried when one has no port left: 127.0.0.2 and so on.
const LOOPBACKS_MAX: usize = 200;

impl Route {
    /// The sources there are to choose from, the first time around `nth` counts from 0.
    fn source(&self, nth: usize) -> Option<Option<IpAddr>> {
        if !self.sources.is_empty() {
            return (nth < self.sources.len()).then(|| Some(self.sources[nth]));
        }
        match self.address.ip() {
            _ if nth == 0 => Some(None),
            // All of 127.0.0.0/8 is this machine, and each address has ports of its own.
            IpAddr::V4(ip) if ip.is_loopback() && nth < LOOPBACKS_MAX => {
                Some(Some(Ipv4Addr::new(127, 0, 0, 1 + nth as u8).into()))
            }
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Transport {
    /// Starts to connect. `receive_bytes` makes the socket take no more than that, about, before it is read.
    /// A source without a free port is passed over, also for those who come after.
    pub(super) fn open(route: &Route, source: &mut Source, receive_bytes: Option<usize>) -> io::Result<Transport> {
        let stream = loop {
            let Some(from) = route.source(source.0) else {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            };
            match connect(route.address, from, receive_bytes) {
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => source.0 += 1,
                other => break other?,
            }
        };
        Ok(match &route.tls {
            None => Transport::Plain(stream),
            Some((config, name)) => {
                let tls = ClientConnection::new(config.clone(), name.clone()).map_err(io::Error::other)?;
                Transport::Tls(Box::new(StreamOwned::new(tls, stream)))
            }
        })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.socket_mut(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Whether it is connected; an error if it never will be.
    pub(super) fn is_connected(&self) -> io::Result<bool> {
        let socket = match self {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => &stream.sock,
        };
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a read that fills less than its buffer has taken all there is, so that the next readiness will
    /// be told. TLS keeps records of its own, which have to be asked for.
    pub(super) fn short_read_is_all(&self) -> bool {
        matches!(self, Transport::Plain(_))
    }

    /// Hands what TLS holds back to the socket.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Plain(_) => Ok(()),
            Transport::Tls(stream) => stream.flush(),
        }
    }

    fn socket_mut(&mut self) -> &mut TcpStream {
        match self {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => &mut stream.sock,
        }
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.read(buffer),
            Transport::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.write(bytes),
            Transport::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Transport::flush(self)
    }
}

fn connect(to: SocketAddr, from: Option<IpAddr>, receive_bytes: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // A publish that waits for the answer to the one before would measure the system's patience.
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(from) = from {
        socket.bind(&SockAddr::from(SocketAddr::new(from, 0)))?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if in_progress(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

fn in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::Route;

    fn check(address: &str, sources: &[&str], expected: &[Option<&str>]) {
        let route = Route {
            address: address.parse().expect("an address"),
            tls: None,
            sources: sources.iter().map(|source| source.parse().expect("an address")).collect(),
        };
        for (nth, expected) in expected.iter().enumerate() {
            let source = route.source(nth).map(|source| source.map_or_else(String::new, |ip| ip.to_string()));
            assert_eq!(source.as_deref(), *expected, "{address}, {nth}");
        }
    }

    #[test]
    fn loopback_has_many_addresses_and_others_those_that_were_given() {
        check("127.0.0.1:1", &[], &[Some(""), Some("127.0.0.2"), Some("127.0.0.3")]);
        check("[::1]:1", &[], &[Some(""), None]);
        check("192.0.2.1:1", &[], &[Some(""), None]);
        check("192.0.2.1:1", &["192.0.2.7", "192.0.2.8"], &[Some("192.0.2.7"), Some("192.0.2.8"), None]);
    }
}
