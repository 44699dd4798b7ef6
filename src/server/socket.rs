//! Listening sockets: TCP and Unix, those on which a proxy introduces each connection among them.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::net::{TcpStream as AsyncTcp, UnixStream as AsyncUnix};

use super::StartError;
use crate::config::{Config, unix_path};

/// Connections that wait to be accepted, at most; the kernel may allow fewer.
const BACKLOG: i32 = 4096;

/// Whoever reaches a Unix socket is on this machine.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The sockets of a server. Unix ones leave the file system with it.
#[derive(Debug)]
pub(super) struct Listeners(Vec<Bound>);

/// A socket that listens.
#[derive(Debug)]
pub(super) struct Bound {
    socket: Kind<TcpListener, UnixListener>,
    /// Whether its connections begin with the header of the PROXY protocol.
    pub(super) is_proxied: bool,
}

/// One of the two kinds, of whatever.
#[derive(Debug)]
pub(super) enum Kind<T, U> {
    Tcp(T),
    Unix(U),
}

/// A socket that one core accepts from.
///
/// Tokio knows it as a stream, of which it is asked for nothing but its readiness. What tokio's own listeners accept is
/// registered with the runtime at once, and that is half of what a connection costs that is hung up on.
#[derive(Debug)]
pub(super) struct Listener(Kind<AsyncTcp, AsyncUnix>);

impl Listeners {
    pub(super) fn bind(config: &Config) -> Result<Self, StartError> {
        /// A lost packet is sent again after a fifth of a second at least, and then after twice as long each time.
        const TAKES_WITHIN_MIN: Duration = Duration::from_secs(1);
        let takes_within = Duration::from_millis(config.keep_alive.timeout_ms).max(TAKES_WITHIN_MIN);
        let mut listeners = Listeners(Vec::new());
        for (addresses, is_proxied) in [(&config.server.listen, false), (&config.server.proxy_protocol, true)] {
            for address in addresses {
                let fail = |error| StartError::Listen { address: address.clone(), error };
                if let Some(path) = unix_path(address) {
                    let socket = Kind::Unix(bind_unix(Path::new(path)).map_err(fail)?);
                    listeners.0.push(Bound { socket, is_proxied });
                    continue;
                }
                for resolved in address.to_socket_addrs().map_err(fail)? {
                    let socket = Kind::Tcp(bind_tcp(resolved, takes_within).map_err(fail)?);
                    listeners.0.push(Bound { socket, is_proxied });
                }
            }
        }
        Ok(listeners)
    }

    /// The same sockets for one more core.
    pub(super) fn share(&self) -> Result<Vec<Bound>, StartError> {
        self.0.iter().map(Bound::try_clone).collect::<io::Result<_>>().map_err(StartError::Thread)
    }

    /// Where they listen, as standard output says it.
    pub(super) fn addresses(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|bound| match &bound.socket {
            Kind::Tcp(socket) => {
                let scheme = if bound.is_proxied { "proxy" } else { "http" };
                socket.local_addr().ok().map(|address| format!("{scheme}://{address}"))
            }
            Kind::Unix(socket) => {
                let scheme = if bound.is_proxied { "proxy+unix" } else { "unix" };
                path_of(socket).map(|path| format!("{scheme}:{}", path.display()))
            }
        })
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for bound in &self.0 {
            if let Kind::Unix(socket) = &bound.socket
                && let Some(path) = path_of(socket)
            {
                // Whoever starts next does it otherwise.
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Bound {
    fn try_clone(&self) -> io::Result<Bound> {
        let socket = match &self.socket {
            Kind::Tcp(socket) => Kind::Tcp(socket.try_clone()?),
            Kind::Unix(socket) => Kind::Unix(socket.try_clone()?),
        };
        Ok(Bound { socket, is_proxied: self.is_proxied })
    }

    /// For the runtime that this is called in.
    pub(super) fn open(self) -> io::Result<Listener> {
        Ok(Listener(match self.socket {
            Kind::Tcp(socket) => Kind::Tcp(AsyncTcp::from_std(OwnedFd::from(socket).into())?),
            Kind::Unix(socket) => Kind::Unix(AsyncUnix::from_std(OwnedFd::from(socket).into())?),
        }))
    }
}

impl Listener {
    /// Waits until there is a connection to take.
    pub(super) async fn ready(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Tcp(listener) => listener.readable().await,
            Kind::Unix(listener) => listener.readable().await,
        }
    }

    /// The next connection, and the address it comes from.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none.
    pub(super) fn accept(&self) -> io::Result<(Kind<TcpStream, UnixStream>, IpAddr)> {
        const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
        let accept = || Ok(acceptfrom_with(self, FLAGS)?);
        Ok(match &self.0 {
            Kind::Tcp(listener) => {
                let (stream, peer) = listener.try_io(Interest::READABLE, accept)?;
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                // Where it is not told the peer has gone already.
                (Kind::Tcp(stream.into()), peer.ok_or(io::ErrorKind::ConnectionAborted)?.ip())
            }
            Kind::Unix(listener) => (Kind::Unix(listener.try_io(Interest::READABLE, accept)?.0.into()), LOCAL),
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<T: AsFd, U: AsFd> AsFd for Kind<T, U> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Kind::Tcp(socket) => socket.as_fd(),
            Kind::Unix(socket) => socket.as_fd(),
        }
    }
}

fn path_of(socket: &UnixListener) -> Option<PathBuf> {
    socket.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned))
}

/// A socket whose peers take what they are sent `takes_within` a time, or are gone.
fn bind_tcp(address: SocketAddr, takes_within: Duration) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last connections' time-outs; a live server still keeps the port.
    socket.set_reuse_address(true)?;
    // Connections have it from the socket that they come through.
    socket.set_tcp_user_timeout(Some(takes_within))?;
    listen(&socket, &address.into())?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    // A server that was killed leaves its socket behind. One that lives answers.
    let is_left = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if is_left {
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    listen(&socket, &SockAddr::unix(path)?)?;
    Ok(socket.into())
}

fn listen(socket: &Socket, address: &SockAddr) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
