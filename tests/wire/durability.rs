//! Histories and positions across restarts: `history.data_dir`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, Encoding};
use crate::http::{get, metric, publish};
use crate::lifecycle::{ended, signal, until};
use crate::server::{Server, command};

/// A directory that is gone when this is dropped.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("durability-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory below target/");
        Dir(path)
    }

    fn settings<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let path = self.0.to_str().expect("a readable path");
        [&[("history.data_dir", path), ("drain.spread_ms", "0")], more].concat()
    }

    fn start(&self) -> Server {
        Server::with(&self.settings(&[]))
    }

    fn file(&self) -> PathBuf {
        self.0.join("history.redb")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the directory is ours");
    }
}

fn end(mut server: Server) {
    signal(&server, Signal::TERM);
    assert_eq!(ended(&mut server).code(), Some(0));
}

fn crash(mut server: Server) {
    signal(&server, Signal::KILL);
    ended(&mut server);
}

/// Everything that was published before this has been written after it.
fn written(server: &Server) {
    let before = metric(server, "fanfare_store_writes_total");
    // The one that is under way may have begun too early.
    until("histories are not written", || metric(server, "fanfare_store_writes_total") >= before + 2);
}

#[track_caller]
fn expect_messages(client: &mut Client, offsets: impl IntoIterator<Item = u64>) {
    for offset in offsets {
        let message = client.recv();
        assert_eq!((&message["type"], &message["offset"]), (&json!("message"), &json!(offset)), "{message}");
        assert_eq!(message["data"], json!(offset));
    }
}

#[test]
fn a_client_goes_on_after_a_restart_as_if_nothing_had_been() {
    let dir = Dir::new();
    let server = dir.start();
    let mut client = Client::json(&server);
    let epoch = client.subscribe("a");
    for number in 1..=10 {
        publish(&server, &json!({"topic": "a", "data": number}));
    }
    expect_messages(&mut client, 1..=4);
    let silent = Client::json(&server).subscribe("silent");
    end(server);

    let server = dir.start();
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let mut client = Client::connect(&server, encoding);
        client.send(json!({"type": "subscribe", "id": 1, "topic": "a", "since": {"epoch": epoch, "offset": 4}}));
        let subscribed = client.recv();
        assert_eq!(
            subscribed,
            json!({"type": "subscribed", "id": 1, "topic": "a", "epoch": epoch, "offset": 4, "recovered": true})
        );
        expect_messages(&mut client, 5..=10);
    }
    let mut client = Client::json(&server);
    client.send(json!({"type": "subscribe", "id": 1, "topic": "a", "since": {"epoch": epoch, "offset": 10}}));
    assert_eq!(client.recv()["recovered"], true);
    let placed = publish(&server, &json!({"topic": "a", "data": 11})).json();
    assert_eq!((&placed["epoch"], &placed["offset"]), (&epoch, &json!(11)));
    expect_messages(&mut client, [11]);
    // A topic that nothing was published to has its place as well.
    client.send(json!({"type": "subscribe", "id": 2, "topic": "silent", "since": {"epoch": silent, "offset": 0}}));
    assert_eq!(client.recv()["recovered"], true);
}

#[test]
fn after_a_crash_a_client_is_told_and_histories_are_there() {
    let dir = Dir::new();
    let server = Server::with(&dir.settings(&[("history.sync_ms", "100")]));
    let mut epoch = json!(null);
    for number in 1..=5 {
        epoch = publish(&server, &json!({"topic": "a", "data": number})).json()["epoch"].clone();
    }
    written(&server);
    crash(server);

    let server = dir.start();
    let mut client = Client::json(&server);
    client.send(json!({"type": "subscribe", "id": 1, "topic": "a", "since": {"epoch": epoch, "offset": 4}}));
    let subscribed = client.recv();
    assert_eq!((&subscribed["recovered"], &subscribed["reason"]), (&json!(false), &json!("epoch")), "{subscribed}");
    assert_eq!(subscribed["offset"], 5);
    assert_ne!(subscribed["epoch"], epoch);
    let mut client = Client::json(&server);
    client.send(json!({"type": "subscribe", "id": 1, "topic": "a", "last": 3}));
    assert_eq!(client.recv()["offset"], 2);
    expect_messages(&mut client, 3..=5);
    let history = get(&server, "/v1/topics/a/history").json();
    assert_eq!(history["messages"].as_array().map(Vec::len), Some(5), "{history}");
    assert_eq!(publish(&server, &json!({"topic": "a", "data": 6})).json()["offset"], 6);
}

