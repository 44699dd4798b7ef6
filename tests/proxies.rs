//! nginx and HAProxy in front, with the configurations of `docs/deploy/`.
//!
//! Where they are missing the tests fail: `scripts/setup` installs them.

#![cfg(feature = "server")]

#[path = "support/command.rs"]
mod command;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use miniz_oxide::inflate::decompress_to_vec;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::http::Request;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client claims, in vain.
const FORGED: [(&str, &str); 3] =
    [("X-Forwarded-For", "203.0.113.1"), ("Forwarded", "for=203.0.113.2"), ("X-Forwarded-For", "127.0.0.1")];

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A fanfare server with a listener of each kind.
struct Fanfare {
    _child: Running,
    http: SocketAddr,
    proxy: SocketAddr,
    /// Kept open: a server whose standard output is gone has nobody to announce itself to.
    _stdout: BufReader<ChildStdout>,
}

impl Fanfare {
    fn with(settings: &[(&str, &str)]) -> Fanfare {
        let both = [
            ("server.listen", "127.0.0.1:0"),
            ("server.proxy_protocol", "127.0.0.1:0"),
            ("server.trusted_proxies", "127.0.0.1"),
            ("limits.exempt", ""),
        ];
        let mut child =
            command::command(&[&both, settings].concat()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut address = |scheme: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("standard output can be read");
            line.trim_end().strip_prefix(scheme).and_then(|address| address.parse().ok()).expect("an address")
        };
        let (http, proxy) = (address("http://"), address("proxy://"));
        Fanfare { _child: Running(child), http, proxy, _stdout: stdout }
    }
}

/// A proxy in front of a server, as clients see it.
struct Front {
    _proxy: Running,
    address: SocketAddr,
}

/// What stands in a file of `docs/deploy/`, some of it replaced. All of it has to be there.
fn deployed(file: &str, replaced: &[(&str, &str)]) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/deploy").join(file);
    let text = fs::read_to_string(path).expect("a configuration");
    replaced.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{file} has no {from:?}");
        text.replace(from, to)
    })
}

/// A port that is free and stays so until a proxy takes it: no other test of this program is given it, and it is below
/// those that the kernel gives to whoever connects or asks for any, as everybody else on this machine does.
fn free() -> SocketAddr {
    const FIRST: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("a range of ports");
    let end = range.split_whitespace().next().and_then(|port| port.parse::<u16>().ok()).expect("a port");
    let ports = end.checked_sub(FIRST).filter(|ports| *ports > 0).expect("ports that nobody is given");
    // Two of these programs at a time begin at different places.
    let begin = (std::process::id() * 64 % u32::from(ports)) as u16;
    let tried = (0..ports).map(|_| NEXT.fetch_add(1, Ordering::Relaxed));
    let mut addresses = tried.map(|nth| {
        let port = FIRST + ((u32::from(begin) + u32::from(nth)) % u32::from(ports)) as u16;
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    });
    addresses.find(|address| TcpListener::bind(address).is_ok()).expect("a port")
}

/// Starts a proxy, and waits until it passes something on.
fn start(mut command: Command, address: SocketAddr) -> Front {
    let program = command.get_program().to_owned();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let child = child.unwrap_or_else(|error| panic!("{program:?}: {error}; scripts/setup installs it"));
    let front = Front { _proxy: Running(child), address };
    let begin = Instant::now();
    while !is_ready(address) {
        assert!(begin.elapsed() < PATIENCE, "{program:?} serves nothing at {address}");
        sleep(Duration::from_millis(50));
    }
    front
}

fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// A folder of the test's own.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("proxies-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder below target/");
    folder
}

type Start = fn(&Fanfare, quiet: &str) -> Front;

/// Every way through, each with a limit to how long either side may be quiet.
const WAYS: [(&str, Start); 4] = [
    ("nginx", nginx),
    ("HAProxy, HTTP", |fanfare, quiet| haproxy(fanfare, quiet, "http", "send-proxy-v2")),
    ("HAProxy, PROXY v2", |fanfare, quiet| haproxy(fanfare, quiet, "bytes", "send-proxy-v2")),
    ("HAProxy, PROXY v1", |fanfare, quiet| haproxy(fanfare, quiet, "bytes", "send-proxy")),
];

