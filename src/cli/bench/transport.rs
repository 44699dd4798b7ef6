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

/// Which of a route's sources the next connection comes from, counted from 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source(usize);

/// Loopback addresses that are tried when one has no port left: 127.0.0.2 and so on.
const LOOPBACKS_MAX: usize = 200;

impl Route {
    /// How many sources there are to choose from.
    fn choices(&self) -> usize {
        match self.address.ip() {
            _ if !self.sources.is_empty() => self.sources.len(),
            // All of 127.0.0.0/8 is this machine, and each address has ports of its own.
            IpAddr::V4(ip) if ip.is_loopback() => LOOPBACKS_MAX,
            _ => 1,
        }
    }

    /// One of them; `None` lets the system choose.
    fn source(&self, nth: usize) -> Option<IpAddr> {
        match self.sources.get(nth) {
            Some(source) => Some(*source),
            None if nth == 0 => None,
            None => Some(Ipv4Addr::new(127, 0, 0, 1 + nth as u8).into()),
        }
    }

    /// Has `connect` try one source after the other, from the one that served last, until one has a free port. A
    /// port that is free again later counts again: all are asked before there is none.
    fn open<T>(&self, source: &mut Source, connect: impl Fn(Option<IpAddr>) -> io::Result<T>) -> io::Result<T> {
        for _ in 0..self.choices() {
            let from = self.source(source.0);
            match connect(from) {
                Err(error) if has_no_port(&error, from) => source.0 = (source.0 + 1) % self.choices(),
                other => return other,
            }
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
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
        let stream = route.open(source, |from| connect(route.address, from, receive_bytes))?;
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

/// Whether a source is out of ports. Where the system chose the address, it says so of the connection; where one was
/// named, of the binding.
fn has_no_port(error: &io::Error, from: Option<IpAddr>) -> bool {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => true,
        io::ErrorKind::AddrInUse => from.is_some(),
        _ => false,
    }
}

fn in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::io::{self, ErrorKind};

    use super::{Route, Source};

    fn route(address: &str, sources: &[&str]) -> Route {
        Route {
            address: address.parse().expect("an address"),
            tls: None,
            sources: sources.iter().map(|source| source.parse().expect("an address")).collect(),
        }
    }

    fn check(address: &str, sources: &[&str], count: usize, first: &[&str]) {
        let route = route(address, sources);
        assert_eq!(route.choices(), count, "{address}");
        for (nth, expected) in first.iter().enumerate() {
            let source = route.source(nth).map_or_else(String::new, |ip| ip.to_string());
            assert_eq!(source, *expected, "{address}, {nth}");
        }
    }

    #[test]
    fn loopback_has_many_addresses_and_others_those_that_were_given() {
        check("127.0.0.1:1", &[], 200, &["", "127.0.0.2", "127.0.0.3"]);
        check("[::1]:1", &[], 1, &[""]);
        check("192.0.2.1:1", &[], 1, &[""]);
        check("192.0.2.1:1", &["192.0.2.7", "192.0.2.8"], 2, &["192.0.2.7", "192.0.2.8"]);
    }

    #[test]
    fn who_has_no_port_is_passed_over_and_asked_again_before_nobody_has() {
        let route = route("127.0.0.1:1", &["127.0.0.7", "127.0.0.8"]);
        let mut source = Source::default();
        // Ports of each, by the last digit of its address.
        let free = Cell::new([1, 2]);
        let asked = RefCell::new(String::new());
        let mut open = || {
            route.open(&mut source, |from| {
                let from = from.expect("one of those").to_string();
                asked.borrow_mut().push_str(&from[8..]);
                let mut left = free.get();
                let left_here = &mut left[usize::from(from.ends_with('8'))];
                if *left_here == 0 {
                    return Err(io::Error::from(ErrorKind::AddrInUse));
                }
                *left_here -= 1;
                free.set(left);
                Ok(())
            })
        };
        assert!(open().is_ok() && open().is_ok() && open().is_ok());
        assert_eq!(open().expect_err("no port").kind(), ErrorKind::AddrNotAvailable);
        free.set([1, 0]);
        assert!(open().is_ok(), "one is free again");
        assert_eq!(*asked.borrow(), "7 78 8 87 87".replace(' ', ""));
    }

    #[test]
    fn what_is_no_lack_of_ports_is_told_at_once() {
        let route = route("127.0.0.1:1", &[]);
        let mut source = Source::default();
        for kind in [ErrorKind::ConnectionRefused, ErrorKind::AddrInUse] {
            let error = route.open(&mut source, |_| Err::<(), _>(io::Error::from(kind))).expect_err("none");
            assert_eq!(error.kind(), kind);
        }
        let error = route.open(&mut source, |_| Err::<(), _>(io::Error::from(ErrorKind::AddrNotAvailable)));
        assert_eq!(error.expect_err("none").kind(), ErrorKind::AddrNotAvailable);
    }
}
