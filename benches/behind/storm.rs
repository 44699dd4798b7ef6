//! "Everybody reconnects": clients that ask for all of a topic at the same moment.
//!
//! One of them reads what it gets as a client would: every offset, every payload. The others have to get the same
//! bytes, and comparing them is what they do, so that the load is not what is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::Result;
use crate::support::wire;

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) topic: &'a str,
    pub(crate) epoch: &'a str,
    /// How many messages the topic holds, from the first.
    pub(crate) messages: u64,
    /// What each of them ends with.
    pub(crate) tail: &'a str,
}

/// How long anything may stand still before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

const BUFFER_BYTES: usize = 256 * 1024;

/// Publishes what is to be asked for; returns the epoch of the topic.
pub(crate) fn publish(address: SocketAddr, topic: &str, messages: u64, data: &str) -> Result<String> {
    let mut client = welcomed(address)?;
    let mut epoch = String::new();
    let mut got = Vec::new();
    let mut buffer = [0; 1024];
    for id in 1..=messages {
        let text = format!(r#"{{"type":"publish","id":{id},"topic":"{topic}","data":{data}}}"#);
        let mut frame = Vec::new();
        wire::push_client_frame(wire::TEXT, text.as_bytes(), &mut frame);
        client.write_all(&frame)?;
        got.clear();
        let reply = loop {
            let count = client.read(&mut buffer)?;
            got.extend_from_slice(&buffer[..count]);
            match wire::next_frame(&mut got)? {
                Some(frame) => break String::from_utf8(frame.payload.to_vec())?,
                None if count == 0 => return Err("the server closed a connection".into()),
                None => {}
            }
        };
        let (_, named) = reply.split_once(r#""epoch":""#).ok_or_else(|| format!("not published: {reply}"))?;
        named.split('"').next().unwrap_or_default().clone_into(&mut epoch);
    }
    Ok(epoch)
}

/// Connections that have been welcomed and have asked for nothing.
pub(crate) struct Storm {
    epoll: OwnedFd,
    clients: Vec<TcpStream>,
}

impl Storm {
    pub(crate) fn gather(address: SocketAddr, count: usize) -> Result<Storm> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let clients = (0..count).map(|_| welcomed(address)).collect::<Result<Vec<TcpStream>>>()?;
        for (nth, client) in clients.iter().enumerate() {
            client.set_nonblocking(true)?;
            epoll::add(&epoll, client, epoll::EventData::new_u64(nth as u64), epoll::EventFlags::IN)?;
        }
        Ok(Storm { epoll, clients })
    }

    /// All of them ask at once. Returns how long it took until each had all of `expected`.
    pub(crate) fn break_loose(self, asked: Asked<'_>, expected: &[u8]) -> Result<Duration> {
        let frame = asked.frame();
        let mut at = vec![0; self.clients.len()];
        let mut waiting = self.clients.len();
        let mut events = Vec::with_capacity(1024);
        let mut buffer = vec![0; BUFFER_BYTES];
        let patience = Timespec::try_from(PATIENCE)?;
        let start = Instant::now();
        for mut client in &self.clients {
            client.write_all(&frame)?;
        }
        while waiting > 0 {
            events.clear();
            if epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&patience))? == 0 {
                return Err(format!("{waiting} clients still wait").into());
            }
            for event in &events {
                let nth = usize::try_from(event.data.u64())?;
                let read = (&self.clients[nth]).read(&mut buffer)?;
                let due = &expected[at[nth]..];
                if read == 0 || !due.starts_with(&buffer[..read]) {
                    return Err(format!("client {nth} got something else, {} bytes in", at[nth]).into());
                }
                at[nth] += read;
                waiting -= usize::from(at[nth] == expected.len());
            }
        }
        Ok(start.elapsed())
    }
}

/// What every client gets that asks for it, once one of them has found it to be right.
pub(crate) fn expected(address: SocketAddr, asked: Asked<'_>) -> Result<Vec<u8>> {
    let mut client = welcomed(address)?;
    client.write_all(&asked.frame())?;
    let (mut got, mut read) = (Vec::new(), 0);
    let mut offset = None;
    let mut buffer = vec![0; BUFFER_BYTES];
    while offset != Some(asked.messages) {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Err("the server closed a connection".into());
        }
        got.extend_from_slice(&buffer[..count]);
        while let Some(frame) = wire::next_frame(&mut got[read..])? {
            read += frame.bytes;
            offset = Some(asked.check(frame.payload, offset)?);
        }
    }
    if read == got.len() { Ok(got) } else { Err("more came than was asked for".into()) }
}

impl Asked<'_> {
    fn frame(self) -> Vec<u8> {
        let Asked { topic, epoch, .. } = self;
        let since = format!(r#"{{"epoch":"{epoch}","offset":0}}"#);
        let text = format!(r#"{{"type":"subscribe","id":1,"topic":"{topic}","since":{since}}}"#);
        let mut frame = Vec::new();
        wire::push_client_frame(wire::TEXT, text.as_bytes(), &mut frame);
        frame
    }

    /// The offset at which a client stands that stood at `before`, or had no answer yet, and got this event.
    fn check(self, event: &[u8], before: Option<u64>) -> Result<u64> {
        let wrong = || format!("after {before:?} came {}", String::from_utf8_lossy(event));
        let offset = wire::number_after(event, br#""offset":"#).ok_or_else(wrong)?;
        let right = match before {
            None => {
                event.starts_with(br#"{"type":"subscribed""#)
                    && wire::find(event, br#""recovered":true"#).is_some()
                    && offset == 0
            }
            Some(before) => {
                event.starts_with(br#"{"type":"message""#)
                    && event.ends_with(self.tail.as_bytes())
                    && offset == before + 1
            }
        };
        if right { Ok(offset) } else { Err(wrong().into()) }
    }
}

/// A connection that has been upgraded and has read its welcome.
fn welcomed(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(wire::upgrade(&address.to_string(), false).as_bytes())?;
    let mut got = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err("the server closed a connection".into());
        }
        got.extend_from_slice(&buffer[..count]);
        let Some(head) = wire::http_head(&got) else { continue };
        wire::check_accepted(&got[..head])?;
        let all = got.len() - head;
        match wire::next_frame(&mut got[head..])? {
            Some(frame) if frame.bytes == all && frame.payload.starts_with(br#"{"type":"welcome""#) => {
                return Ok(stream);
            }
            Some(_) => return Err("a connection does not begin with its welcome".into()),
            None => {}
        }
    }
}
