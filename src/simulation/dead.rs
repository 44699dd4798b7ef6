//! Members whose network goes silent: nothing ends their connection, and nobody tells the server.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::frames::{command, event, frame, whole_frame};
use super::network::{Cut, End, Weather, connection};
use super::random::Random;
use super::world::World;
use crate::fanout::Pipe;
use crate::protocol::Encoding;
use crate::session::Stream;

/// Within which the others are told, with the settings that count where none are made.
const GONE_WITHIN: Duration = Duration::from_secs(60);

const ROOM: &str = "a.1";

/// Somebody in the room, on a network without delay.
struct Member {
    end: End,
    unread: Vec<u8>,
}

impl Member {
    async fn join(world: &World, name: &str, seed: u64) -> Member {
        let weather = Weather { delay_ms_max: 0, capacity: 4_096, piece_bytes_max: 1 << 16 };
        let (end, server) = connection(weather, seed);
        let admission = world.admit(None, Encoding::Json, None, seed as usize).await;
        let (stream, transport) = Stream::through(Pipe::with_capacity(4_096), Box::new(server), &[]);
        world.serve(admission, stream, transport, seed);
        let join = json!({"type": "subscribe", "topic": ROOM, "presence": true, "member": name});
        end.send(&command(&join, false));
        let mut member = Member { end, unread: Vec::new() };
        member.until("presence").await;
        member
    }

    /// The next event of that type; pings are answered meanwhile.
    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let Some((first, payload)) = whole_frame(&self.unread) else {
                let count = self.end.read_buf(&mut self.unread).await.expect("the connection lasts");
                assert!(count > 0, "the connection has ended");
                continue;
            };
            let end = payload.end;
            let payload = self.unread[payload].to_vec();
            self.unread.drain(..end);
            if first == 0x89 {
                self.end.send(&frame(0x8A, &payload));
                continue;
            }
            let event = event(first, &payload, false);
            if event["type"] == kind {
                return event;
            }
        }
    }
}

/// How long the one who stays is shown the other, whose cable is pulled after so long, while messages are published
/// or not.
async fn outlived(seed: u64, after: Duration, is_busy: bool) -> Duration {
    let world = World::new(seed, &mut Random::new(seed));
    let mut stays = Member::join(&world, "stays", seed).await;
    let mut dies = Member::join(&world, "dies", seed + 1).await;
    let joined = stays.until("presence_diff").await;
    let publisher = world.broker.publisher(ROOM).expect("a name");
    let traffic = tokio::spawn(async move {
        // Beyond the end of the test, which comes before.
        for _ in 0..if is_busy { 1_000 } else { 0 } {
            publisher.publish("something that fills what nobody reads").await.expect("room for a message");
            sleep(Duration::from_millis(200)).await;
        }
    });
    let pulled = Instant::now() + after;
    // Alive until then: both answer their pings.
    let told_early = async {
        tokio::select! {
            _ = dies.until("presence_diff") => true,
            _ = stays.until("presence_diff") => true,
            () = sleep_until(pulled) => false,
        }
    };
    assert!(!told_early.await, "somebody left who was there");
    dies.end.cut(Cut::Silent);
    let left = timeout(GONE_WITHIN, stays.until("presence_diff")).await;
    let left = left.unwrap_or_else(|_| panic!("still shown after {GONE_WITHIN:?}: seed {seed}, {after:?}"));
    assert_eq!(left["left"][0]["connection"], joined["joined"][0]["connection"], "{left}");
    traffic.abort();
    pulled.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_dead_member_has_left_within_a_minute_whenever_its_cable_is_pulled() {
    let mut longest = Duration::ZERO;
    for is_busy in [false, true] {
        // Over more than a whole heartbeat, so that it dies before, at and after a ping.
        for seed in 0..12 {
            longest = longest.max(outlived(seed, Duration::from_millis(3_700 * seed), is_busy).await);
        }
    }
    // Nobody is given up who may still answer: a ping, its answer and the grace take this long at least.
    assert!(longest > Duration::from_secs(40), "{longest:?}");
}