#[test]
fn ten_restarts_lose_nothing() {
    let dir = Dir::new();
    let mut epoch = json!(null);
    for run in 0..10 {
        let server = dir.start();
        for number in 1..=5 {
            let placed = publish(&server, &json!({"topic": "a", "data": run * 5 + number})).json();
            assert_eq!(placed["offset"], run * 5 + number);
            if run > 0 {
                assert_eq!(placed["epoch"], epoch);
            }
            epoch = placed["epoch"].clone();
        }
        let mut client = Client::json(&server);
        client.send(json!({"type": "subscribe", "id": 1, "topic": "a", "since": {"epoch": epoch, "offset": 0}}));
        assert_eq!(client.recv()["recovered"], true);
        expect_messages(&mut client, 1..=run * 5 + 5);
        drop(client);
        end(server);
    }
}

#[test]
fn what_was_acknowledged_while_it_ended_is_there_afterwards() {
    let dir = Dir::new();
    let server = Server::with(&dir.settings(&[("drain.deadline_ms", "300")]));
    // They do not heed the goodbye, and publish until they are cut off.
    let publishers: Vec<_> = (0..3)
        .map(|number| {
            let mut socket = Client::json(&server).into_socket();
            thread::spawn(move || {
                let mut acknowledged = (json!(null), 0);
                let command = json!({"type": "publish", "id": 1, "topic": format!("t{number}"), "data": 1}).to_string();
                while socket.write(Message::text(&*command)).and_then(|()| socket.flush()).is_ok() {
                    let Ok(message) = socket.read() else { break };
                    let Ok(text) = message.into_text() else { break };
                    let event: Value = serde_json::from_str(&text).unwrap_or_default();
                    if event["type"] == "published" {
                        acknowledged = (event["epoch"].clone(), event["offset"].as_u64().expect("an offset"));
                    }
                }
                acknowledged
            })
        })
        .collect();
    until("nothing is published", || metric(&server, "fanfare_published_total") > 300);
    end(server);
    let acknowledged: Vec<_> = publishers.into_iter().map(|publisher| publisher.join().expect("no panic")).collect();
    let server = dir.start();
    for (number, (epoch, offset)) in acknowledged.into_iter().enumerate() {
        assert!(offset > 0);
        let mut client = Client::json(&server);
        let since = json!({"epoch": epoch, "offset": offset});
        client.send(json!({"type": "subscribe", "id": 1, "topic": format!("t{number}"), "since": since}));
        let subscribed = client.recv();
        assert_eq!(subscribed["recovered"], true, "{subscribed}");
    }
}

#[test]
fn settings_may_change_between_two_runs() {
    let dir = Dir::new();
    let server = dir.start();
    let mut epoch = json!(null);
    for number in 1..=10 {
        epoch = publish(&server, &json!({"topic": "a", "data": number})).json()["epoch"].clone();
    }
    end(server);
    let server = Server::with(&dir.settings(&[("history.entries", "3")]));
    for (offset, recovered) in [(7, true), (6, false)] {
        let mut client = Client::json(&server);
        client.send(json!({"type": "subscribe", "id": 1, "topic": "a", "since": {"epoch": epoch, "offset": offset}}));
        let subscribed = client.recv();
        assert_eq!(subscribed["recovered"], recovered, "{subscribed}");
        if !recovered {
            assert_eq!(subscribed["reason"], "expired");
        }
    }
    end(server);
}

#[test]
fn a_publish_that_is_repeated_after_a_restart_is_not_delivered_again() {
    let dir = Dir::new();
    let order = json!({"topic": "orders", "data": 1, "idempotency_key": "order-1"});
    let server = dir.start();
    let first = publish(&server, &order).json();
    end(server);
    let server = dir.start();
    assert_eq!(publish(&server, &order).json(), first);
    assert_eq!(publish(&server, &json!({"topic": "orders", "data": 2})).json()["offset"], 2);
}

#[test]
fn publishing_goes_on_while_nothing_can_be_written() {
    let dir = Dir::new();
    let settings = dir.settings(&[("history.sync_ms", "100"), ("history.bytes", "4194304")]);
    let inner = command(&settings);
    // A limit of the file's length, and without its signal, is as good as a full disk.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let log = dir.0.join("log");
    shell.stderr(fs::File::create(&log).expect("room on the disk"));
    let server = Server::run(shell);
    publish(&server, &json!({"topic": "a", "data": 1}));
    written(&server);
    assert_eq!(metric(&server, "fanfare_store_failing"), 0);

    let limit = getrlimit(Resource::Fsize);
    let length = fs::metadata(dir.file()).expect("it is there").len();
    let limit_to = |bytes| {
        let pid = Pid::from_child(&server.child);
        prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: limit.maximum }).expect("it is ours");
    };
    limit_to(Some(length));
    let text = "x".repeat(60_000);
    for _ in 0..30 {
        publish(&server, &json!({"topic": "a", "data": text}));
    }
    until("nobody notices", || metric(&server, "fanfare_store_failing") == 1);
    until("it is not tried again", || metric(&server, "fanfare_store_failures_total") > 1);
    assert_eq!(publish(&server, &json!({"topic": "a", "data": 32})).json()["offset"], 32);
    let said = fs::read_to_string(&log).expect("it is there");
    assert_eq!(said.matches("histories are not written").count(), 1, "once, however often it fails: {said}");

    limit_to(limit.current);
    until("it does not recover", || metric(&server, "fanfare_store_failing") == 0);
    written(&server);
    crash(server);
    let server = Server::with(&settings);
    let history = get(&server, "/v1/topics/a/history?limit=1").json();
    assert_eq!((&history["offset"], &history["messages"][0]["data"]), (&json!(32), &json!(32)), "{history}");
}

