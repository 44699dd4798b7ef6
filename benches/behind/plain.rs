//! What recovery is compared with: the same bytes written to the same sockets, and nothing else.
//!
//! One thread and epoll. It holds the bytes ready, and whoever asks gets all of them, as fast as the socket
//! takes them. It knows one client, which it trusts.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::event::epoll;
use slab::Slab;

use crate::Result;
use crate::support::server::SCHEME;
use crate::support::wire;

/// Runs [`serve`].
pub(crate) const OPTION: &str = "--serve-plain";

const LISTENER: u64 = u64::MAX;

struct Plain {
    epoll: OwnedFd,
    listener: TcpListener,
    peers: Slab<Peer>,
    buffer: Vec<u8>,
    /// What everybody gets.
    answer: Vec<u8>,
}

struct Peer {
    stream: TcpStream,
    upgraded: bool,
    rest: Vec<u8>,
    /// How much of the answer has been written, once it has been asked for.
    at: Option<usize>,
}

/// Serves what that file holds until the process is ended.
pub(crate) fn serve(answer: &str) -> Result<bool> {
    let answer = fs::read(answer)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("{SCHEME}{}", listener.local_addr()?);
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut plain = Plain { epoll, listener, peers: Slab::new(), buffer: vec![0; 64 * 1024], answer };
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        match epoll::wait(&plain.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => plain.accept()?,
                key => {
                    let key = usize::try_from(key)?;
                    if !plain.serve(key).unwrap_or(false) {
                        plain.peers.remove(key);
                    }
                }
            }
        }
    }
}

impl Plain {
    fn accept(&mut self) -> Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let entry = self.peers.vacant_entry();
            // Edges: whether it can be written to is told once it could not.
            let when = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(entry.key() as u64), when)?;
            entry.insert(Peer { stream, upgraded: false, rest: Vec::new(), at: None });
        }
    }

    /// Reads what has come and writes what the socket takes; false once the client has gone.
    fn serve(&mut self, key: usize) -> Result<bool> {
        let Peer { stream, upgraded, rest, at } = &mut self.peers[key];
        let mut reply = Vec::new();
        let open = wire::read_through(&*stream, rest, &mut self.buffer, |bytes| {
            let mut used = 0;
            if !*upgraded {
                let Some(head) = wire::http_head(bytes) else {
                    return Ok(0);
                };
                *upgraded = true;
                used = head;
                reply.extend_from_slice(wire::accepted(&bytes[..head])?.as_bytes());
                wire::push_server_frame(wire::TEXT, br#"{"type":"welcome"}"#, &mut reply);
            }
            while let Some(frame) = wire::next_frame(&mut bytes[used..])? {
                used += frame.bytes;
                if frame.opcode == wire::TEXT {
                    *at = Some(0);
                }
            }
            Ok(used)
        })?;
        (&*stream).write_all(&reply)?;
        if let Some(at) = at {
            while *at < self.answer.len() {
                match (&*stream).write(&self.answer[*at..]) {
                    Ok(written) => *at += written,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(open)
    }
}
