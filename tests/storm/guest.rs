//! A client that comes and goes with its connections, and goes on from where it was.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::ledger::{Ledger, Sent, data};
use crate::line::{Line, lock};
use crate::model::{Answer, Head, Rate, Start, Witness};
use crate::outside::{Outside, PATTERNS, TOPICS};
use crate::random::Random;

/// What all guests share.
pub(crate) struct House {
    pub(crate) proxy: SocketAddr,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) outside: Arc<Outside>,
    pub(crate) lines: AtomicU64,
}

pub(crate) struct Guest {
    house: Arc<House>,
    random: Random,
    positions: BTreeMap<String, (String, u64)>,
    secret: Option<String>,
    /// Publishes with a key that it may repeat.
    marked: Vec<(u64, Value)>,
    name: u64,
}

impl Guest {
    pub(crate) fn new(house: Arc<House>, name: u64, random: Random) -> Guest {
        Guest { house, random, positions: BTreeMap::new(), secret: None, marked: Vec::new(), name }
    }

    /// Comes and goes until then, and gives the connection that it has in the end.
    pub(crate) async fn visit_until(mut self, end: Instant) -> Line {
        loop {
            sleep(Duration::from_millis(self.random.below(200))).await;
            let Some(mut line) = self.begin().await else { continue };
            let commands = if Instant::now() >= end { 3 } else { 5 + self.random.below(60) };
            for _ in 0..commands {
                if !line.is_open {
                    break;
                }
                self.act(&mut line).await;
                self.pause(&mut line).await;
            }
            // In the end it is read until all has come.
            if Instant::now() >= end && line.is_open {
                return line;
            }
            line.over();
        }
    }

    async fn begin(&mut self) -> Option<Line> {
        let House { proxy, ledger, outside, lines } = &*self.house;
        let number = lines.fetch_add(1, Ordering::Relaxed);
        let mut line = Line::open(*proxy, number, &mut self.random, ledger, outside).await?;
        if let Some(secret) = self.secret.take().filter(|_| self.random.one_in(2)) {
            line.say(json!({"type": "resume", "resume": secret}), vec![Answer::Resumed]).await;
        }
        for topic in TOPICS {
            if self.random.one_in(2) {
                self.subscribe(&mut line, topic).await;
            }
        }
        Some(line)
    }

    async fn act(&mut self, line: &mut Line) {
        let topic = TOPICS[self.random.below(TOPICS.len() as u64) as usize];
        match self.random.below(18) {
            0 => line.say(json!({"type": "ping"}), vec![Answer::Pong]).await,
            1 => {
                let mut command = json!({"type": "history", "topic": topic, "limit": 20});
                let since = self.positions.get(topic).cloned().filter(|_| self.random.one_in(2));
                if let Some((epoch, offset)) = &since {
                    command["since"] = json!({"epoch": epoch, "offset": offset});
                }
                let (topic, head) = (topic.to_owned(), self.head(topic));
                line.say(command, vec![Answer::History { topic, since, limit: 20, head }]).await;
            }
            7 => {
                let answer = Answer::Presence { topic: topic.to_owned() };
                line.say(json!({"type": "presence", "topic": topic}), vec![answer]).await;
            }
            2 => {
                let pattern = PATTERNS[self.random.below(PATTERNS.len() as u64) as usize].to_owned();
                let heads = TOPICS.iter().filter_map(|topic| Some(((*topic).to_owned(), self.head(topic)?))).collect();
                let command = json!({"type": "subscribe", "topic": pattern});
                line.say(command, vec![Answer::Following { pattern, heads }]).await;
            }
            3 => {
                let filter = line.model.follows().next().cloned().unwrap_or_else(|| topic.to_owned());
                let command = json!({"type": "unsubscribe", "topic": filter});
                line.say(command, vec![Answer::Unsubscribed { filter }]).await;
            }
            4 | 5 => self.subscribe(line, topic).await,
            6 => {
                // More than sockets hold, before anything is read: there must be gaps.
                for _ in 0..100 {
                    self.publish(line, topic, 4_000).await;
                }
            }
            _ => {
                let filler = self.random.below(300) as usize;
                self.publish(line, topic, filler).await;
            }
        }
    }

