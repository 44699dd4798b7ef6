//! Deliveries at full speed, with history and without.

use std::time::Duration;

use crate::Result;
use crate::stalled::whole;
use crate::support::load::Load;
use crate::support::measure::{self, FullSpeed};
use crate::support::proc::Cores;
use crate::support::server::{Server, fanfare};
use crate::support::traffic::Traffic;

pub(crate) struct History {
    pub(crate) subscribers: usize,
    pub(crate) data_bytes: usize,
    pub(crate) kept: Vec<FullSpeed>,
    pub(crate) not_kept: Vec<FullSpeed>,
}

/// Phases a round: short ones in turns, so that what else the machine does meets both alike.
const PHASES: usize = 3;

pub(crate) const ENTRIES: &str = "256";

pub(crate) fn measure(quick: bool, rounds: usize, cores: Option<Cores>) -> Result<History> {
    const TRAFFIC: Traffic = Traffic { topics: 1, data_bytes: 128, deflate: false, unread_bytes: None };
    const WARM_UP: Duration = Duration::from_millis(300);
    let (subscribers, lasting) = if quick { (50, Duration::from_millis(200)) } else { (1_000, Duration::from_secs(1)) };
    let start = |entries: &str| -> Result<(Server, Load)> {
        let server = Server::start(fanfare(), &[("FANFARE_HISTORY__ENTRIES", entries)], cores)?;
        let mut load = Load::new(server.address, TRAFFIC, cores.is_some())?;
        load.subscribe(subscribers)?;
        load.open_publisher()?;
        load.full_speed(WARM_UP)?;
        Ok((server, load))
    };
    let (mut kept, mut not_kept) = (Vec::new(), Vec::new());
    let (mut with, mut without) = (start(ENTRIES)?, start("0")?);
    for round in 0..rounds * PHASES {
        // Nobody always comes first.
        for turn in 0..2 {
            let ((server, load), record) =
                if (round + turn) % 2 == 0 { (&mut with, &mut kept) } else { (&mut without, &mut not_kept) };
            record.push(measure::full_speed(server, load, lasting)?);
        }
    }
    whole([&with.1, &without.1])?;
    Ok(History { subscribers, data_bytes: TRAFFIC.data_bytes, kept, not_kept })
}
