//! The floor: the same bytes to the same sockets, with no broker between.
//!
//! One thread, epoll, and for each turn one write a subscriber of all messages that came in together.
//! It knows one topic, one client that it trusts, and no limits: nothing a broker has to do can be
//! cheaper than this.

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::event::{Timespec, epoll};
use slab::Slab;

use crate::Result;
use crate::support::server::SCHEME;
use crate::support::traffic::TOPIC;
use crate::support::wire;

const LISTENER: u64 = u64::MAX;
const BUFFER_BYTES: usize = 256 * 1024;

/// Bytes that a client may leave unread before it is let go.
const UNSENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Serves until the process is ended.
pub(crate) fn serve() -> Result<bool> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("{}{}", SCHEME, listener.local_addr()?);
    let mut floor = Floor {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        listener,
        peers: Slab::new(),
        subscribers: Vec::new(),
        unsent: 0,
        head: 0,
        run: Vec::new(),
        buffer: vec![0; BUFFER_BYTES],
    };
    let token = epoll::EventData::new_u64(LISTENER);
    epoll::add(&floor.epoll, &floor.listener, token, epoll::EventFlags::IN)?;
    let mut events = Vec::with_capacity(1024);
    loop {
        floor.turn(&mut events)?;
    }
}

struct Floor {
    epoll: OwnedFd,
    listener: TcpListener,
    peers: Slab<Peer>,
    /// Keys of `peers`.
    subscribers: Vec<usize>,
    /// How many of `peers` have something unsent.
    unsent: usize,
    head: u64,
    /// The frames that came in during this turn, joined.
    run: Vec<u8>,
    buffer: Vec<u8>,
}

struct Peer {
    stream: TcpStream,
    upgraded: bool,
    /// The beginning of what has not arrived in full.
    rest: Vec<u8>,
    unsent: Vec<u8>,
}

impl Floor {
    fn turn(&mut self, events: &mut Vec<epoll::Event>) -> Result<()> {
        const SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        events.clear();
        let timeout = (self.unsent > 0).then_some(&SOON);
        let spare = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, spare, timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &*events {
            match event.data.u64() {
                LISTENER => self.accept()?,
                key => self.read(usize::try_from(key)?),
            }
        }
        let run = std::mem::take(&mut self.run);
        if !run.is_empty() {
            let mut gone = Vec::new();
            for key in &self.subscribers {
                if self.peers[*key].send(&run, &mut self.unsent).is_err() {
                    gone.push(*key);
                }
            }
            gone.into_iter().for_each(|key| self.remove(key));
        }
        self.run = run;
        self.run.clear();
        if self.unsent > 0 {
            for (_, peer) in self.peers.iter_mut().filter(|(_, peer)| !peer.unsent.is_empty()) {
                // An error shows at the next read as well.
                let _ = peer.send(&[], &mut self.unsent);
            }
        }
        Ok(())
    }

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
            let token = epoll::EventData::new_u64(entry.key() as u64);
            epoll::add(&self.epoll, &stream, token, epoll::EventFlags::IN)?;
            entry.insert(Peer { stream, upgraded: false, rest: Vec::new(), unsent: Vec::new() });
        }
    }

    fn read(&mut self, key: usize) {
        // Its last write may have failed earlier in this turn.
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let Peer { stream, upgraded, rest, .. } = peer;
        let mut replies = Vec::new();
        let open = wire::read_through(&*stream, rest, &mut self.buffer, |bytes| {
            let mut used = 0;
            if !*upgraded {
                let Some(head) = wire::http_head(bytes) else {
                    return Ok(0);
                };
                *upgraded = true;
                used = head;
                replies.extend_from_slice(wire::accepted().as_bytes());
            }
            while let Some(frame) = wire::next_frame(&mut bytes[used..])? {
                used += frame.bytes;
                if frame.opcode != wire::TEXT {
                    continue;
                }
                let event = if wire::find(frame.payload, br#""subscribe""#).is_some() {
                    self.subscribers.push(key);
                    "subscribed"
                } else {
                    self.head += 1;
                    push_message(self.head, frame.payload, &mut self.run)?;
                    "published"
                };
                let id = wire::number_after(frame.payload, br#""id":"#).ok_or("no id")?;
                let text = format!(r#"{{"type":"{event}","id":{id},"topic":"{}","offset":{}}}"#, TOPIC, self.head);
                wire::push_server_frame(wire::TEXT, text.as_bytes(), &mut replies);
            }
            Ok(used)
        });
        let open = open.is_ok_and(|open| open);
        if !open || peer.send(&replies, &mut self.unsent).is_err() {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: usize) {
        if let Some(peer) = self.peers.try_remove(key) {
            self.unsent -= usize::from(!peer.unsent.is_empty());
            self.subscribers.retain(|subscriber| *subscriber != key);
        }
    }
}

/// Turns a publish into the message that goes out: its data is the last thing in either.
fn push_message(offset: u64, publish: &[u8], run: &mut Vec<u8>) -> Result<()> {
    let data = wire::find(publish, br#""data":"#).ok_or("no data")?;
    let mut text = Vec::with_capacity(publish.len() + 16);
    write!(text, r#"{{"type":"message","topic":"{TOPIC}","offset":{offset},"#)?;
    text.extend_from_slice(&publish[data..]);
    wire::push_server_frame(wire::TEXT, &text, run);
    Ok(())
}

impl Peer {
    /// Writes what waits and then `bytes`, as far as the socket takes them, and keeps the rest.
    /// `others` counts the peers that have something unsent.
    fn send(&mut self, bytes: &[u8], others: &mut usize) -> Result<()> {
        let waited = !self.unsent.is_empty();
        if waited {
            self.unsent.extend_from_slice(bytes);
            let written = write(&self.stream, &self.unsent)?;
            self.unsent.drain(..written);
            *others -= usize::from(self.unsent.is_empty());
        } else if !bytes.is_empty() {
            let written = write(&self.stream, bytes)?;
            self.unsent.extend_from_slice(&bytes[written..]);
            *others += usize::from(!self.unsent.is_empty());
        }
        if self.unsent.len() > UNSENT_BYTES_MAX {
            return Err("it does not read".into());
        }
        Ok(())
    }
}

fn write(mut stream: &TcpStream, bytes: &[u8]) -> Result<usize> {
    match stream.write(bytes) {
        Ok(written) => Ok(written),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error.into()),
    }
}
