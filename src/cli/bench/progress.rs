//! What somebody sees who waits at a terminal: one line, which is written over. Nobody else sees anything.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::measure::Sample;
use super::plan::Plan;
use super::table::{rate, time, whole};
use super::tally::Counts;

#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
    connections: usize,
    measuring: Option<Instant>,
    duration: Duration,
    /// Messages after which the run ends.
    messages: Option<u64>,
}

/// Cells of the bar.
const BAR: usize = 20;

impl Progress {
    pub(super) fn new(plan: &Plan) -> Progress {
        Progress {
            shown: io::stderr().is_terminal(),
            connections: plan.connections(),
            measuring: None,
            duration: plan.duration,
            messages: plan.messages,
        }
    }

    pub(super) fn show(&mut self, doing: &str, live: usize, counts: &Counts, sample: Option<&Sample>) {
        if !self.shown {
            return;
        }
        let done = match doing {
            "joining" => live as f64 / self.connections.max(1) as f64,
            "measuring" => {
                let began = *self.measuring.get_or_insert_with(Instant::now);
                let of_time = began.elapsed().as_secs_f64() / self.duration.as_secs_f64();
                of_time.max(share(counts.published, self.messages))
            }
            "draining" => 1.0,
            _ => 0.0,
        };
        // Some terminals do not know how wide they are, and say 0.
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok().filter(|size| size.ws_col > 0);
        let width = size.map_or(80, |size| usize::from(size.ws_col));
        let line = line(doing, done, live, counts, sample);
        let line: String = line.chars().take(width.saturating_sub(1)).collect();
        // Nobody can be told that nobody can be told.
        let _ = write!(io::stderr(), "\r\x1b[2K{line}");
    }

    /// Leaves the line empty, for what comes after.
    pub(super) fn clear(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}

/// How many of the messages after which a run ends have been published.
fn share(published: u64, messages: Option<u64>) -> f64 {
    messages.map_or(0.0, |messages| published as f64 / messages.max(1) as f64)
}

fn line(doing: &str, done: f64, live: usize, counts: &Counts, sample: Option<&Sample>) -> String {
    let filled = ((done.clamp(0.0, 1.0) * BAR as f64) as usize).min(BAR);
    let mut line = format!("{}{} {doing}, {live} live", "█".repeat(filled), "░".repeat(BAR - filled));
    if let Some(sample) = sample {
        line += &format!(
            ", {} out of {} in, p50 {} p99 {}, missing {}",
            rate(sample.delivered_per_second),
            rate(sample.published_per_second),
            time(sample.p50),
            time(sample.p99),
            whole(counts.missing),
        );
        if counts.gaps > 0 {
            line += &format!(", gaps {}", whole(counts.gaps));
        }
        if let Some(cpu) = sample.server_cpu {
            line += &format!(", server {:.0} %", cpu * 100.0);
        }
        line += &format!(", own {:.0} %", sample.own_busy * 100.0);
    } else if counts.refused > 0 {
        line += &format!(", {} refused", whole(counts.refused));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{line, share};
    use crate::cli::bench::measure::Sample;
    use crate::cli::bench::tally::Counts;

    #[test]
    fn a_line_says_how_far_it_is_and_how_it_goes() {
        let counts = Counts { refused: 3, missing: 1234, ..Counts::default() };
        assert_eq!(line("joining", 0.5, 50, &counts, None), "██████████░░░░░░░░░░ joining, 50 live, 3 refused");
        assert_eq!(line("measuring", share(25, Some(100)), 50, &counts, None).chars().filter(|c| *c == '█').count(), 5);
        assert_eq!([share(25, None), share(25, Some(0))], [0.0, 25.0]);
        let sample = Sample {
            delivered_per_second: 1_234_567.0,
            published_per_second: 1_234.5,
            p50: Some(0.000_35),
            server_cpu: Some(0.5),
            own_busy: 0.25,
            ..Sample::default()
        };
        assert_eq!(
            line("measuring", 7.0, 100, &counts, Some(&sample)),
            "████████████████████ measuring, 100 live, 1.23M/s out of 1.23k/s in, p50 350 µs p99 –, missing 1,234, \
             server 50 %, own 25 %"
        );
    }
}