    async fn subscribe(&mut self, line: &mut Line, topic: &str) {
        let mut command = json!({"type": "subscribe", "topic": topic});
        let start = match self.positions.get(topic).cloned().filter(|_| !self.random.one_in(4)) {
            Some((epoch, offset)) => {
                command["since"] = json!({"epoch": epoch, "offset": offset});
                Start::Since { epoch, offset }
            }
            None if self.random.one_in(3) => {
                command["last"] = json!(20);
                Start::Last(20)
            }
            None => Start::Live,
        };
        let presence = self.random.one_in(3);
        if presence {
            command["presence"] = json!(true);
            command["member"] = json!({"c": line.model.number});
        }
        let rate = self.random.one_in(5).then(|| [1, 20, 500][self.random.below(3) as usize]);
        if let Some(max) = rate {
            command["max_rate"] = json!(max);
        }
        let rate = rate.map(|max| Rate { max, asked_ms: *self.house.outside.clock_ms().start() });
        let head = self.head(topic).filter(|_| matches!(start, Start::Since { .. }));
        line.say(command, vec![Answer::Subscribed { topic: topic.to_owned(), start, presence, rate, head }]).await;
    }

    /// What is known of a topic at least: where this guest was. Others may have seen more, and it begins before
    /// that: what another shard is compressing is still to come for everybody who follows.
    fn head(&self, topic: &str) -> Option<Head> {
        let (epoch, newest) = self.positions.get(topic).cloned()?;
        Some(Head { epoch, newest, oldest: 0 })
    }

    async fn publish(&mut self, line: &mut Line, topic: &str, filler: usize) {
        if self.random.one_in(15) && !self.marked.is_empty() {
            lock(&self.house.ledger).tally.count("repeated publishes");
            let (number, command) = self.marked[self.random.below(self.marked.len() as u64) as usize].clone();
            line.say(command, vec![Answer::Published { number, counting: None }]).await;
            return;
        }
        let key = self.random.one_in(2).then(|| format!("k{}", self.random.below(3)));
        let skips = topic != "brief.1" && self.random.one_in(5);
        let skip = skips.then_some(line.model.number);
        let at_min = *self.house.outside.clock_ms().start();
        let sent = Sent { topic: topic.to_owned(), key: key.clone(), skip, from: None, at_min };
        let number = lock(&self.house.ledger).compose(sent);
        let mut command = json!({"type": "publish", "topic": topic, "data": data(number, filler)});
        if let Some(key) = key {
            command["key"] = json!(key);
        }
        if skips {
            command["echo"] = json!(false);
        } else if self.random.one_in(6) {
            command["idempotency_key"] = json!(format!("{}-{number}", self.name));
            self.marked.push((number, command.clone()));
        }
        let counts = self.random.one_in(5);
        let counting = counts.then(|| lock(&self.house.ledger).audience.begin(topic, skip));
        if counts {
            command["receivers"] = json!(true);
        }
        line.say(command, vec![Answer::Published { number, counting }]).await;
    }

    async fn pause(&mut self, line: &mut Line) {
        let time = Duration::from_millis(self.random.below(150));
        if self.random.one_in(40) {
            sleep(Duration::from_millis(self.random.below(6_000))).await;
        } else if self.random.one_in(4) {
            sleep(time).await;
        } else {
            line.listen(Instant::now() + time).await;
        }
        for (topic, epoch, offset) in line.model.positions() {
            self.positions.insert(topic.clone(), (epoch.clone(), offset));
        }
        if !line.model.secret.is_empty() {
            self.secret = Some(line.model.secret.clone());
        }
    }
}
