//! The floor: the same bytes to the same sockets, with no broker between.
//!
//! One thread, epoll, and for each turn one write a subscriber of all messages that came in together.
//! It knows topics by their names, one client that it trusts, and no limits: nothing a broker has to do can
//! be cheaper than this.

use std::collections::HashMap;
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::event::{Timespec, epoll};
use slab::Slab;

use crate::Result;
use crate::support::server::SCHEME;
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
        names: HashMap::new(),
        topics: Vec::new(),
        moved: Vec::new(),
        unsent: 0,
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
    /// Where in `topics` each name is.
    names: HashMap<Vec<u8>, usize>,
    topics: Vec<Topic>,
    /// Those that messages came in for during this turn.
    moved: Vec<usize>,
    /// How many of `peers` have something unsent.
    unsent: usize,
    buffer: Vec<u8>,
}

#[derive(Default)]
struct Topic {
    /// Keys of `peers`.
    subscribers: Vec<usize>,
    head: u64,
    /// The frames that came in during this turn, joined.
    run: Vec<u8>,
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
        let mut gone = Vec::new();
        for topic in self.moved.drain(..) {
            let Topic { subscribers, run, .. } = &mut self.topics[topic];
            for key in &*subscribers {
                if self.peers[*key].send(run, &mut self.unsent).is_err() {
                    gone.push(*key);
                }
            }
            run.clear();
        }
        gone.into_iter().for_each(|key| self.remove(key));
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
        let (names, topics, moved) = (&mut self.names, &mut self.topics, &mut self.moved);
        let mut replies = Vec::new();
        let open = wire::read_through(&*stream, rest, &mut self.buffer, |bytes| {
            let mut used = 0;
            if !*upgraded {
                let Some(head) = wire::http_head(bytes) else {
                    return Ok(0);
                };
                *upgraded = true;
                used = head;
                replies.extend_from_slice(wire::accepted(&bytes[..head])?.as_bytes());
                wire::push_server_frame(wire::TEXT, br#"{"type":"welcome"}"#, &mut replies);
            }
            while let Some(frame) = wire::next_frame(&mut bytes[used..])? {
                used += frame.bytes;
                if frame.opcode != wire::TEXT {
                    continue;
                }
                let name = topic_of(frame.payload).ok_or("no topic")?;
                let at = *names.entry(name.to_vec()).or_insert_with(|| {
                    topics.push(Topic::default());
                    topics.len() - 1
                });
                let topic = &mut topics[at];
                let event = if wire::find(frame.payload, br#""subscribe""#).is_some() {
                    topic.subscribers.push(key);
                    "subscribed"
                } else {
                    if topic.run.is_empty() {
                        moved.push(at);
                    }
                    topic.head += 1;
                    push_message(name, topic.head, frame.payload, &mut topic.run)?;
                    "published"
                };
                let id = wire::number_after(frame.payload, br#""id":"#).ok_or("no id")?;
                let name = String::from_utf8_lossy(name);
                let text = format!(r#"{{"type":"{event}","id":{id},"topic":"{name}","offset":{}}}"#, topic.head);
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
            self.topics.iter_mut().for_each(|topic| topic.subscribers.retain(|subscriber| *subscriber != key));
        }
    }
}

/// The topic of a command, or the first of several.
fn topic_of(command: &[u8]) -> Option<&[u8]> {
    let starts = [&br#""topic":""#[..], br#""topics":[""#];
    let start = starts.into_iter().find_map(|start| Some(wire::find(command, start)? + start.len()))?;
    command[start..].split(|byte| *byte == b'"').next()
}

/// Turns a publish into the message that goes out: its data is the last thing in either.
fn push_message(topic: &[u8], offset: u64, publish: &[u8], run: &mut Vec<u8>) -> Result<()> {
    let data = wire::find(publish, br#""data":"#).ok_or("no data")?;
    let mut text = Vec::with_capacity(publish.len() + 16);
    text.extend_from_slice(br#"{"type":"message","topic":""#);
    text.extend_from_slice(topic);
    write!(text, r#"","offset":{offset},"#)?;
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
