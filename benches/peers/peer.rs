//! The servers that are compared: how each is started, what is spoken to it, and what it cannot do.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::Result;
use crate::scenario::Scenario;
use crate::support::proc::Cores;
use crate::support::server::{PATIENCE, Server, fanfare, own, spawn};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Fanfare,
    /// The broker everybody writes in Rust,
    Naive,
    /// the same done better,
    Broadcast,
    /// and the one everybody writes in Node.
    Ws,
    SocketIo,
    Mosquitto,
    Nchan,
    Nats,
    /// The same bytes to the same sockets, and no broker.
    Floor,
}

/// Where configurations are filled in, and servers put what they need.
const DIRECTORY: &str = env!("CARGO_TARGET_TMPDIR");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

impl Peer {
    pub(crate) const ALL: [Peer; 9] = [
        Peer::Fanfare,
        Peer::Naive,
        Peer::Broadcast,
        Peer::Ws,
        Peer::SocketIo,
        Peer::Mosquitto,
        Peer::Nchan,
        Peer::Nats,
        Peer::Floor,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Broadcast => "fastwebsockets",
            Peer::SocketIo => "Socket.IO",
            Peer::Nats => "nats-server",
            other => other.option(),
        }
    }

    /// What `--only` calls it.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Peer::Fanfare => "fanfare",
            Peer::Naive => "naive",
            Peer::Broadcast => "broadcast",
            Peer::Ws => "ws",
            Peer::SocketIo => "socketio",
            Peer::Mosquitto => "mosquitto",
            Peer::Nchan => "nchan",
            Peer::Nats => "nats",
            Peer::Floor => "floor",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Peer> {
        let named = Peer::ALL.into_iter().find(|peer| peer.option() == name);
        named.ok_or_else(|| format!("unknown server {name}; --list has them").into())
    }

    /// Whether a smoke run has it.
    pub(crate) fn is_quick(self) -> bool {
        matches!(self, Peer::Fanfare | Peer::Naive | Peer::Broadcast | Peer::Ws | Peer::Floor)
    }

    /// The dialect of `fanfare bench` that it speaks.
    pub(crate) fn dialect(self) -> &'static str {
        match self {
            Peer::Fanfare | Peer::Naive | Peer::Broadcast | Peer::Ws | Peer::Floor => "fanfare",
            Peer::SocketIo => "socketio",
            Peer::Mosquitto => "mqtt",
            Peer::Nchan => "nchan",
            Peer::Nats => "nats",
        }
    }

    /// Why it is not measured there.
    pub(crate) fn cannot(self, scenario: &Scenario) -> Option<&'static str> {
        const BYTES: &str = "carries bytes of any kind, as it carries those of JSON";
        const NO_DEFLATE: &str = "has no permessage-deflate";
        match self {
            Peer::Naive | Peer::Broadcast | Peer::Mosquitto if scenario.deflate => Some(NO_DEFLATE),
            Peer::Floor if scenario.deflate => Some("compresses nothing"),
            Peer::Mosquitto | Peer::Nchan | Peer::Nats if scenario.msgpack => Some(BYTES),
            Peer::SocketIo if scenario.msgpack => Some("has it as another package, for both ends; not measured"),
            Peer::Naive | Peer::Broadcast | Peer::Ws | Peer::Floor if scenario.msgpack => Some("is written for JSON"),
            _ => None,
        }
    }

    /// Starts it, with compression if it is wanted.
    pub(crate) fn start(self, deflate: bool, cores: Option<Cores>) -> Result<Server> {
        let said = match self {
            Peer::Fanfare => fanfare(),
            Peer::Naive | Peer::Broadcast | Peer::Floor => own(&format!("--serve-{}", self.option()))?,
            Peer::Ws => node("topics.mjs", deflate),
            Peer::SocketIo => node("socketio.mjs", deflate),
            Peer::Mosquitto => {
                return at_a_free_port("mosquitto.conf", cores, &[], |path| {
                    program("mosquitto", &["-c".as_ref(), path])
                });
            }
            Peer::Nats => {
                let compression = if deflate { "true" } else { "false" };
                return at_a_free_port("nats.conf", cores, &[("@COMPRESSION@", compression)], |path| {
                    program("nats-server", &["-c".as_ref(), path])
                });
            }
            Peer::Nchan => {
                let deflate = if deflate { "on" } else { "off" };
                return at_a_free_port("nginx.conf", cores, &[("@DEFLATE@", deflate)], |path| {
                    program("nginx", &["-e".as_ref(), "stderr".as_ref(), "-c".as_ref(), path])
                });
            }
        };
        Server::start(said, &[], cores)
    }

    /// What it is, and of which version.
    pub(crate) fn version(self) -> String {
        match self {
            Peer::Fanfare => format!("fanfare {}, as it comes", env!("CARGO_PKG_VERSION")),
            Peer::Naive => format!(
                "*naive*: one `tokio::sync::broadcast` for all, JSON as values, a task and a write for each message and \
                 subscriber ([its source](../benches/fanout/naive.rs)); tokio-tungstenite {}",
                locked("tokio-tungstenite")
            ),
            Peer::Broadcast => format!(
                "*fastwebsockets*: a `tokio::sync::broadcast` for each topic ([its source](../benches/peers/broadcast.rs)); \
                 fastwebsockets {}, tokio {}",
                locked("fastwebsockets"),
                locked("tokio")
            ),
            Peer::Ws => format!(
                "*ws*: npm's ws {}, a loop over the followers of a topic ([its source](../tests/clients/peers/topics.mjs)); \
                 Node {}",
                npm("ws"),
                output("node", &["--version"], 0)
            ),
            Peer::SocketIo => format!(
                "*Socket.IO*: npm's socket.io {}, rooms ([its source](../tests/clients/peers/socketio.mjs))",
                npm("socket.io")
            ),
            Peer::Mosquitto => format!(
                "*mosquitto*: {}, MQTT 3.1.1 over WebSocket, QoS 0 ([its configuration](../benches/peers/mosquitto.conf))",
                output("mosquitto", &["-h"], 0).trim_start_matches("mosquitto ")
            ),
            Peer::Nchan => format!(
                "*nchan*: Debian's libnginx-mod-nchan {} in {}, published to by POST requests on a connection that stays \
                 ([its configuration](../benches/peers/nginx.conf))",
                output("dpkg-query", &["-W", "-f", "${Version}", "libnginx-mod-nchan"], 0),
                output("nginx", &["-v"], 0).trim_start_matches("nginx version: ")
            ),
            Peer::Nats => format!(
                "*nats-server*: {}, its own protocol over WebSocket ([its configuration](../benches/peers/nats.conf))",
                output("nats-server", &["--version"], 0).trim_start_matches("nats-server: ")
            ),
            Peer::Floor => {
                "*floor*: a program that writes the same bytes to the same sockets, what came in together in one \
                            write, and is no broker ([its source](../benches/fanout/floor.rs))"
                    .to_owned()
            }
        }
    }
}

