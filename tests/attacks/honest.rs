//! The honest clients beside an attack: subscribers of one topic, and a publisher with a steady pace.
//!
//! One thread serves them all. Each message says when it was sent, so that its way can be timed; each
//! subscriber has to see every message, in order, and nothing in place of one.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use serde_json::Value;

use crate::PATIENCE;
use crate::frames::frame;
use crate::measure::{go_first, pin};
use crate::peer::{self, PONG, TEXT, handshake};

const TOPIC: &str = "honest.news";

/// From one message to the next.
const PACE: Duration = Duration::from_millis(20);

/// The clients, until they are asked what they have seen.
pub(crate) struct Crowd {
    ends: Arc<AtomicBool>,
    /// How long messages took since somebody last looked. Guards nothing else.
    times: Arc<Mutex<Vec<Duration>>>,
    thread: JoinHandle<Seen>,
}

/// What they have seen at the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) published: u64,
    /// Messages that did not come to somebody.
    pub(crate) lost: u64,
}

impl Crowd {
    /// So many subscribers. If they are told a processor they go first there: in the world they have their own.
    pub(crate) fn gather(server: SocketAddr, size: usize, token: Option<String>, processor: Option<usize>) -> Crowd {
        let (ends, times) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (told, tells) = mpsc::channel();
        let thread = thread::spawn({
            let (ends, times) = (Arc::clone(&ends), Arc::clone(&times));
            move || {
                if let Some(processor) = processor {
                    pin(processor);
                    go_first();
                }
                let mut clients = Clients::connect(server, size, token.as_deref(), times);
                told.send(()).expect("somebody waits for the crowd");
                clients.serve(&ends)
            }
        });
        tells.recv_timeout(PATIENCE).expect("honest clients are let in");
        Crowd { ends, times, thread }
    }

    /// How long the messages of the next so many seconds take.
    pub(crate) fn time(&self, lasting: Duration) -> Vec<Duration> {
        self.take();
        thread::sleep(lasting);
        self.take()
    }

    fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut self.times.lock().expect("no panic"))
    }

    /// Waits until all that was published has come.
    pub(crate) fn part(self) -> Seen {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("honest clients are served to the end")
    }
}

struct Clients {
    epoll: OwnedFd,
    /// The last one publishes.
    clients: Vec<Client>,
    begin: Instant,
    published: u64,
    times: Arc<Mutex<Vec<Duration>>>,
}

struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
    /// The last message that it has seen.
    at: u64,
}

impl Clients {
    fn connect(server: SocketAddr, size: usize, token: Option<&str>, times: Arc<Mutex<Vec<Duration>>>) -> Clients {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance");
        let clients = (0..=size).map(|number| {
            let mut peer = peer::Peer::to(server);
            let credentials = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
            peer.write(handshake(&credentials).as_bytes());
            assert_eq!(peer.status(), Some(101));
            assert!(peer.event().is_some_and(|event| event["type"] == "welcome"));
            if number < size {
                peer.send(&format!(r#"{{"type":"subscribe","id":1,"topic":"{TOPIC}"}}"#));
                assert!(peer.event().is_some_and(|event| event["type"] == "subscribed"));
            }
            let stream = peer.into_stream();
            stream.set_nonblocking(true).expect("a socket need not wait");
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)
                .expect("a socket can be watched");
            Client { stream, unread: Vec::new(), at: 0 }
        });
        let clients = clients.collect();
        Clients { epoll, clients, begin: Instant::now(), published: 0, times }
    }

    fn serve(&mut self, ends: &AtomicBool) -> Seen {
        let mut due = Instant::now();
        let mut deadline = None;
        loop {
            let now = Instant::now();
            if ends.load(Ordering::Relaxed) {
                let deadline = *deadline.get_or_insert(now + PATIENCE);
                let (_, subscribers) = self.clients.split_last().expect("a publisher");
                if now > deadline || subscribers.iter().all(|client| client.at == self.published) {
                    let lost = subscribers.iter().map(|client| self.published - client.at).sum();
                    return Seen { published: self.published, lost };
                }
            } else if now >= due {
                self.publish();
                due = (due + PACE).max(now);
            }
            self.read(due.saturating_duration_since(Instant::now()).min(PACE));
        }
    }

    fn publish(&mut self) {
        self.published += 1;
        let at = self.begin.elapsed().as_nanos();
        let text = format!(r#"{{"type":"publish","topic":"{TOPIC}","data":{at}}}"#);
        let publisher = self.clients.last_mut().expect("a publisher");
        publisher.stream.write_all(&frame(TEXT, text.as_bytes())).expect("the publisher is served");
    }

    fn read(&mut self, patience: Duration) {
        let mut events = Vec::with_capacity(64);
        let timeout = Timespec::try_from(patience).expect("a short time");
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
        for event in events {
            let event: epoll::Event = event;
            let client = &mut self.clients[event.data.u64() as usize];
            client.fill();
            while let Some((first, payload)) = client.frame() {
                match first {
                    TEXT => {
                        if let Some(sent) = client.hear(&payload) {
                            let took = self.begin.elapsed().saturating_sub(Duration::from_nanos(sent));
                            self.times.lock().expect("no panic").push(took);
                        }
                    }
                    peer::PING => {
                        client.stream.write_all(&frame(PONG, &payload)).expect("an honest client is served");
                    }
                    _ => panic!("an honest client got a frame that begins with {first:#x}: {payload:?}"),
                }
            }
        }
    }
}

impl Client {
    fn fill(&mut self) {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => panic!("an honest client was hung up on"),
            Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("an honest client was cut off: {error}"),
        }
    }

    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, payload) = peer::whole_frame(&self.unread)?;
        let frame = (first, self.unread[payload.clone()].to_vec());
        self.unread.drain(..payload.end);
        Some(frame)
    }

    /// When the message was sent, if it is one. It is the next one: whatever came in place of it is a loss.
    fn hear(&mut self, text: &[u8]) -> Option<u64> {
        let event: Value = serde_json::from_slice(text).expect("the server writes JSON");
        match event["type"].as_str() {
            Some("message") => {
                self.at += 1;
                assert_eq!(event["offset"], self.at, "an honest client has missed something: {event}");
                event["data"].as_u64()
            }
            _ => panic!("an honest client was told {event}"),
        }
    }
}