/// What a server that does not start says.
fn refused(mut command: Command) -> String {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "nothing is announced");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_store_that_cannot_be_used_keeps_the_server_from_starting() {
    let dir = Dir::new();
    let listen = |settings: &[(&str, &str)]| {
        let mut command = command(settings);
        command.args(["--listen", "127.0.0.1:0"]);
        command
    };
    let server = dir.start();
    publish(&server, &json!({"topic": "a", "data": 1}));
    let said = refused(listen(&dir.settings(&[])));
    assert!(said.contains("in use"), "{said}");
    end(server);

    let whole = fs::read(dir.file()).expect("it is there");
    let damaged = &whole[..whole.len() / 2];
    fs::write(dir.file(), damaged).expect("room on the disk");
    let said = refused(listen(&dir.settings(&[])));
    assert!(said.contains("history.redb is damaged") && said.contains("move the file away"), "{said}");
    assert!(fs::read(dir.file()).expect("it is there") == damaged, "it is kept as it was");
    // What the message says helps.
    fs::rename(dir.file(), dir.0.join("damaged")).expect("it is there");
    end(dir.start());

    let file = dir.file();
    let path = file.to_str().expect("a readable path");
    let said = refused(listen(&[("history.data_dir", path)]));
    assert!(said.contains(path), "{said}");
}

#[test]
fn a_store_that_is_altered_newer_or_none_at_all_is_refused_and_kept() {
    const NEEDLE: &str = "what was published before the file was altered";
    let dir = Dir::new();
    let server = dir.start();
    let first = publish(&server, &json!({"topic": "a", "data": NEEDLE})).json();
    end(server);
    let whole = fs::read(dir.file()).expect("it is there");

    let mut altered = whole.clone();
    let at = whole.windows(NEEDLE.len()).position(|bytes| bytes == NEEDLE.as_bytes()).expect("it is in the file");
    altered[at] ^= 1;
    let newer = {
        let database = redb::Database::open(dir.file()).expect("nobody else has it open");
        let transaction = database.begin_write().expect("nobody else writes");
        let about = redb::TableDefinition::<&str, u64>::new("about");
        transaction.open_table(about).expect("it is there").insert("format", 2).expect("room on the disk");
        transaction.commit().expect("room on the disk");
        drop(database);
        fs::read(dir.file()).expect("it is there")
    };
    for (bytes, expected) in [
        (altered, "is damaged"),
        (newer, "has format 2, and this version knows no later one than 1"),
        (b"[history]\nentries = 3\n".to_vec(), "is damaged"),
        (Vec::new(), "is damaged (it is empty)"),
    ] {
        fs::write(dir.file(), &bytes).expect("room on the disk");
        let mut command = command(&dir.settings(&[]));
        command.args(["--listen", "127.0.0.1:0"]);
        let said = refused(command);
        assert!(said.contains(&format!("history.redb {expected}")) && said.contains("move the file away"), "{said}");
        assert!(fs::read(dir.file()).expect("it is there") == bytes, "{expected}: it is kept as it was");
    }
    // It is the same file still, so a backup that is put back into it goes on.
    fs::write(dir.file(), &whole).expect("room on the disk");
    let server = dir.start();
    let placed = publish(&server, &json!({"topic": "a", "data": 2})).json();
    assert_eq!((&placed["epoch"], &placed["offset"]), (&first["epoch"], &json!(2)));
}

#[test]
fn a_server_that_cannot_listen_leaves_the_store_alone() {
    let dir = Dir::new();
    let server = dir.start();
    let first = publish(&server, &json!({"topic": "a", "data": 1})).json();
    end(server);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut second = command(&dir.settings(&[]));
    second.args(["--listen", &taken.local_addr().expect("an address").to_string()]);
    refused(second);
    let server = dir.start();
    let placed = publish(&server, &json!({"topic": "a", "data": 2})).json();
    assert_eq!((&placed["epoch"], &placed["offset"]), (&first["epoch"], &json!(2)));
}
