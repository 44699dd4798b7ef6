//! Hostile clients, and what honest ones beside them see: everything, in order, whoever attacks.
//!
//! The table in [`table`] says what is answered to each attack, and a test holds the server to it. [`long`] is the
//! longer program, which measures what each costs:
//!
//! ```sh
//! cargo test --release --test attacks -- --ignored --nocapture
//! ```

#![cfg(feature = "server")]
#![expect(clippy::print_stdout, reason = "the longer program says what it measured")]

mod flood;
#[path = "../support/frames.rs"]
mod frames;
mod honest;
mod long;
mod measure;
mod peer;
#[expect(dead_code, reason = "every server here has settings")]
#[path = "../support/server.rs"]
mod server;
mod table;
#[path = "../support/tokens.rs"]
mod tokens;

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use serde_json::json;

use honest::{Crowd, Seen};
use server::Server;
use table::{ATTACKS, Doors, Target};
use tokens::{SECRET, now, sign};

/// How long anything is waited for that must come: far beyond what even a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

impl Doors {
    /// A server that exempts nobody, with settings besides.
    fn open(self, settings: &[(&str, &str)]) -> Server {
        let secrets = format!("[{SECRET:?}]");
        let credentials =
            [("auth.secrets", &*secrets), ("auth.public_key_files", tokens::RSA_PUBLIC), ("auth.leeway_ms", "0")];
        let mut all = vec![("limits.exempt", "")];
        all.extend(settings);
        if self == Doors::Guarded {
            all.extend(credentials);
        }
        Server::with(&all)
    }

    /// What honest clients show.
    fn token(self) -> Option<String> {
        let rights = json!({"subscribe": ["honest.>"], "publish": ["honest.>"]});
        let claims = json!({"sub": "honest", "exp": now() + 3_600, "fanfare": rights});
        (self == Doors::Guarded).then(|| sign(&claims))
    }
}

/// All of them at once, each from an address of its own.
#[test]
fn each_attack_gets_its_answer_and_honest_clients_notice_nothing() {
    let settings =
        [("limits.header_ms", "1000"), ("keep_alive.heartbeat_ms", "1000"), ("keep_alive.timeout_ms", "4000")];
    for doors in [Doors::Open, Doors::Guarded] {
        let server = doors.open(&settings);
        let crowd = Crowd::gather(server.address(), 5, doors.token(), None);
        let attacks = ATTACKS.iter().zip(1..).filter(|(attack, _)| attack.doors == doors);
        let answers: Vec<_> = thread::scope(|scope| {
            let strikes: Vec<_> = attacks
                .map(|(attack, number)| {
                    let target = Target { server: server.address(), from: Ipv4Addr::new(127, 1, 0, number) };
                    (attack, scope.spawn(move || (attack.strike)(target)))
                })
                .collect();
            strikes.into_iter().map(|(attack, strike)| (attack, strike.join())).collect()
        });
        for (attack, answer) in answers {
            let answer = answer.unwrap_or_else(|_| panic!("{}: no answer", attack.name));
            assert_eq!(answer.to_string(), attack.answer, "{}", attack.name);
        }
        let Seen { published, lost } = crowd.part();
        assert!(published > 0 && lost == 0, "of {published} messages {lost} were lost");
    }
}
