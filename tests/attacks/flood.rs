//! Many addresses that send the same as fast as one processor can, each on some connections, and return as
//! soon as they are sent away.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::peer::{Answer, CLOSE, whole_frame};
use crate::table::Doors;

/// What is written at once: the kernel of the attackers' processor serves nobody else meanwhile.
const WRITE_BYTES_MAX: usize = 16 * 1024;

/// What each of them does.
#[derive(Clone, Debug)]
pub(crate) struct Flood {
    pub(crate) doors: Doors,
    pub(crate) addresses: u8,
    pub(crate) connections_of_each: usize,
    /// What a connection begins with.
    pub(crate) opening: Vec<u8>,
    /// What it goes on with, again and again. If there is nothing it ends the connection as soon as it has begun.
    pub(crate) round: Vec<u8>,
    /// A connection goes on in the round where the one before it left off, at a multiple of so many bytes; each
    /// address begins at another.
    pub(crate) unit: usize,
}

struct Attacker {
    address: Ipv4Addr,
    stream: TcpStream,
    /// Bytes of the opening, and then of the round, that have been sent.
    opened: usize,
    at: usize,
    unread: Vec<u8>,
    is_upgraded: bool,
    answer: Option<Answer>,
}

impl Flood {
    /// Lasts so long; how often the connections ended, and with which answer.
    pub(crate) fn run(&self, server: SocketAddr, lasting: Duration) -> BTreeMap<Answer, u64> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance");
        let mut answers = BTreeMap::new();
        let addresses = (1..=self.addresses).map(|number| Ipv4Addr::new(127, 1, 0, number));
        let count = usize::from(self.addresses) * self.connections_of_each;
        let mut attackers: Vec<Attacker> = addresses
            .flat_map(|address| std::iter::repeat_n(address, self.connections_of_each))
            .enumerate()
            .map(|(number, address)| {
                let at = self.begin(self.round.len() / count * number);
                Attacker::new(address, server, number, at, &epoll)
            })
            .collect();
        let end = Instant::now() + lasting;
        let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
        let pause = Timespec::try_from(Duration::from_millis(10)).expect("a short time");
        while Instant::now() < end {
            events.clear();
            epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&pause)).unwrap_or(0);
            for event in &events {
                let number = event.data.u64() as usize;
                let attacker = &mut attackers[number];
                if !attacker.go_on(self) {
                    *answers.entry(attacker.answer.take().unwrap_or(Answer::HungUp)).or_default() += 1;
                    *attacker = Attacker::new(attacker.address, server, number, self.begin(attacker.at), &epoll);
                }
            }
        }
        answers
    }

    /// Where a connection begins that is to begin there.
    fn begin(&self, at: usize) -> usize {
        at - at % self.unit.max(1)
    }
}

impl Attacker {
    fn new(address: Ipv4Addr, server: SocketAddr, number: usize, at: usize, epoll: &OwnedFd) -> Attacker {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        // Its end is a reset: an address has no more than some ten thousand ports to wait with.
        socket.set_linger(Some(Duration::ZERO)).expect("a socket can be told how to end");
        socket.bind(&SocketAddr::from((address, 0)).into()).expect("an address of this machine");
        socket.set_nonblocking(true).expect("a socket need not wait");
        // In progress, or refused: it shows below.
        let _ = socket.connect(&server.into());
        let events = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        epoll::add(epoll, &socket, epoll::EventData::new_u64(number as u64), events).expect("a socket can be watched");
        let stream = TcpStream::from(socket);
        Attacker { address, stream, opened: 0, at, unread: Vec::new(), is_upgraded: false, answer: None }
    }

    /// Reads and writes as far as it goes without waiting; false at the end of the connection.
    fn go_on(&mut self, flood: &Flood) -> bool {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => self.hear(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        let (rest, is_opening) = match flood.opening.get(self.opened..) {
            Some(rest @ [_, ..]) => (rest, true),
            _ if flood.round.is_empty() => return false,
            _ => (&flood.round[self.at..], false),
        };
        match self.stream.write(&rest[..rest.len().min(WRITE_BYTES_MAX)]) {
            Ok(count) => {
                if is_opening {
                    self.opened += count;
                } else {
                    self.at = (self.at + count) % flood.round.len();
                }
                true
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// Notes how the server ends it.
    fn hear(&mut self, bytes: &[u8]) {
        if self.answer.is_some() {
            return;
        }
        self.unread.extend_from_slice(bytes);
        if !self.is_upgraded {
            let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") else { return };
            let status = self.unread.get(9..12).and_then(|status| str::from_utf8(status).ok()?.parse().ok());
            let status = status.expect("the server speaks HTTP");
            if status != 101 {
                self.answer = Some(Answer::Status(status));
                self.unread.clear();
                return;
            }
            self.is_upgraded = true;
            self.unread.drain(..end + 4);
        }
        let mut read = 0;
        while let Some((first, payload)) = whole_frame(&self.unread[read..]) {
            if first == CLOSE {
                let code = &self.unread[read..][payload.clone()];
                self.answer = Some(Answer::Close(u16::from_be_bytes([code[0], code[1]])));
            }
            read += payload.end;
        }
        self.unread.drain(..read);
    }
}
