//! What is done to each server.

/// A load, the same for all.
pub(crate) struct Scenario {
    /// What `--scenarios` calls it.
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) subscribers: usize,
    pub(crate) topics: usize,
    pub(crate) publishers: usize,
    pub(crate) pace: Pace,
    pub(crate) size: usize,
    pub(crate) deflate: bool,
    pub(crate) msgpack: bool,
    pub(crate) warmup_ms: u32,
    pub(crate) measured_ms: u32,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// As fast as can be, with 64 messages of each publisher on their way.
    Full,
    /// So many messages a second.
    Rate(u32),
    /// Connections that wait, and one message in the end.
    Idle,
}

const FULL: Scenario = Scenario {
    key: "full",
    title: "Full speed: 1 topic, 1,000 subscribers, 128 B",
    subscribers: 1_000,
    topics: 1,
    publishers: 1,
    pace: Pace::Full,
    size: 128,
    deflate: false,
    msgpack: false,
    warmup_ms: 500,
    measured_ms: 2_500,
};

const RATE: Scenario = Scenario {
    key: "rate",
    title: "50 messages a second: 1 topic, 1,000 subscribers, 128 B",
    pace: Pace::Rate(50),
    measured_ms: 4_000,
    ..FULL
};

const TOPICS: Scenario = Scenario {
    key: "topics",
    title: "Full speed: 1,000 topics with 5 subscribers each, 4 publishers, 128 B",
    subscribers: 5_000,
    topics: 1_000,
    publishers: 4,
    ..FULL
};

const IDLE: Scenario = Scenario {
    key: "idle",
    title: "Idle: 10,000 subscribers of 1 topic",
    subscribers: 10_000,
    pace: Pace::Idle,
    warmup_ms: 0,
    measured_ms: 1_000,
    ..FULL
};

pub(crate) fn full() -> Vec<Scenario> {
    vec![
        FULL,
        Scenario { key: "full-1k", title: "Full speed: 1 topic, 1,000 subscribers, 1 KiB", size: 1024, ..FULL },
        Scenario {
            key: "full-deflated",
            title: "Full speed: 1 topic, 1,000 subscribers, 1 KiB, deflated",
            size: 1024,
            deflate: true,
            ..FULL
        },
        Scenario {
            key: "full-msgpack",
            title: "Full speed: 1 topic, 1,000 subscribers, MessagePack of what is 128 B as JSON",
            msgpack: true,
            ..FULL
        },
        TOPICS,
        RATE,
        Scenario {
            key: "rate-deflated",
            title: "50 messages a second: 1 topic, 1,000 subscribers, 1 KiB, deflated",
            size: 1024,
            deflate: true,
            measured_ms: 3_000,
            ..RATE
        },
        Scenario {
            key: "rate-topics",
            title: "500 messages a second: 1,000 topics with 5 subscribers each, 4 publishers, 128 B",
            pace: Pace::Rate(500),
            measured_ms: 4_000,
            ..TOPICS
        },
        IDLE,
    ]
}

/// The same in small.
pub(crate) fn quick() -> Vec<Scenario> {
    let mut scenarios = full();
    scenarios.retain(|scenario| !matches!(scenario.key, "full-1k" | "rate" | "rate-deflated" | "rate-topics"));
    for scenario in &mut scenarios {
        scenario.title = scenario.key;
        scenario.subscribers = 200;
        scenario.topics = if scenario.topics > 1 { 40 } else { 1 };
        scenario.warmup_ms /= 5;
        scenario.measured_ms = 200;
    }
    scenarios
}

impl Scenario {
    /// The load, as `fanfare bench` takes it.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = format!(
            "--connect-timeout 60s --subscribers {} --topics {} --publishers {} --size {} \
             --warmup {}ms --duration {}ms",
            self.subscribers, self.topics, self.publishers, self.size, self.warmup_ms, self.measured_ms
        );
        words += &match self.pace {
            Pace::Full => " --full-speed --await-delivery".to_owned(),
            Pace::Rate(rate) => format!(" --rate {rate}"),
            Pace::Idle => format!(" --rate 1 --messages 1 --settle {}ms", self.measured_ms),
        };
        if self.deflate {
            words += " --compression";
        }
        if self.msgpack {
            words += " --format msgpack";
        }
        words.split_ascii_whitespace().map(str::to_owned).collect()
    }
}
