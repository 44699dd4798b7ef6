//! A client that does this and that, vanishes, comes again, and goes on from where it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::audience::Counting;
use super::ledger::{Sent, data};
use super::line::Line;
use super::model::{Answer, Rate, Start, Witness};
use super::network::Cut;
use super::random::Random;
use super::world::{PATTERNS, TOPICS, World, may_skip};

/// Messages a second: none of them has the same time between two as another.
const RATES: [u64; 5] = [1, 2, 10, 100, 1_000];

pub(super) struct Client {
    world: Arc<World>,
    number: u64,
    /// Who it proves to be.
    subject: Option<String>,
    random: Random,
    /// Where it was in each topic.
    positions: BTreeMap<String, (String, u64)>,
    /// The connection before, and its secret.
    before: Option<(u64, String)>,
    /// Publishes that it may repeat: their numbers, and what was said.
    marked: Vec<(u64, Value)>,
}

impl Client {
    pub(super) fn new(world: Arc<World>, number: u64, random: Random) -> Client {
        let subject = (!number.is_multiple_of(3)).then(|| format!("s{number}"));
        Client { world, number, subject, random, positions: BTreeMap::new(), before: None, marked: Vec::new() }
    }

    /// Comes and goes until then, and gives the connection that it has in the end.
    pub(super) async fn live_until(&mut self, end: Instant) -> Line {
        loop {
            sleep(Duration::from_millis(self.random.below(500))).await;
            let mut line = self.begin().await;
            for _ in 0..3 + self.random.below(40) {
                if Instant::now() >= end || !line.is_open {
                    break;
                }
                self.act(&mut line);
                self.pause(&mut line).await;
            }
            if Instant::now() >= end && (line.is_open || self.world.is_drained()) {
                return line;
            }
            self.leave(line).await;
        }
    }

    async fn begin(&mut self) -> Line {
        let mut line = Line::open(&self.world, self.subject.as_deref(), &mut self.random).await;
        if let Some((before, secret)) = self.before.take()
            && self.random.one_in(2)
        {
            line.say(vec![(json!({"type": "resume", "resume": secret}), vec![Answer::Resumed])]);
            self.world.may_take_over(before, line.model.number);
        }
        if self.random.one_in(2) {
            for topic in TOPICS {
                if self.positions.contains_key(topic) && self.random.one_in(2) {
                    let command = self.subscribe(line.model.number, topic, true);
                    line.say(vec![command]);
                }
            }
        }
        line
    }

    /// Says something, or several things at once.
    fn act(&mut self, line: &mut Line) {
        match self.random.below(24) {
            0 => line.babble(),
            1 => {
                let commands = (0..2 + self.random.below(4)).map(|_| self.command(line)).collect();
                line.say(commands);
            }
            2 => {
                let commands: Vec<_> = (0..10 + self.random.below(60)).map(|_| self.publish(line)).collect();
                commands.into_iter().for_each(|command| line.say(vec![command]));
            }
            3 => line.stall(Duration::from_millis(self.random.below(4_000))),
            _ => {
                let command = self.command(line);
                line.say(vec![command]);
            }
        }
    }

    fn command(&mut self, line: &mut Line) -> (Value, Vec<Answer>) {
        let topic = self.topic();
        match self.random.below(16) {
            0 => (json!({"type": "ping"}), vec![Answer::Pong]),
            1 => {
                let limit = self.random.below(12);
                let mut command = json!({"type": "history", "topic": topic, "limit": limit});
                let since = self.position(topic).filter(|_| self.random.one_in(2));
                if let Some((epoch, offset)) = &since {
                    command["since"] = json!({"epoch": epoch, "offset": offset});
                }
                let head = self.world.head(topic);
                (command, vec![Answer::History { topic: topic.to_owned(), since, limit, head }])
            }
            2 => (json!({"type": "presence", "topic": topic}), vec![Answer::Presence { topic: topic.to_owned() }]),
            3 => self.follow(),
            4 => self.subscribe_all(),
            5 | 6 => {
                let followed: Vec<_> = line.model.follows().cloned().collect();
                let filter = match followed.len() as u64 {
                    0 => topic.to_owned(),
                    count => followed[self.random.below(count) as usize].clone(),
                };
                self.world.left(line.model.number, &filter);
                (json!({"type": "unsubscribe", "topic": filter}), vec![Answer::Unsubscribed { filter }])
            }
            7..=10 => {
                let goes_on = self.random.one_in(2);
                self.subscribe(line.model.number, topic, goes_on)
            }
            _ => self.publish(line),
        }
    }

