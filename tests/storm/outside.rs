//! The server as one can ask it from outside.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::line::lock;
use crate::model::{Behind, Head, Says, View, Witness, matches};

pub(crate) const TOPICS: [&str; 6] = ["a.1", "a.2", "latest.1", "latest.2", STRICT, "brief.1"];
pub(crate) const PATTERNS: [&str; 4] = ["a.*", "latest.>", "brief.*", ">"];
pub(crate) const STRICT: &str = "strict.1";

/// The rules for these topics.
pub(crate) const CONFIGURATION: &str = r#"
[keep_alive]
heartbeat_ms = 2000
timeout_ms = 2000
[drain]
spread_ms = 100
deadline_ms = 3000
[history]
entries = 100
age_ms = 20000
linger_ms = 1000
sync_ms = 300
[presence]
grace_ms = 500
[limits]
exempt = ["127.0.0.0/8"]
[[topics]]
pattern = "a.*"
at = true
from = true
[[topics]]
pattern = "latest.*"
history_entries = 50
overflow = "latest"
[[topics]]
pattern = "strict.*"
overflow = "disconnect"
[[topics]]
pattern = "brief.*"
history_age_ms = 1000
"#;

/// By how much the server's clock may differ from the test's: both go by the system's, and by steady ones from
/// their beginnings on.
const CLOCKS_DIFFER_MS: u64 = 1_000;

/// How topics stand, which is known only when all is quiet; and the time.
pub(crate) struct Outside {
    heads: Mutex<BTreeMap<String, Head>>,
    began: Instant,
    began_ms: u64,
}

impl Outside {
    pub(crate) fn new() -> Outside {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
        Outside { heads: Mutex::default(), began: Instant::now(), began_ms: since_1970.as_millis() as u64 }
    }

    /// All is quiet: this is how topics stand.
    pub(crate) fn know(&self, heads: BTreeMap<String, Head>) {
        *lock(&self.heads) = heads;
    }
}

impl Witness for Outside {
    fn head(&self, topic: &str) -> Option<Head> {
        lock(&self.heads).get(topic).cloned()
    }

    fn overflow(&self, topic: &str) -> Behind {
        match topic {
            STRICT => Behind::Disconnect,
            latest if matches("latest.*", latest) => Behind::Latest,
            _ => Behind::Gap,
        }
    }

    fn says(&self, topic: &str) -> Says {
        let is_said = matches("a.*", topic);
        Says { at: is_said, from: is_said }
    }

    fn clock_ms(&self) -> RangeInclusive<u64> {
        let now_ms = self.began_ms + self.began.elapsed().as_millis() as u64;
        now_ms - CLOCKS_DIFFER_MS..=now_ms + CLOCKS_DIFFER_MS
    }

    fn topics(&self) -> Vec<String> {
        lock(&self.heads).keys().cloned().collect()
    }
}

/// How topics stand, and who is in them.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) heads: BTreeMap<String, Head>,
    pub(crate) there: BTreeMap<String, View>,
}

impl Truth {
    pub(crate) async fn of(server: SocketAddr) -> Truth {
        let mut truth = Truth::default();
        let listed = ask(server, "GET", "/v1/topics?limit=1000", "").await;
        for topic in listed["topics"].as_array().unwrap_or_else(|| panic!("no topics: {listed}")) {
            let text = |key: &str| topic[key].as_str().expect("a text").to_owned();
            let newest = topic["offset"].as_u64().expect("an offset");
            truth.heads.insert(text("topic"), Head { epoch: text("epoch"), newest, oldest: 0 });
        }
        for topic in TOPICS {
            let found = ask(server, "GET", &format!("/v1/topics/{topic}/presence"), "").await;
            truth.there.insert(topic.to_owned(), View::of(&found));
        }
        truth
    }
}

/// The body of an answer in JSON.
pub(crate) async fn ask(server: SocketAddr, method: &str, path: &str, body: &str) -> Value {
    let answer = read(server, method, path, body).await;
    serde_json::from_str(&answer).unwrap_or_else(|_| panic!("not JSON: {answer}"))
}

/// The body of an answer.
pub(crate) async fn read(server: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(server).await.expect("the server listens");
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}");
    let request = format!("{head}\r\nContent-Type: application/json\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("the server takes a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    String::from_utf8(answer.split_off(at + 4)).expect("an answer of text")
}