fn nginx(fanfare: &Fanfare, quiet: &str) -> Front {
    let address = free();
    let folder = folder(&format!("nginx-{}", address.port()));
    let of = |name: &str| folder.join(name).display().to_string();
    // Debian's paths belong to the service that its package runs.
    let own: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {};\n", of(kind)))
        .chain(["access_log off;\n".to_owned()])
        .collect();
    let text = deployed(
        "nginx.conf",
        &[
            ("127.0.0.1:7070", &fanfare.http.to_string()),
            ("listen 80;", &format!("listen {address};")),
            ("60s", quiet),
            ("worker_connections 20000;", "worker_connections 500;"),
            ("http {\n", &format!("http {{\n{own}")),
        ],
    );
    let file = of("nginx.conf");
    fs::write(&file, text).expect("a file below target/");
    let mut command = Command::new("/usr/sbin/nginx");
    let globals = format!("daemon off; master_process off; pid {}; error_log stderr crit;", of("pid"));
    command.args(["-e", "stderr", "-c", &file, "-g", &globals]);
    start(command, address)
}

fn haproxy(fanfare: &Fanfare, quiet: &str, way: &str, introduction: &str) -> Front {
    let (web, bytes) = (free(), free());
    let text = deployed(
        "haproxy.cfg",
        &[
            ("server one 127.0.0.1:7070", &format!("server one {}", fanfare.http)),
            ("server one 127.0.0.1:7071 send-proxy-v2", &format!("server one {} {introduction}", fanfare.proxy)),
            ("bind :8080", &format!("bind {bytes}")),
            ("bind :80", &format!("bind {web}")),
            ("60s", quiet),
            ("maxconn 20000", "maxconn 500"),
        ],
    );
    let address = if way == "http" { web } else { bytes };
    let file = folder(&format!("haproxy-{}", address.port())).join("haproxy.cfg");
    fs::write(&file, text).expect("a file below target/");
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-q").arg("-db").arg("-f").arg(file);
    start(command, address)
}

/// A client at the address 127.0.0.`from`.
fn dial(front: &Front, from: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0)).into()).expect("an address of this machine");
    socket.connect(&front.address.into()).expect("the proxy accepts");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    stream
}

fn request(front: &Front, headers: &[(&str, &str)]) -> Request<()> {
    let request = Request::get(format!("ws://{}/ws", front.address))
        .header("Host", front.address.to_string())
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(()).expect("a request")
}

/// A WebSocket through the proxy, or the status that it was refused with and when to come back.
fn connect(front: &Front, from: u8, headers: &[(&str, &str)]) -> Result<WebSocket<TcpStream>, (u16, Option<String>)> {
    match client(request(front, headers), dial(front, from)) {
        Ok((mut socket, _)) => {
            assert_eq!(recv(&mut socket)["type"], "welcome");
            Ok(socket)
        }
        Err(error) => match error {
            tokio_tungstenite::tungstenite::HandshakeError::Failure(Error::Http(response)) => {
                let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
                Err((response.status().as_u16(), retry_after.map(str::to_owned)))
            }
            other => panic!("{other}"),
        },
    }
}

fn recv(socket: &mut WebSocket<TcpStream>) -> Value {
    loop {
        match socket.read() {
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Text(text)) => return serde_json::from_str(&text).expect("the server writes JSON"),
            other => panic!("an event was expected, not {other:?}"),
        }
    }
}

fn send(socket: &mut WebSocket<TcpStream>, command: &Value) {
    socket.send(Message::text(command.to_string())).expect("the proxy takes a message");
}

#[test]
fn a_conversation_takes_place_through_each_proxy() {
    let fanfare = Fanfare::with(&[]);
    for (way, start) in WAYS {
        let front = start(&fanfare, "60s");
        let mut socket = connect(&front, 2, &[]).unwrap_or_else(|refused| panic!("{way}: {refused:?}"));
        send(&mut socket, &json!({"type": "subscribe", "id": 1, "topic": way.split(',').next()}));
        assert_eq!(recv(&mut socket)["type"], "subscribed", "{way}");
        for length in [1, 60_000] {
            let data = "x".repeat(length);
            send(&mut socket, &json!({"type": "publish", "topic": way.split(',').next(), "data": data}));
            assert_eq!(recv(&mut socket)["data"], json!(data), "{way}");
        }
        socket.close(None).expect("a close can be sent");
        while socket.read().is_ok() {}
    }
}

