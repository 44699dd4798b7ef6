//! What topics keep, by the rules of a configuration file: the first that matches a topic's name decides.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, process};

use serde_json::{Value, json};

use crate::PATIENCE;
use crate::client::Client;
use crate::http::{get, metric, publish, request};
use crate::server::{Server, command};

/// A file that ends with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path = env::temp_dir().join(format!("fanfare-{}-{name}.toml", process::id()));
        fs::write(&path, text).expect("a file can be written");
        File(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A server with a configuration file of this content.
fn configured(name: &str, text: &str) -> Server {
    let file = File::new(name, text);
    let mut command = command(&[]);
    command.arg("--config").arg(&file.0);
    Server::run(command)
}

/// The weight of all histories.
fn retained(server: &Server) -> u64 {
    metric(server, "fanfare_retained_bytes")
}

/// What one message weighs: its payload twice, its topic's name and 256, as docs/configuration.md says.
fn weight(topic: &str, data: &Value) -> u64 {
    (2 * data.to_string().len() + topic.len() + 256) as u64
}

/// Publishes so many messages to a topic that nothing was published to; how much more is retained then.
fn retained_of(server: &Server, topic: &str, data: &Value, count: usize) -> u64 {
    let before = retained(server);
    for _ in 0..count {
        assert_eq!(publish(server, &json!({"topic": topic, "data": data})).status, 200);
    }
    retained(server) - before
}

#[test]
fn the_first_rule_that_matches_decides_how_much_is_retained() {
    let server = configured(
        "sizes",
        r#"
        [history]
        entries = 5

        [[topics]]
        pattern = "few.special"
        history_entries = 7

        [[topics]]
        pattern = "few.*"
        history_entries = 2

        # Never reached: the one before it matches as well.
        [[topics]]
        pattern = "few.never"
        history_entries = 9

        [[topics]]
        pattern = "light.>"
        history_bytes = 2000

        [[topics]]
        pattern = "none"
        history_entries = 0
        "#,
    );
    let data = json!("x".repeat(98));
    for (topic, entries) in
        [("few.special", 7), ("few.a", 2), ("few.never", 2), ("few.a.b", 5), ("other", 5), ("light.a.b", 4)]
    {
        let kept = retained_of(&server, topic, &data, 20);
        assert_eq!(kept, entries * weight(topic, &data), "{topic} keeps {entries}");
    }
    // What is left out of a rule is as everywhere: more than five of these would weigh less than 2000.
    let small = json!(1);
    assert_eq!(retained_of(&server, "light.small", &small, 20), 5 * weight("light.small", &small));
    // The newest message stays until somebody looks after it, within a second or with the next one.
    assert!(retained_of(&server, "none", &data, 20) <= weight("none", &data));
}

#[test]
fn a_rule_s_age_is_that_of_its_topics_alone() {
    let server = configured(
        "ages",
        r#"
        [history]
        age_ms = 1

        [[topics]]
        pattern = "old.*"
        history_age_ms = 86_400_000
        "#,
    );
    // Somebody has to be there: time goes by for a server that serves.
    let _client = Client::json(&server);
    for topic in ["old.a", "young"] {
        assert_eq!(publish(&server, &json!({"topic": topic, "data": 1})).status, 200);
    }
    let deadline = Instant::now() + PATIENCE;
    while retained(&server) != weight("old.a", &json!(1)) {
        assert!(Instant::now() < deadline, "{} bytes are retained", retained(&server));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_slow_subscriber_catches_up_as_far_as_the_rule_of_each_topic_retains() {
    const COUNT: u64 = 2000;
    let server = configured(
        "slow",
        r#"
        [[topics]]
        pattern = "much"
        history_entries = 10_000
        history_bytes = 1_000_000_000

        [[topics]]
        pattern = "*"
        history_entries = 0
        "#,
    );
    let mut slow = Client::json(&server);
    slow.subscribe("much");
    slow.subscribe("little");
    let mut publisher = Client::json(&server);
    // Far more than both kernels buffer.
    let data = "x".repeat(10_000);
    for _ in 0..COUNT {
        for topic in ["much", "little"] {
            publisher.send(json!({"type": "publish", "topic": topic, "data": data}));
        }
    }
    publisher.expect_quiet();
    let (mut much, mut little, mut gaps) = (0, 0, 0);
    while much < COUNT || little < COUNT {
        let event = slow.recv();
        let at = if event["topic"] == "much" { &mut much } else { &mut little };
        let (from, to) = match event["type"].as_str() {
            Some("message") => (&event["offset"], &event["offset"]),
            Some("gap") => {
                assert_eq!(event["topic"], "little", "all of the other topic is retained: {event}");
                gaps += 1;
                (&event["from"], &event["to"])
            }
            _ => panic!("{event}"),
        };
        assert_eq!(*from, json!(*at + 1));
        *at = to.as_u64().expect("an offset");
    }
    assert!(gaps >= 1, "the sockets hold more than this test sends");
}

/// Publishes far more than the kernel buffers while one subscriber reads nothing; gives that one.
fn left_behind(server: &Server, count: u64) -> Client {
    let mut slow = Client::json(server);
    let mut fast = Client::json(server);
    slow.subscribe("a");
    fast.subscribe("a");
    let mut publisher = Client::json(server);
    let data = "x".repeat(10_000);
    for number in 1..=count {
        let key = format!("{}", number % 3);
        publisher.send(json!({"type": "publish", "topic": "a", "key": key, "data": data}));
        assert_eq!(fast.recv()["offset"], number);
    }
    slow
}

#[test]
fn of_a_topic_that_keeps_the_latest_the_newest_of_each_key_comes_and_gaps_for_the_others() {
    const COUNT: u64 = 2_000;
    let rule =
        "[history]\nbytes = 4_000_000\n[[topics]]\npattern = \"a\"\noverflow = \"latest\"\nhistory_entries = 100\n";
    let server = configured("latest", rule);
    let mut slow = left_behind(&server, COUNT);
    let (mut at, mut reasons, mut messages) = (0, Vec::new(), 0);
    while at < COUNT {
        let event = slow.recv();
        if event["type"] == "gap" {
            assert_eq!(event["from"], at + 1, "{event}");
            at = event["to"].as_u64().expect("an offset");
            reasons.push(event["reason"].as_str().expect("a reason").to_owned());
        } else {
            assert_eq!(event["offset"], at + 1);
            at += 1;
            messages += 1;
        }
    }
    assert!(reasons.contains(&"slow".to_owned()) && reasons.contains(&"latest".to_owned()), "{reasons:?}");
    assert!(messages < COUNT, "{messages}");
}

#[test]
fn of_a_topic_that_bears_no_gaps_a_slow_subscriber_is_closed() {
    let rule =
        "[history]\nbytes = 4_000_000\n[[topics]]\npattern = \"*\"\noverflow = \"disconnect\"\nhistory_entries = 64\n";
    let server = configured("disconnect", rule);
    let mut slow = left_behind(&server, 2_000);
    let mut at = 0;
    let goodbye = loop {
        let event = slow.recv();
        if event["type"] != "message" {
            break event;
        }
        at += 1;
        assert_eq!(event["offset"], at);
    };
    assert_eq!((&goodbye["type"], &goodbye["code"]), (&json!("goodbye"), &json!(4008)), "{goodbye}");
    assert!(at < 2_000);
    assert_eq!(metric(&server, "fanfare_closed_slow_total"), 1);
}

#[test]
fn messages_say_when_and_by_whom_they_were_published_where_a_rule_says_so() {
    let text = r#"
        [[topics]]
        pattern = "signed"
        at = true
        from = true

        [[topics]]
        pattern = "dated"
        at = true

        # The hash of "abc", from FIPS 180-2.
        [[keys]]
        name = "billing"
        sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        publish = [">"]

        [anonymous]
        subscribe = [">"]
        publish = [">"]
        history = [">"]
    "#;
    let server = configured("stamps", text);
    let mut client = Client::json(&server);
    for topic in ["signed", "dated", "plain"] {
        client.subscribe(topic);
    }
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    let before = now();
    let mut publish_as = |topic: &str, credentials: &[(&str, &str)]| {
        let body = json!({"topic": topic, "data": 1}).to_string();
        let headers = [&[("Content-Type", "application/json")], credentials].concat();
        assert_eq!(request(&server, "POST", "/v1/publish", &headers, body.as_bytes()).status, 200);
        client.recv()
    };
    let key = [("X-API-Key", "abc")];
    let signed = publish_as("signed", &key);
    assert_eq!(signed["from"], "billing");
    let at = signed["at"].as_u64().expect("a time");
    // The server rounds down when it starts, and again whenever it is asked.
    assert!((before - 2..=now()).contains(&at), "{at}");
    assert!(publish_as("signed", &[]).get("from").is_none(), "nobody has proven to be somebody");
    let dated = publish_as("dated", &key);
    assert!(dated["at"].is_u64() && dated.get("from").is_none(), "{dated}");
    let plain = publish_as("plain", &key);
    assert!(plain.get("at").is_none() && plain.get("from").is_none(), "{plain}");

    let history = get(&server, "/v1/topics/signed/history").json();
    assert_eq!((&history["messages"][0]["at"], &history["messages"][0]["from"]), (&signed["at"], &signed["from"]));
    assert!(history["messages"][1].get("from").is_none(), "{history}");
}
