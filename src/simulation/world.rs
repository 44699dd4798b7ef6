//! Everything but the clients: a broker with its shards and sessions, on the clock of a runtime that stands
//! still, and what is known of all that has been said.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use serde_json::Value;
use tokio::time::Instant;

use super::ledger::Ledger;
use super::model::{Behind, Head, Model, Says, View, Witness, matches};
use super::random::Random;
use crate::auth::{AuthError, AuthFuture, Authenticator, Credential, Identity, Permissions};
use crate::broker::{Broker, Form, History, Overflow, TopicFilter, TopicRule};
use crate::fanout::{Pool, ShardOptions, Transport};
use crate::gate::{Gate, Rules};
use crate::protocol::Encoding;
use crate::session::{self, Admission, Resumables, SessionOptions, Stream};
use crate::ws;

pub(super) const TOPICS: [&str; 8] = ["a.1", "a.2", "latest.1", "latest.2", STRICT, "none.1", "brief.1", "brief.2"];
pub(super) const PATTERNS: [&str; 5] = ["a.*", "latest.>", "brief.*", "*.1", ">"];

/// The topic that closes the connections of those who miss something.
pub(super) const STRICT: &str = "strict.1";

/// Messages are held for no longer, and topics linger for no longer once they are empty.
const AGE_MS: u64 = 20_000;
const BRIEF_MS: u64 = 1_500;
const LINGER_MS: u64 = 1_000;

/// What the task of a session may take: an idle connection holds it for as long as it lasts.
const SESSION_BYTES_MAX: usize = 392;

/// A topic that may begin anew: its first message has to come, as it says the epoch.
pub(super) fn may_skip(topic: &str) -> bool {
    !matches("brief.*", topic) && !matches("none.*", topic)
}

pub(super) struct World {
    pub(super) broker: Broker,
    pool: Pool,
    gate: Gate,
    options: Arc<SessionOptions>,
    resumables: Arc<Resumables>,
    ledger: Mutex<Ledger>,
    lines: Mutex<Vec<Chronicle>>,
    drained: AtomicBool,
    began: Instant,
    /// Of all that was heard, and when.
    digest: AtomicU64,
}

/// What became of a connection.
#[derive(Debug, Default)]
struct Chronicle {
    /// What it unsubscribed from.
    left: BTreeSet<String>,
    /// What it was called in the topics that it was a member of in the end.
    names: BTreeMap<String, String>,
    /// The connection that took its place, or tried to.
    heir: Option<u64>,
}