#[test]
fn clients_are_told_apart_by_their_addresses_whatever_they_claim() {
    for (way, start) in WAYS {
        let fanfare = Fanfare::with(&[("limits.connections_per_address", "2"), ("server.deny", "127.0.0.9")]);
        let front = start(&fanfare, "60s");
        let _two = [connect(&front, 2, &[]), connect(&front, 2, &[])].map(|socket| socket.expect("two are allowed"));
        // The proxy's own are its health checks, which have no connection.
        for forged in [&[][..], &FORGED[..1], &FORGED[1..2], &FORGED[2..], &FORGED] {
            let (status, retry_after) = connect(&front, 2, forged).expect_err("a third one is refused");
            assert_eq!((status, retry_after.is_some()), (429, true), "{way}, {forged:?}");
        }
        assert!(connect(&front, 3, &[]).is_ok(), "{way}");
        assert_eq!(connect(&front, 9, &[]).err().map(|(status, _)| status), Some(403), "{way}");
    }
}

#[test]
fn messages_stay_compressed_on_the_way() {
    let fanfare = Fanfare::with(&[]);
    for (way, start) in WAYS {
        let front = start(&fanfare, "60s");
        let mut stream = dial(&front, 2);
        let topic = format!("compressed.{}", front.address.port());
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            front.address
        );
        stream.write_all(head.as_bytes()).expect("the proxy takes a request");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(answer.contains("sec-websocket-extensions: permessage-deflate"), "{way}: {answer}");
        assert_eq!(frame(&mut stream).0, 0x81, "{way}: a welcome");

        let text = "the same again ".repeat(100);
        for command in [
            json!({"type": "subscribe", "id": 1, "topic": topic}),
            json!({"type": "publish", "topic": topic, "data": text}),
        ] {
            stream.write_all(&masked(command.to_string().as_bytes())).expect("the proxy takes a frame");
        }
        assert_eq!(frame(&mut stream).0, 0x81, "{way}: subscribed");
        // RFC 7692, 6: RSV1 of the first frame.
        let (first, payload) = frame(&mut stream);
        assert_eq!(first, 0xC1, "{way}");
        assert!(payload.len() < 200, "{way}: {} bytes", payload.len());
        let inflated = decompress_to_vec(&[&payload[..], &[0, 0, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF]].concat());
        let event: Value = serde_json::from_slice(&inflated.expect("it is DEFLATE")).expect("it is JSON");
        assert_eq!(event["data"], text, "{way}");
    }
}

/// The first byte and the payload of the next frame, which is not longer than 64 KiB.
fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    let mut length = usize::from(head[1]);
    if length == 126 {
        let mut long = [0; 2];
        stream.read_exact(&mut long).expect("a length");
        length = usize::from(u16::from_be_bytes(long));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).expect("a payload");
    (head[0], payload)
}

/// A text frame as a client must send it, with a mask that changes nothing.
fn masked(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short command");
    let mut frame = if length < 126 { vec![0x81, 0x80 | length as u8] } else { vec![0x81, 0xFE] };
    if length >= 126 {
        frame.extend(length.to_be_bytes());
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[test]
fn heartbeats_keep_a_quiet_connection_open_that_the_proxy_would_cut() {
    // As in docs/deploy, on a smaller scale: heartbeats come more than twice as often as the proxy wants to see something.
    let (beating, silent) = (Fanfare::with(&[("keep_alive.heartbeat_ms", "400")]), Fanfare::with(&[]));
    for (way, start) in WAYS {
        let (kept, cut) = (start(&beating, "1s"), start(&silent, "1s"));
        let (mut kept, mut cut) = (connect(&kept, 2, &[]).expect("let in"), connect(&cut, 2, &[]).expect("let in"));
        let begin = Instant::now();
        kept.get_ref().set_read_timeout(Some(Duration::from_millis(100))).expect("a socket takes a time limit");
        while begin.elapsed() < Duration::from_secs(4) {
            // Reading answers pings.
            match kept.read() {
                Ok(Message::Ping(_)) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                other => panic!("{way}: {other:?} after {:?}", begin.elapsed()),
            }
        }
        kept.get_ref().set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
        send(&mut kept, &json!({"type": "ping", "id": 1}));
        assert_eq!(recv(&mut kept)["type"], "pong", "{way}");
        // Else nothing was shown.
        assert!(cut.read().is_err(), "{way}: the proxy does not cut what is quiet");
    }
}
