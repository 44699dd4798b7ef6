//! A plain HTTP/1.1 client: one request, one response.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::PATIENCE;
use crate::server::Server;

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn parse(bytes: &[u8]) -> Reply {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = std::str::from_utf8(&bytes[..end]).expect("a head is ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Reply {
            status: status.expect("a status"),
            headers: lines.map(header).collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }

    /// The response has this status and an error with this code.
    #[track_caller]
    pub(crate) fn expect_error(&self, status: u16, code: &str) {
        let body = self.json();
        assert_eq!((self.status, body["error"]["code"].as_str()), (status, Some(code)), "{body}");
        assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    }
}

/// Sends a request with these header lines after `Host: localhost`, unless they have a host.
pub(crate) fn request(server: &Server, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut head = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += "Host: localhost\r\n";
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let mut stream = TcpStream::connect(server.address()).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    stream.write_all(head.as_bytes()).expect("the server takes a request");
    // A server that refuses early may not take all of it.
    let _ = stream.write_all(body);
    let mut response = Vec::new();
    let read = stream.read_to_end(&mut response);
    assert!(read.is_ok() || !response.is_empty(), "{read:?}");
    Reply::parse(&response)
}

pub(crate) fn get(server: &Server, target: &str) -> Reply {
    request(server, "GET", target, &[], b"")
}

/// Publishes with a JSON body.
pub(crate) fn publish(server: &Server, body: &Value) -> Reply {
    request(server, "POST", "/v1/publish", &[("Content-Type", "application/json")], body.to_string().as_bytes())
}

/// A figure of `/metrics`, by its whole name.
#[track_caller]
pub(crate) fn metric(server: &Server, name: &str) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    let reply = loop {
        let reply = get(server, "/metrics");
        // An address is barred for a while after a connection of it was closed for its rates.
        if reply.status != 429 || Instant::now() > deadline {
            break reply;
        }
        thread::sleep(Duration::from_millis(100));
    };
    let value = reply.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name}: {}", reply.text()))
}
