//! Somebody between the load generator and the real server, who forges what the server says.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// What becomes of every tenth message, the fifth first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Forgery {
    Nothing,
    /// It claims to be of another topic.
    Topic,
    /// It has the next one's number.
    Offset,
    /// It is left out, with an announcement.
    Gap,
    /// It and the next one are left out, and only the next one is announced.
    LateGap,
}

/// Starts it in front of `server`, and returns its address. Its threads end with the test.
pub(crate) fn start(server: SocketAddr, forgery: Forgery) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/ws", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(server) else {
                return;
            };
            let (from, to) = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
            thread::spawn(move || pass_on(from, to));
            thread::spawn(move || forge(server, client, forgery));
        }
    });
    url
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    // Both ends may hang up whenever they like.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn forge(mut server: TcpStream, mut client: TcpStream, forgery: Forgery) {
    let mut forger = Forger { forgery, upgraded: false, messages: 0 };
    let mut input = Vec::new();
    let mut piece = [0; 16 * 1024];
    while let Ok(count @ 1..) = server.read(&mut piece) {
        input.extend_from_slice(&piece[..count]);
        let mut out = Vec::new();
        let used = forger.take(&input, &mut out);
        input.drain(..used);
        if client.write_all(&out).is_err() {
            break;
        }
    }
    // The other end may have hung up.
    let _ = client.shutdown(Shutdown::Both);
}

struct Forger {
    forgery: Forgery,
    upgraded: bool,
    messages: usize,
}

impl Forger {
    /// Takes what is complete of what the server said, and says how much that is.
    fn take(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut used = 0;
        if !self.upgraded {
            let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                return 0;
            };
            used = end + 4;
            self.upgraded = true;
            out.extend_from_slice(&input[..used]);
        }
        while let [first, second, rest @ ..] = &input[used..] {
            let (head, length) = match (second, rest) {
                (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
                (0..=125, _) => (2, usize::from(*second)),
                // Nothing here is longer than 64 kB.
                _ => break,
            };
            let Some(payload) = input.get(used + head..used + head + length) else {
                break;
            };
            used += head + length;
            match std::str::from_utf8(payload) {
                Ok(text) if text.starts_with(r#"{"type":"message""#) => {
                    self.messages += 1;
                    if let Some(text) = self.forged(text) {
                        push_frame(0x81, text.as_bytes(), out);
                    }
                }
                _ => push_frame(*first, payload, out),
            }
        }
        used
    }

    /// What is said in place of a message, if anything.
    fn forged(&self, text: &str) -> Option<String> {
        let offset: u64 = between(text, r#""offset":"#, ",").parse().expect("a message has a number");
        let topic = between(text, r#""topic":""#, "\"");
        let gap =
            format!(r#"{{"type":"gap","topic":"{topic}","epoch":"x","from":{offset},"to":{offset},"reason":"slow"}}"#);
        match (self.forgery, self.messages % 10) {
            (Forgery::Topic, 5) => Some(text.replacen("bench.0", "bench.1", 1)),
            (Forgery::Offset, 5) => {
                Some(text.replacen(&format!(r#""offset":{offset},"#), &format!(r#""offset":{},"#, offset + 1), 1))
            }
            (Forgery::Gap, 5) | (Forgery::LateGap, 6) => Some(gap),
            (Forgery::LateGap, 5) => None,
            _ => Some(text.to_owned()),
        }
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).expect("it stands there");
    rest.split_once(after).expect("it ends").0
}

fn push_frame(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    match u8::try_from(payload.len()) {
        Ok(short @ ..=125) => out.push(short),
        _ => {
            out.push(126);
            out.extend(u16::try_from(payload.len()).expect("nothing is that long").to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}