/// A script of `tests/clients/peers`, where npm's packages are.
fn node(script: &str, deflate: bool) -> Command {
    let mut command = Command::new("node");
    // As it is run where it matters; some packages look at it.
    command.env("NODE_ENV", "production");
    command.arg(Path::new(ROOT).join("tests/clients/peers").join(script)).arg("0");
    if deflate {
        command.arg("deflate");
    }
    command
}

/// A program, by its name. Not everybody has /usr/sbin in the path.
fn program(name: &str, arguments: &[&std::ffi::OsStr]) -> Command {
    let at = Path::new("/usr/sbin").join(name);
    let mut command = if at.exists() { Command::new(at) } else { Command::new(name) };
    command.args(arguments);
    command
}

/// Fills in a configuration of this directory, and starts what `command` makes of it.
fn at_a_free_port(
    template: &str,
    cores: Option<Cores>,
    settings: &[(&str, &str)],
    command: impl Fn(&std::ffi::OsStr) -> Command,
) -> Result<Server> {
    /// Another process may take the port in between.
    const ATTEMPTS: usize = 3;
    let directory = Path::new(DIRECTORY).join("peers");
    fs::create_dir_all(&directory)?;
    let text = fs::read_to_string(Path::new(ROOT).join("benches/peers").join(template))?;
    let mut started = Err("it was never tried".into());
    for _ in 0..ATTEMPTS {
        let address = free_address()?;
        let mut text = text.replace("@PORT@", &address.port().to_string());
        text = text.replace("@DIRECTORY@", &directory.display().to_string());
        for (name, value) in settings {
            text = text.replace(name, value);
        }
        let path: PathBuf = directory.join(template);
        fs::write(&path, text)?;
        // What an earlier run has left behind, if it has.
        let _ = fs::remove_file(directory.join("mosquitto.sock"));
        let mut command = command(path.as_os_str());
        command.stderr(fs::File::create(path.with_extension("log"))?);
        started = start_at(address, command, cores);
        if started.is_ok() {
            break;
        }
    }
    started
}

/// A line of what a program says.
fn output(name: &str, arguments: &[&str], line: usize) -> String {
    let arguments: Vec<&std::ffi::OsStr> = arguments.iter().map(std::ffi::OsStr::new).collect();
    let output = program(name, &arguments).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().nth(line).unwrap_or("of unknown version").trim().to_owned()
}

/// The version of a crate that this was built with.
fn locked(name: &str) -> String {
    let lock = include_str!("../../Cargo.lock");
    let start = format!("name = \"{name}\"\nversion = \"");
    let version = lock.split_once(&start).and_then(|(_, rest)| rest.split_once('"'));
    version.map_or("of unknown version", |(version, _)| version).to_owned()
}

/// The version of a package of npm that is installed.
fn npm(name: &str) -> String {
    let path = Path::new(ROOT).join("tests/clients/peers/node_modules").join(name).join("package.json");
    let package = fs::read_to_string(path).unwrap_or_default();
    let package: serde_json::Value = serde_json::from_str(&package).unwrap_or_default();
    package["version"].as_str().unwrap_or("of unknown version").to_owned()
}

/// One that nobody has, and nobody has just had: not every server may take it over then.
fn free_address() -> Result<SocketAddr> {
    // The standard library's would reuse one.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket.local_addr()?.as_socket().ok_or("no address")?)
}

/// Starts a server that does not say where it listens, and waits until it does.
fn start_at(address: SocketAddr, mut command: Command, cores: Option<Cores>) -> Result<Server> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut server = Server { child: spawn(&mut command, cores)?, address };
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        if let Some(status) = server.child.try_wait()? {
            return Err(format!("it ended at once, with {status}").into());
        }
        if began.elapsed() > PATIENCE {
            return Err("it never listened".into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(server)
}
