//! Unix sockets, and listeners on which a proxy introduces each connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::PATIENCE;
use crate::raw::HANDSHAKE;
use crate::server::command;

/// A server, and what it says of where it listens.
struct Listening {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Listening {
    fn with(settings: &[(&str, &str)]) -> Listening {
        let mut child = command(settings).stdout(Stdio::piped()).spawn().expect("the fanfare command starts");
        let stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        Listening { child, stdout }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("standard output can be read");
        line.trim_end().to_owned()
    }

    /// Ends it in order.
    fn end(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is there to be told");
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A path that no other test uses, with nothing there.
fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("fanfare-{}-{name}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn written(path: &std::path::Path) -> String {
    format!("unix:{}", path.display())
}

fn dial(path: &std::path::Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    stream
}

/// The status of the answer to this, and all that comes with it.
fn ask(mut stream: impl Read + Write, bytes: &[u8]) -> (u16, String) {
    stream.write_all(bytes).expect("the server takes a request");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), text)
}

const TOPICS: &[u8] = b"GET /v1/topics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn recv<S: Read + Write>(socket: &mut WebSocket<S>) -> Value {
    match socket.read() {
        Ok(Message::Text(text)) => serde_json::from_str(&text).expect("JSON"),
        other => panic!("an event was expected, not {other:?}"),
    }
}

#[test]
fn a_unix_socket_is_served_like_any_other_and_removed_in_the_end() {
    let path = path("served");
    let mut server = Listening::with(&[("server.listen", &format!("127.0.0.1:0,{}", written(&path)))]);
    assert!(server.line().starts_with("http://127.0.0.1:"));
    assert_eq!(server.line(), written(&path));
    assert_eq!(ask(dial(&path), TOPICS).0, 200);

    let (mut socket, _) = client("ws://localhost/ws", dial(&path)).expect("the handshake succeeds");
    assert_eq!(recv(&mut socket)["type"], "welcome");
    for command in [
        json!({"type": "subscribe", "id": 1, "topic": "a"}),
        json!({"type": "publish", "topic": "a", "data": "x".repeat(50_000)}),
    ] {
        socket.send(Message::text(command.to_string())).expect("the server takes a message");
    }
    assert_eq!(recv(&mut socket)["type"], "subscribed");
    assert_eq!(recv(&mut socket)["data"].as_str().map(str::len), Some(50_000));
    // A script that sends all it has and ends its side is answered as long as it reads.
    let mut script = dial(&path);
    script.write_all(HANDSHAKE.as_bytes()).expect("the server takes bytes");
    script.shutdown(Shutdown::Write).expect("a socket can be half closed");
    let mut answer = Vec::new();
    script.read_to_end(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    socket.close(None).expect("a close can be sent");
    while socket.read().is_ok() {}
    server.end();
    assert!(!path.exists());
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
    let path = path("left");
    drop(UnixListener::bind(&path).expect("a path that is free"));
    assert!(path.exists());
    let mut server = Listening::with(&[("server.listen", &written(&path))]);
    assert_eq!(server.line(), written(&path));
    let second = command(&[("server.listen", &written(&path))]).output().expect("the fanfare command runs");
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("cannot listen on unix:"));
    // Nor is anything removed that is no socket.
    let file = self::path("file");
    std::fs::write(&file, "kept").expect("a file can be written");
    let third = command(&[("server.listen", &written(&file))]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert_eq!(third.expect("the fanfare command runs").code(), Some(1));
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "kept");
    std::fs::remove_file(&file).expect("it is there");
    assert_eq!(ask(dial(&path), TOPICS).0, 200);
    server.end();
}

#[test]
fn who_comes_through_a_unix_socket_counts_as_this_machine() {
    let path = path("local");
    let settings =
        [("server.listen", &*written(&path)), ("server.allow", "127.0.0.1"), ("server.trusted_proxies", "127.0.0.1")];
    let mut server = Listening::with(&settings);
    server.line();
    assert_eq!(ask(dial(&path), TOPICS).0, 200);
    let forwarded = String::from_utf8_lossy(TOPICS).replace("Host:", "X-Forwarded-For: 192.0.2.1\r\nHost:");
    assert_eq!(ask(dial(&path), forwarded.as_bytes()).0, 403);
    server.end();
}

/// A server with one listener for proxies, over TCP, and what it needs to be found there.
fn proxied(settings: &[(&str, &str)]) -> (Listening, impl Fn(&[u8]) -> (u16, String) + use<>) {
    let all = [settings, &[("server.listen", "127.0.0.1:0"), ("server.proxy_protocol", "127.0.0.1:0")]].concat();
    let mut server = Listening::with(&all);
    assert!(server.line().starts_with("http://"));
    let line = server.line();
    let address = line.strip_prefix("proxy://").expect("an address for proxies").to_owned();
    let ask = move |header: &[u8]| {
        let stream = TcpStream::connect(&address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
        // In one piece, so that what follows the header is there when it is read.
        ask(stream, &[header, TOPICS].concat())
    };
    (server, ask)
}

fn v2(command: u8, transport: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, transport, 0, addresses.len() as u8]);
    header.extend(addresses);
    header
}

#[test]
fn a_proxy_introduces_each_connection() {
    let (_server, ask) = proxied(&[("limits.commands_per_address", "1/s burst 1"), ("server.deny", "192.0.2.66")]);
    assert_eq!(ask(b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\n").0, 200);
    assert_eq!(ask(&v2(0x21, 0x11, &[192, 0, 2, 2, 10, 0, 0, 1, 1, 1, 0, 80])).0, 200);
    assert_eq!(ask(&v2(0x21, 0x11, &[192, 0, 2, 66, 10, 0, 0, 1, 1, 1, 0, 80])).0, 403);
    assert_eq!(ask(b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 80\r\n").0, 200);
    let refused = ask(b"PROXY TCP6 2001:db8::9 2001:db8::2 4712 80\r\n");
    assert_eq!(refused.0, 429, "{}", refused.1);
    // For itself it is this machine, and exempt.
    for own in [b"PROXY UNKNOWN\r\n".to_vec(), v2(0x20, 0, b""), v2(0x21, 0, b"")] {
        assert_eq!((ask(&own).0, ask(&own).0), (200, 200));
    }
}

#[test]
fn who_is_not_introduced_is_hung_up_on() {
    let path = path("proxied");
    let settings =
        [("server.listen", "127.0.0.1:0"), ("server.proxy_protocol", &*written(&path)), ("limits.header_ms", "300")];
    let mut server = Listening::with(&settings);
    server.line();
    assert_eq!(server.line(), format!("proxy+{}", written(&path)));
    let rest = |bytes: &[u8]| {
        let mut stream = dial(&path);
        stream.write_all(bytes).expect("the server takes bytes");
        let mut rest = Vec::new();
        // A reset, where it has not read all of it.
        let _ = stream.read_to_end(&mut rest);
        rest
    };
    assert_eq!(rest(HANDSHAKE.as_bytes()), b"");
    assert_eq!(rest(b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"), b"");
    let begin = Instant::now();
    assert_eq!(rest(b"PROXY TCP4 192.0"), b"");
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert_eq!(ask(dial(&path), &[b"PROXY UNKNOWN\r\n", TOPICS].concat()).0, 200);
    server.end();
}