impl World {
    pub(super) fn new(seed: u64, random: &mut Random) -> World {
        let history = History {
            entries: [0, 3, 30, 200][random.below(4) as usize],
            bytes: [2_000, 100_000][random.below(2) as usize],
            age_ms: AGE_MS,
        };
        let rule = |pattern, history, overflow| TopicRule {
            history,
            overflow,
            ..TopicRule::new(TopicFilter::parse(pattern).expect("a pattern"))
        };
        let broker = Broker::builder()
            .history(history)
            .topic_rule(TopicRule { at: true, from: true, ..rule("a.*", history, Overflow::Gap) })
            .topic_rule(TopicRule { at: true, ..rule("latest.*", history, Overflow::Latest) })
            .topic_rule(rule(STRICT, history, Overflow::Disconnect))
            .topic_rule(rule("none.*", History { entries: 0, ..history }, Overflow::Gap))
            .topic_rule(rule("brief.*", History { age_ms: BRIEF_MS, ..history }, Overflow::Gap))
            .linger_ms(LINGER_MS)
            .build_alike(seed);
        let shard = ShardOptions { deflate_bytes_min: 40, ..ShardOptions::default() };
        let shards = 1 + random.below(3) as usize;
        World {
            pool: Pool::new(broker.clone(), shard, shards),
            gate: Gate::new(broker.clone(), rules()),
            broker,
            options: Arc::new(SessionOptions::default()),
            resumables: Arc::default(),
            ledger: Mutex::default(),
            lines: Mutex::default(),
            drained: AtomicBool::new(false),
            began: Instant::now(),
            digest: AtomicU64::new(seed),
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// How all topics stand.
    pub(super) fn heads(&self) -> BTreeMap<String, Head> {
        self.topics().into_iter().filter_map(|name| self.head(&name).map(|head| (name, head))).collect()
    }

    /// Sends everybody away.
    pub(super) fn drain(&self) {
        self.drained.store(true, Ordering::Relaxed);
        self.pool.drain(2_000);
    }

    pub(super) fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    // Connections.

    pub(super) fn next_line(&self) -> u64 {
        let mut lines = lock(&self.lines);
        lines.push(Chronicle::default());
        lines.len() as u64 - 1
    }

    /// Lets somebody in, who may prove a name.
    pub(super) async fn admit(
        &self,
        subject: Option<&str>,
        encoding: Encoding,
        deflate: Option<ws::Deflate>,
        shard: usize,
    ) -> Admission {
        let id = self.broker.next_connection();
        Admission {
            pass: self.gate.admit(subject.map(Credential::Token), Some(id)).await.expect("everybody is let in"),
            meters: None,
            gate: self.gate.clone(),
            refusal: None,
            id,
            form: Form::new(encoding, deflate.as_ref().map(ws::Deflate::window)),
            deflate,
            mailbox: self.pool.shard(Some(shard)),
            options: Arc::clone(&self.options),
            resumables: Arc::clone(&self.resumables),
            address: None,
            counted: self.pool.admit(u64::MAX).expect("room"),
        }
    }

    pub(super) fn serve(&self, admission: Admission, stream: Stream, transport: Transport, seed: u64) {
        let session = Box::pin(session::run(admission, Vec::new(), stream, transport));
        assert!(size_of_val(&*session) <= SESSION_BYTES_MAX, "a session takes {} bytes", size_of_val(&*session));
        tokio::spawn(Hesitant { task: session, random: Random::new(seed) });
    }

    /// Somebody has heard this.
    pub(super) fn hear(&self, line: u64, event: &Value, payload: &[u8]) {
        // A secret is another one each time.
        let payload = if event["type"] == "welcome" { b"" } else { payload };
        let now = self.began.elapsed().as_millis() as u64;
        let mut digest = self.digest.load(Ordering::Relaxed) ^ line ^ (now << 16);
        for byte in payload {
            // FNV-1a.
            digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
        self.digest.store(digest, Ordering::Relaxed);
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest.load(Ordering::Relaxed)
    }

    pub(super) fn ended(&self, line: &Model) {
        let told = line.views().iter().filter_map(|(topic, view)| Some((topic, view.as_ref()?)));
        let names = told.filter_map(|(topic, view)| {
            let (name, _) = view.members.iter().find(|(_, said)| said["c"] == line.number)?;
            Some((topic.clone(), name.clone()))
        });
        self.chronicle(line.number, |chronicle| chronicle.names = names.collect());
    }

    pub(super) fn left(&self, line: u64, filter: &str) {
        self.chronicle(line, |chronicle| chronicle.left.insert(filter.to_owned()));
    }

    pub(super) fn may_take_over(&self, before: u64, line: u64) {
        self.chronicle(before, |chronicle| chronicle.heir = Some(line));
    }

    fn chronicle<T>(&self, line: u64, change: impl FnOnce(&mut Chronicle) -> T) -> T {
        change(&mut lock(&self.lines)[usize::try_from(line).expect("a number of ours")])
    }

    // Checks.

    /// Everybody knows who is in each topic, and nobody saw anybody leave who is there.
    pub(super) fn check_presence(&self, live: &[&Model]) {
        self.check_inherited(live);
        for topic in TOPICS {
            let there = self.present(topic);
            let watchers = live.iter().filter_map(|model| Some((model, model.views().get(topic)?)));
            let mut known = BTreeSet::new();
            for (model, view) in watchers {
                assert_eq!(view.as_ref(), Some(&there), "what connection {} knows of {topic}", model.number);
                let me = there.members.iter().find(|(_, said)| said["c"] == model.number);
                let (name, _) =
                    me.unwrap_or_else(|| panic!("connection {} is not in {topic}: {there:?}", model.number));
                known.insert(name);
                let left = (topic.to_owned(), name.clone());
                let seen = live.iter().any(|other| other.lefts.contains(&left));
                assert!(!seen || self.has_left(model.number, topic), "connection {} left {topic}", model.number);
            }
            // The others are those whose places somebody took who has not claimed them.
            for (name, said) in there.members.iter().filter(|(name, _)| !known.contains(name)) {
                let line = said["c"].as_u64().expect("a number of ours");
                let heir = self.last_heir(line);
                let is_kept = heir != line && live.iter().any(|model| model.number == heir && model.resumed);
                assert!(is_kept, "{name}, connection {line}, is in {topic} and nowhere else");
            }
        }
    }

    /// Nobody saw those leave whose places others took.
    fn check_inherited(&self, live: &[&Model]) {
        for heir in live.iter().filter(|model| model.resumed) {
            let lines = lock(&self.lines);
            let before = lines.iter().find(|chronicle| chronicle.heir == Some(heir.number));
            let names = before.expect("it took somebody's place").names.clone();
            drop(lines);
            for left in names {
                let is_seen = live.iter().any(|other| other.lefts.contains(&left));
                assert!(!is_seen || self.has_left(heir.number, &left.0), "{left:?}, whose place {} took", heir.number);
            }
        }
    }

    /// Whether a connection, or one whose place it took, unsubscribed from it.
    fn has_left(&self, line: u64, topic: &str) -> bool {
        let before = lock(&self.lines).iter().position(|chronicle| chronicle.heir == Some(line));
        self.chronicle(line, |chronicle| chronicle.left.contains(topic))
            || before.is_some_and(|before| self.has_left(before as u64, topic))
    }

    fn last_heir(&self, line: u64) -> u64 {
        self.chronicle(line, |chronicle| chronicle.heir).map_or(line, |heir| self.last_heir(heir))
    }

    fn present(&self, topic: &str) -> View {
        let snapshot = self.broker.registry().get(topic).map(|topic| topic.presence().snapshot());
        let Some(snapshot) = snapshot else { return View { version: 0, members: BTreeMap::new() } };
        let members = snapshot.list();
        let named = members.iter().map(|member| {
            let mut said = Vec::new();
            member.member.expect("everybody says something").write_to(Encoding::Json, &mut said);
            (member.connection.to_owned(), serde_json::from_slice(&said).expect("JSON"))
        });
        View { version: snapshot.version, members: named.collect() }
    }

    /// What is held for anybody; empty when all is as it was in the beginning.
    pub(super) fn held(&self) -> Vec<(&'static str, u64)> {
        let totals = self.pool.totals();
        let registry = self.broker.registry();
        let counts = [
            ("connections", totals.connections),
            ("sessions", self.pool.connections().present()),
            ("subscriptions", totals.subscriptions),
            ("stalled", totals.stalled),
            ("topics", registry.topics() as u64),
            ("retained bytes", registry.retained_weight() as u64),
            ("secrets", self.resumables.list().len() as u64),
        ];
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

impl Witness for World {
    fn head(&self, topic: &str) -> Option<Head> {
        let topic = self.broker.registry().get(topic)?;
        let ring = topic.ring();
        Some(Head { epoch: topic.epoch().to_string(), newest: ring.newest().0, oldest: ring.oldest().0 })
    }

    fn overflow(&self, topic: &str) -> Behind {
        match topic {
            STRICT => Behind::Disconnect,
            latest if matches("latest.*", latest) => Behind::Latest,
            _ => Behind::Gap,
        }
    }

    fn says(&self, topic: &str) -> Says {
        Says { at: matches("a.*", topic) || matches("latest.*", topic), from: matches("a.*", topic) }
    }

    fn clock_ms(&self) -> RangeInclusive<u64> {
        let now_ms = self.broker.now_ms();
        now_ms..=now_ms
    }

    fn topics(&self) -> Vec<String> {
        let listed = self.broker.registry().list("", None, 1_000);
        listed.into_iter().map(|listed| listed.topic.name().to_string()).collect()
    }
}

/// Believes everybody: a token is a name.
struct Believer;

impl Authenticator for Believer {
    fn authenticate<'a>(&'a self, credential: Credential<'a>) -> AuthFuture<'a> {
        Box::pin(async move {
            let Credential::Token(name) = credential else { return Err(AuthError::Invalid("not a token")) };
            Ok(Identity::new(Permissions::all()).subject(name))
        })
    }
}

/// Everybody may do everything, with a name or without.
fn rules() -> Rules {
    let anonymous = Arc::new(Permissions::all());
    Rules { authenticator: Some(Arc::new(Believer)), anonymous, ..Rules::default() }
}

/// A task that now and then lets others go first.
struct Hesitant<F> {
    task: Pin<Box<F>>,
    random: Random,
}

impl<F: Future> Future for Hesitant<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.random.one_in(4) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.task.as_mut().poll(cx)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
