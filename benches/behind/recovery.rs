//! "Everybody reconnects": how long it takes until all have what they missed, and what those notice who follow
//! something else.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::nice;

use crate::stalled::{QUIET, whole};
use crate::storm::{self, Asked, Storm};
use crate::support::load::Load;
use crate::support::measure::{self, Late};
use crate::support::proc::{Cores, Cpu};
use crate::support::server::{Server, fanfare, own};
use crate::support::traffic::Traffic;
use crate::{Result, plain};

pub(crate) struct Recovery {
    pub(crate) clients: usize,
    pub(crate) messages: u64,
    pub(crate) data_bytes: usize,
    /// Bytes that each client gets.
    pub(crate) bytes: usize,
    pub(crate) bystanders: usize,
    pub(crate) per_second: u32,
    pub(crate) rounds: Vec<Round>,
}

pub(crate) struct Round {
    pub(crate) fanfare: Took,
    pub(crate) plain: Took,
    /// Of the bystanders, in milliseconds: while nothing else happened, and while everybody came back.
    pub(crate) before: Late,
    pub(crate) during: Late,
}

pub(crate) struct Took {
    pub(crate) seconds: f64,
    /// Processor time of the server.
    pub(crate) cpu: f64,
}

const TOPIC: &str = "storm";

pub(crate) fn measure(quick: bool, rounds: usize, cores: Option<Cores>) -> Result<Recovery> {
    const DATA_BYTES: usize = 128;
    const PER_SECOND: u32 = 50;
    let (clients, messages, bystanders) = if quick { (50, 100, 10) } else { (1_000, 1_000, 100) };
    let before = Duration::from_millis(if quick { 200 } else { 2_000 });
    let data = format!(r#""{}""#, "x".repeat(DATA_BYTES - 2));
    let tail = format!(r#""data":{data}}}"#);

    let settings = [QUIET, ("FANFARE_HISTORY__ENTRIES", "1000"), ("FANFARE_HISTORY__BYTES", "4194304")];
    let server = Server::start(fanfare(), &settings, cores)?;
    let epoch = storm::publish(server.address, TOPIC, messages, &data)?;
    let asked = Asked { topic: TOPIC, epoch: &epoch, messages, tail: &tail };
    let expected = storm::expected(server.address, asked)?;
    let plain = plain_server(&expected, cores)?;

    let traffic = Traffic { topics: 1, data_bytes: DATA_BYTES, deflate: false, unread_bytes: None };
    // It sleeps while nothing comes: the crowd's thread wants the same core.
    let mut others = Load::new(server.address, traffic, false)?;
    others.subscribe(bystanders)?;
    others.open_publisher()?;

    let mut record = Vec::new();
    for round in 0..rounds {
        let alone = |server: &Server| -> Result<Took> {
            let storm = Storm::gather(server.address, clients)?;
            let cpu = Cpu::of(server.pid())?;
            let took = storm.break_loose(asked, &expected)?;
            let cpu = Cpu::of(server.pid())? - cpu;
            Ok(Took { seconds: took.as_secs_f64(), cpu: cpu.total().as_secs_f64() })
        };
        // Nobody always comes first.
        let (of_fanfare, of_plain) = if round % 2 == 0 {
            let of_fanfare = alone(&server)?;
            (of_fanfare, alone(&plain)?)
        } else {
            let of_plain = alone(&plain)?;
            (alone(&server)?, of_plain)
        };
        let storm = Storm::gather(server.address, clients)?;
        let quiet = measure::paced(&server, &mut others, PER_SECOND, before)?;
        let over = AtomicBool::new(false);
        let during = thread::scope(|scope| -> Result<Late> {
            let crowd = scope.spawn(|| {
                // Whoever is measured goes first on the core that both share.
                const LAST: i32 = 19;
                let _ = nice(LAST);
                let took = storm.break_loose(asked, &expected);
                over.store(true, Ordering::Relaxed);
                took
            });
            let late = others.paced(PER_SECOND, || !over.load(Ordering::Relaxed))?;
            crowd.join().map_err(|_| "the crowd's thread panicked")??;
            Ok(Late::of(late))
        })?;
        let before = Late { p50: quiet.p50, p99: quiet.p99 };
        record.push(Round { fanfare: of_fanfare, plain: of_plain, before, during });
    }
    whole([&others])?;
    Ok(Recovery {
        clients,
        messages,
        data_bytes: DATA_BYTES,
        bytes: expected.len(),
        bystanders,
        per_second: PER_SECOND,
        rounds: record,
    })
}

/// A server that answers everybody with those bytes.
fn plain_server(answer: &[u8], cores: Option<Cores>) -> Result<Server> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("behind-{}", std::process::id()));
    fs::write(&path, answer)?;
    let mut command = own(plain::OPTION)?;
    command.arg(&path);
    let server = Server::start(command, &[], cores);
    fs::remove_file(&path)?;
    server
}
