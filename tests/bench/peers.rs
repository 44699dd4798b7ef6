//! Servers that nobody here wrote, each a process of its own on a free port: mosquitto, nats-server, nginx with
//! nchan, `socket.io` and `ws` from npm, all as they are measured, and HAProxy with TLS in front of the real one.
//!
//! Where one is missing the test fails: `scripts/setup` installs them.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A running server, which ends with the test.
pub(crate) struct Peer {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn mosquitto() -> Peer {
    on_a_free_port("mosquitto", |port, path| {
        configure("mosquitto.conf", port, path, "");
        command("mosquitto", &["-c", text(path)])
    })
}

pub(crate) fn nats_server() -> Peer {
    on_a_free_port("nats", |port, path| {
        configure("nats.conf", port, path, "");
        command("nats-server", &["-c", text(path)])
    })
}

/// nginx with nchan, in one process, which ends as the others do.
pub(crate) fn nchan() -> Peer {
    on_a_free_port("nchan", |port, path| {
        configure("nginx.conf", port, path, "\nmaster_process off;\n");
        command("nginx", &["-e", "stderr", "-c", text(path)])
    })
}

/// Writes to `path` how a server is configured where it is measured, and `more`.
fn configure(template: &str, port: u16, path: &Path, more: &str) {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(template);
    let mut config = fs::read_to_string(template).expect("it is there");
    // Of its own, without what another one of this port has left behind.
    let directory = path.with_extension("d");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a temporary directory");
    let port = port.to_string();
    for (name, value) in
        [("@PORT@", port.as_str()), ("@DIRECTORY@", text(&directory)), ("@DEFLATE@", "on"), ("@COMPRESSION@", "true")]
    {
        config = config.replace(name, value);
    }
    fs::write(path, config + more).expect("a temporary file");
}

/// A script of `tests/clients/peers`, which says where it listens.
pub(crate) fn node(script: &str) -> Peer {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/peers").join(script);
    let mut command = command("node", &[text(&script)]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("node is there");
    let mut url = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut url).expect("it says where it listens");
    assert!(url.starts_with("ws://"), "{} says {url:?}; has scripts/setup been run?", script.display());
    Peer { child, url: url.trim().to_owned() }
}

/// HAProxy with a certificate of its own, and the file of whom to trust.
pub(crate) fn tls_in_front_of(server: SocketAddr) -> (Peer, PathBuf) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (key, certificate) = (directory.join("bench-tls.key"), directory.join("bench-tls.crt"));
    let options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bench \
                   -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    let mut openssl = command("openssl", &options.split_whitespace().collect::<Vec<_>>());
    let made = openssl.args(["-keyout", text(&key), "-out", text(&certificate)]).status();
    assert!(made.expect("openssl is there").success());
    let both = [&certificate, &key].map(|path| fs::read_to_string(path).expect("it was made")).concat();
    let pair = directory.join("bench-tls.pem");
    fs::write(&pair, both).expect("a temporary file");
    let mut peer = on_a_free_port("haproxy", |port, path| {
        let config = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             listen tls\n  bind 127.0.0.1:{port} ssl crt {}\n  server fanfare {server}\n",
            pair.display()
        );
        fs::write(path, config).expect("a temporary file");
        command("haproxy", &["-db", "-f", text(path)])
    });
    peer.url = peer.url.replace("ws://", "wss://") + "/ws";
    (peer, certificate)
}

/// Starts what `command` makes of a port and a path for its configuration, until it gets the port: another
/// process may take it in between.
fn on_a_free_port(name: &str, command: impl Fn(u16, &Path) -> Command) -> Peer {
    const ATTEMPTS: usize = 5;
    for _ in 0..ATTEMPTS {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}-{port}.conf"));
        let mut child = match command(port, &path).spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => panic!("{name} is missing; run scripts/setup"),
            Err(error) => panic!("{name}: {error}"),
        };
        let began = Instant::now();
        while child.try_wait().expect("a child of this process").is_none() {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Peer { child, url: format!("ws://127.0.0.1:{port}") };
            }
            assert!(began.elapsed() < PATIENCE, "{name} does not listen");
            sleep(Duration::from_millis(20));
        }
    }
    panic!("{name} does not start");
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    // Not everybody has /usr/sbin in the path.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    command.env("PATH", path).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths here are text")
}
