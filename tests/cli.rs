//! The `fanfare` command, as a user of a shell meets it: what it prints where, and how it ends.

#![cfg(feature = "server")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn fanfare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("FANFARE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    Running::start(fanfare(arguments)).end()
}

#[track_caller]
fn assert_fails(output: &Output, with: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(with), "{errors:?} does not contain {with:?}");
    assert!(output.stdout.is_empty());
}

/// A process whose output is read as it comes, and which ends with the test.
struct Running {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.spawn().expect("the command starts");
        let out = lines(child.stdout.take().expect("piped"));
        let err = lines(child.stderr.take().expect("piped"));
        Running { child, out, err }
    }

    /// Reads standard error up to the line.
    #[track_caller]
    fn await_error(&self, line: &str) {
        while let Ok(came) = self.err.recv_timeout(PATIENCE) {
            if came == line {
                return;
            }
        }
        panic!("{line:?} was not said");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill is there").success());
    }

    /// Waits for the end, and gives what was not read yet.
    #[track_caller]
    fn end(mut self) -> Output {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child of this process") {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(5));
        };
        let text = |lines: &Receiver<String>| -> Vec<u8> {
            lines.iter().map(|line| line + "\n").collect::<String>().into_bytes()
        };
        Output { status, stdout: text(&self.out), stderr: text(&self.err) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A server of its own for each test, on a free port.
struct Server {
    running: Running,
    url: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Server {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        let running = Running::start(fanfare(&arguments));
        let url = running.out.recv_timeout(PATIENCE).expect("it says where it listens");
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Server { running, url }
    }

    /// Follows topics, and waits until they are followed.
    fn sub(&self, topics: &[&str], format: &str) -> Running {
        let arguments = [&["sub", "--url", &self.url, "--format", format], topics].concat();
        let sub = Running::start(fanfare(&arguments));
        for topic in topics {
            sub.await_error(&format!("subscribed: {topic}"));
        }
        sub
    }

    fn publish(&self, arguments: &[&str]) -> Output {
        run(&[&["pub", "--url", &self.url], arguments].concat())
    }
}

/// A file with that content, in a directory of this process.
fn file(name: &str, content: &str) -> PathBuf {
    let directory = env::temp_dir().join(format!("fanfare-cli-{}", process::id()));
    fs::create_dir_all(&directory).expect("a temporary directory");
    let path = directory.join(name);
    fs::write(&path, content).expect("a temporary file");
    path
}

#[test]
fn what_is_published_arrives_in_both_encodings() {
    let server = Server::start(&[]);
    let json = server.sub(&["news"], "json");
    let msgpack = server.sub(&["other", "*"], "msgpack");
    assert!(server.publish(&["news", r#"{"hello":1}"#]).status.success());
    assert!(server.publish(&["news", "plain words", "--format", "msgpack"]).status.success());
    for sub in [&json, &msgpack] {
        let first = sub.out.recv_timeout(PATIENCE).expect("a message");
        assert!(first.contains(r#""type":"message""#), "{first}");
        assert!(first.contains(r#""offset":1"#), "{first}");
        assert!(first.contains(r#""data":{"hello":1}"#), "{first}");
        let second = sub.out.recv_timeout(PATIENCE).expect("another");
        assert!(second.contains(r#""data":"plain words""#), "{second}");
    }
}

#[test]
fn lines_of_standard_input_arrive_in_their_order() {
    let server = Server::start(&[]);
    let sub = server.sub(&["numbers"], "json");
    let mut command = fanfare(&["pub", "numbers", "--url", &server.url]);
    command.stdin(Stdio::piped());
    let mut publisher = Running::start(command);
    let mut input = publisher.child.stdin.take().expect("piped");
    let text: String = (1..=500).map(|n| format!("{n}\n")).collect();
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    assert!(publisher.end().status.success());
    for n in 1..=500 {
        let line = sub.out.recv_timeout(PATIENCE).expect("a message");
        assert!(line.contains(&format!(r#""offset":{n},"#)), "{line}");
        assert!(line.contains(&format!(r#""data":{n}}}"#)), "{line}");
    }
}

#[test]
fn the_first_line_that_is_refused_ends_pub() {
    let server = Server::start(&[]);
    let mut command = fanfare(&["pub", "numbers", "--url", &server.url]);
    command.stdin(Stdio::piped());
    let mut publisher = Running::start(command);
    // The pipe stays open: it is the refusal that ends the command.
    let mut input = publisher.child.stdin.take().expect("piped");
    input.write_all(b"1\n1e400\n").expect("it reads");
    let output = publisher.end();
    assert_fails(&output, "line 2: ");
    assert_fails(&output, "bad_data");
}

#[test]
fn the_server_s_errors_are_told_with_their_code() {
    let server = Server::start(&[]);
    assert_fails(&server.publish(&["a..b", "1"]), "bad_topic");
    assert_fails(&run(&["sub", "a..b", "--url", &server.url]), "bad_topic");
    assert_fails(&server.publish(&["$stats", "1"]), "forbidden");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound").port()
    };
    let url = format!("http://127.0.0.1:{port}");
    let output = run(&["pub", "a", "1", "--url", &url]);
    assert_fails(&output, &format!("cannot connect to 127.0.0.1:{port}"));
    assert_fails(&output, "is fanfare running there?");
    assert_fails(&run(&["sub", "a", "--url", "wss://127.0.0.1:1/ws"]), "TLS");
    assert_fails(&run(&["sub", "a", "--url", "127.0.0.1:1"]), "ws://HOST:PORT/ws");
}

#[test]
fn sub_ends_quietly_when_it_is_interrupted_or_nobody_reads() {
    let server = Server::start(&[]);
    let sub = server.sub(&["a"], "json");
    sub.signal("-INT");
    let output = sub.end();
    assert_eq!(output.status.code(), Some(130));
    assert!(output.stderr.is_empty());

    let mut command = fanfare(&["sub", "a", "--url", &server.url]);
    let mut child = command.spawn().expect("the command starts");
    drop(child.stdout.take());
    let err = lines(child.stderr.take().expect("piped"));
    let (_, out) = channel();
    let sub = Running { child, out, err };
    sub.await_error("subscribed: a");
    assert!(server.publish(&["a", "1"]).status.success());
    let output = sub.end();
    assert!(output.status.success());
    assert!(output.stderr.is_empty());
}

#[test]
fn a_server_that_is_told_to_end_says_goodbye_and_ends_well() {
    for signal in ["-TERM", "-INT"] {
        let server = Server::start(&[]);
        let sub = server.sub(&["a"], "json");
        server.running.signal(signal);
        assert_fails(&sub.end(), "the server closed the connection (1012): restart");
        let output = server.running.end();
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let server = Server::start(&[]);
    let address = server.url.trim_start_matches("http://");
    assert_fails(&run(&["serve", "--listen", address]), address);
    assert_fails(&run(&["--listen", address]), address);
}

#[test]
fn listening_beyond_loopback_needs_to_be_asked_for() {
    assert_fails(&run(&["serve", "--listen", "0.0.0.0:0"]), "--insecure-open");
    let open = file("open.toml", "[server]\nlisten = [\"0.0.0.0:0\"]\n");
    let open = open.to_str().expect("text");
    assert_fails(&run(&["check", "--config", open]), "--insecure-open");
    assert!(run(&["check", "--config", open, "--insecure-open"]).status.success());
    let server = Running::start(fanfare(&["serve", "--config", open, "--insecure-open"]));
    let url = server.out.recv_timeout(PATIENCE).expect("it listens");
    assert!(url.starts_with("http://"), "{url}");
}

#[test]
fn check_says_what_is_wrong_and_where() {
    let wrong = file("wrong.toml", "[limits]\n\nconections = 1\n[drain]\nspread_ms = \"5s\"\n");
    let wrong = wrong.to_str().expect("text");
    let output = run(&["check", "--config", wrong]);
    assert_fails(&output, &format!("{wrong}:3: limits.conections: unknown key, did you mean limits.connections?\n"));
    assert_fails(&output, &format!("{wrong}:5: drain.spread_ms: expected a whole number"));
    assert_eq!(output.stderr.iter().filter(|byte| **byte == b'\n').count(), 2);
    assert_fails(&run(&["serve", "--config", wrong]), "limits.conections");

    let output = run(&["check", "--config", "config/fanfare.toml"]);
    assert!(output.status.success());
    assert_eq!(output.stdout, b"config/fanfare.toml: ok\n");
    assert!(output.stderr.is_empty());
    assert_fails(&run(&["check", "--config", "/nonexistent"]), "/nonexistent: cannot be read");
}

#[test]
fn variables_of_the_environment_are_settings() {
    let mut command = fanfare(&["serve"]);
    command.env("FANFARE_SERVER__LISTEN", "127.0.0.1:0,127.0.0.1:0");
    command.env("FANFARE_PORT", "tcp://10.0.0.1:7070");
    let server = Running::start(command);
    for _ in 0..2 {
        let url = server.out.recv_timeout(PATIENCE).expect("it listens");
        let mut command = fanfare(&["pub", "a", "1"]);
        command.env("FANFARE_URL", url);
        assert!(Running::start(command).end().status.success());
    }

    let mut command = fanfare(&["serve"]);
    command.env("FANFARE_SERVER__LISTNE", "127.0.0.1:0");
    assert_fails(
        &Running::start(command).end(),
        "FANFARE_SERVER__LISTNE: server.listne: unknown key, did you mean server.listen?",
    );
}

#[test]
fn the_version_is_the_package_s() {
    let output = run(&["--version"]);
    assert!(output.status.success());
    let version = format!("fanfare {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), version);
}