    fn topic(&mut self) -> &'static str {
        TOPICS[self.random.below(TOPICS.len() as u64) as usize]
    }

    /// A position that it had, more or less.
    fn position(&mut self, topic: &str) -> Option<(String, u64)> {
        let (epoch, offset) = self.positions.get(topic)?.clone();
        Some(match self.random.below(12) {
            0 => (epoch, offset + 1 + self.random.below(3)),
            1 => (epoch, offset.saturating_sub(self.random.below(30))),
            2 => ("nosuch".to_owned(), offset),
            _ => (epoch, offset),
        })
    }

    fn subscribe(&mut self, line: u64, topic: &str, goes_on: bool) -> (Value, Vec<Answer>) {
        let mut command = json!({"type": "subscribe", "topic": topic});
        let start = self.start(topic, goes_on, &mut command);
        let presence = self.random.one_in(3);
        if presence {
            command["presence"] = json!(true);
            command["member"] = json!({"c": line, "word": self.random.below(2)});
        }
        let rate = self.random.one_in(4).then(|| RATES[self.random.below(RATES.len() as u64) as usize]);
        if let Some(max) = rate {
            command["max_rate"] = json!(max);
        }
        let rate = rate.map(|max| Rate { max, asked_ms: *self.world.clock_ms().start() });
        let head = self.world.head(topic);
        (command, vec![Answer::Subscribed { topic: topic.to_owned(), start, presence, rate, head }])
    }

    fn start(&mut self, topic: &str, goes_on: bool, item: &mut Value) -> Start {
        if let Some((epoch, offset)) = self.position(topic).filter(|_| goes_on) {
            item["since"] = json!({"epoch": epoch, "offset": offset});
            Start::Since { epoch, offset }
        } else if self.random.one_in(4) {
            let last = self.random.below(60);
            item["last"] = json!(last);
            Start::Last(last)
        } else {
            Start::Live
        }
    }

    /// A list of topics, each with a beginning of its own, and a pattern.
    fn subscribe_all(&mut self) -> (Value, Vec<Answer>) {
        let (mut items, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..1 + self.random.below(4) {
            let topic = self.topic();
            let mut item = json!({"topic": topic});
            let start = self.start(topic, true, &mut item);
            items.push(if start == Start::Live { json!(topic) } else { item });
            let (topic, head) = (topic.to_owned(), self.world.head(topic));
            answers.push(Answer::Subscribed { topic, start, presence: false, rate: None, head });
        }
        if self.random.one_in(2) {
            let (command, answer) = self.follow();
            items.push(command["topic"].clone());
            answers.extend(answer);
        }
        (json!({"type": "subscribe", "topics": items}), answers)
    }

    fn follow(&mut self) -> (Value, Vec<Answer>) {
        let pattern = PATTERNS[self.random.below(PATTERNS.len() as u64) as usize].to_owned();
        let command = json!({"type": "subscribe", "topic": pattern});
        (command, vec![Answer::Following { pattern, heads: self.world.heads() }])
    }

    fn publish(&mut self, line: &Line) -> (Value, Vec<Answer>) {
        if self.random.one_in(12) && !self.marked.is_empty() {
            self.world.ledger().tally.count("repeated publishes");
            let (number, command) = self.marked[self.random.below(self.marked.len() as u64) as usize].clone();
            let counting = self.begin_count(&command, None);
            return (command, vec![Answer::Published { number, counting }]);
        }
        let topic = self.topic();
        let key = self.random.one_in(2).then(|| format!("k{}", self.random.below(3)));
        let skips = may_skip(topic) && self.random.one_in(4);
        let skip = skips.then_some(line.model.number);
        let (from, at_min) = (self.subject.clone(), *self.world.clock_ms().start());
        let sent = Sent { topic: topic.to_owned(), key: key.clone(), skip, from, at_min };
        let number = self.world.ledger().compose(sent);
        let filler = [0, 0, 20, 300, 3_000][self.random.below(5) as usize];
        let mut command = json!({"type": "publish", "topic": topic, "data": data(number, filler)});
        if let Some(key) = key {
            command["key"] = json!(key);
        }
        if self.random.one_in(5) {
            command["receivers"] = json!(true);
        }
        if skips {
            command["echo"] = json!(false);
        } else if self.random.one_in(6) {
            command["idempotency_key"] = json!(self.mark(topic));
            self.marked.push((number, command.clone()));
        } else if command.get("receivers").is_none() && self.random.one_in(5) {
            // Nobody asks what came of it.
            return (command, Vec::new());
        }
        let counting = self.begin_count(&command, skip);
        (command, vec![Answer::Published { number, counting }])
    }

    /// What makes a publish to a topic the same when it is repeated. Whoever has a name of its own has keys of its
    /// own, and so has each topic.
    fn mark(&self, topic: &str) -> String {
        let marks = self.marked.iter().filter(|(_, command)| command["topic"] == topic).count();
        if self.subject.is_some() { format!("{marks}") } else { format!("{}-{marks}", self.number) }
    }

    /// Whom it may be for, if that is asked.
    fn begin_count(&self, command: &Value, skip: Option<u64>) -> Option<Counting> {
        command.get("receivers")?;
        let topic = command["topic"].as_str().expect("a name");
        Some(self.world.ledger().audience.begin(topic, skip))
    }

    /// Asks how many get what it publishes when all is quiet.
    pub(super) fn probe(&mut self, line: &mut Line) {
        for topic in TOPICS {
            let (from, at_min) = (self.subject.clone(), *self.world.clock_ms().start());
            let skip = may_skip(topic) && self.random.one_in(2);
            let skip = skip.then_some(line.model.number);
            let mut ledger = self.world.ledger();
            let number = ledger.compose(Sent { topic: topic.to_owned(), key: None, skip, from, at_min });
            let counting = Some(ledger.audience.begin(topic, skip));
            drop(ledger);
            let echo = skip.is_none();
            let command =
                json!({"type": "publish", "topic": topic, "data": data(number, 0), "receivers": true, "echo": echo});
            line.say(vec![(command, vec![Answer::Published { number, counting }])]);
        }
    }

    /// Reads, all of it, some of it or nothing, for a while.
    async fn pause(&mut self, line: &mut Line) {
        let some = [0, 20, 200, 2_000][self.random.below(4) as usize];
        let time = Duration::from_millis(self.random.below(some + 1));
        match self.random.below(60) {
            0 => sleep(Duration::from_millis(1_000 + self.random.below(8_000))).await,
            1 if self.random.one_in(4) => sleep(Duration::from_millis(30_000 + self.random.below(40_000))).await,
            2..=10 => sleep(time).await,
            11..=20 => {
                let bytes = 1 + self.random.below(400) as usize;
                line.listen(Instant::now() + time, bytes).await;
            }
            _ => line.listen(Instant::now() + time, usize::MAX).await,
        }
        self.remember(line);
    }

    fn remember(&mut self, line: &Line) {
        for (topic, epoch, offset) in line.model.positions() {
            self.positions.insert(topic.clone(), (epoch.clone(), offset));
        }
        if !line.model.secret.is_empty() {
            self.before = Some((line.model.number, line.model.secret.clone()));
        }
    }

    async fn leave(&mut self, mut line: Line) {
        match self.random.below(6) {
            0 => {
                line.say_goodbye();
                line.listen(Instant::now() + Duration::from_secs(2), usize::MAX).await;
                self.remember(&line);
            }
            1 => {
                line.break_off();
                line.listen(Instant::now() + Duration::from_millis(self.random.below(50)), usize::MAX).await;
                self.remember(&line);
            }
            2 | 3 => {
                // Half dead: the server does not know yet.
                if line.is_open {
                    line.cut(Cut::Silent);
                }
                return;
            }
            _ => {}
        }
        if line.is_open {
            line.cut(Cut::Reset);
        }
    }
}
