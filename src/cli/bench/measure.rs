//! The course of a run: everybody joins, publishers publish while it is measured, what is on its way arrives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::expect::seconds;
use super::host::{Process, Usage};
use super::plan::Plan;
use super::progress::Progress;
use super::shared::{Phase, Shared};
use super::tally::{Counts, Reasons, Times};
use super::worker::{Seat, Worker};

/// What was measured, as it came from the threads.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) end: End,
    /// How long everybody took to join.
    pub(super) join: Duration,
    /// Connections that were ready when publishing began, and when it ended.
    pub(super) joined: usize,
    pub(super) live: usize,
    /// How long was measured; zero if it never came to that.
    pub(super) lasted: Duration,
    /// Everything that was counted in that time,
    pub(super) counts: Counts,
    /// and from the beginning to the end.
    pub(super) totals: Counts,
    pub(super) times: Times,
    pub(super) reasons: Reasons,
    pub(super) lost: u64,
    pub(super) samples: Vec<Sample>,
    pub(super) server: Option<ServerUsage>,
    /// This process' own usage in the measured time, and the share of it that its busiest thread was busy.
    pub(super) own: Option<Usage>,
    pub(super) busiest: f64,
    pub(super) threads_cpu: f64,
}

/// The server's process, if it was found.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct ServerUsage {
    pub(super) pid: u32,
    /// Seconds of processor time in the measured time.
    pub(super) user: f64,
    pub(super) system: f64,
    /// Resident bytes before anybody connected, once everybody had joined and settled, and at most.
    pub(super) resident_before: u64,
    pub(super) resident_joined: u64,
    pub(super) resident_max: u64,
    /// Seconds of processor time for all connections to join.
    pub(super) join_cpu: f64,
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    Interrupted,
    /// It could not go on, or not even begin.
    Failed(String),
}

/// What happened since the sample before.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Sample {
    /// Seconds since measuring began.
    pub(super) at: f64,
    pub(super) delivered_per_second: f64,
    pub(super) published_per_second: f64,
    /// Seconds; absent if nothing was delivered.
    pub(super) p50: Option<f64>,
    pub(super) p90: Option<f64>,
    pub(super) p99: Option<f64>,
    pub(super) p999: Option<f64>,
    pub(super) max: Option<f64>,
    /// So far.
    pub(super) missing: u64,
    pub(super) gaps: u64,
    pub(super) live: usize,
    /// Processors in use.
    pub(super) server_cpu: Option<f64>,
    pub(super) server_resident: Option<u64>,
    /// Of its busiest thread, 0 to 1.
    pub(super) own_busy: f64,
}

const TICK: Duration = Duration::from_millis(25);
const SHOW: Duration = Duration::from_millis(250);
/// The shortest time between two samples, and how many there are at most, or nearly.
const SAMPLE: Duration = Duration::from_millis(250);
const SAMPLES_MAX: u32 = 240;
/// How long nothing at all may come of what was published, and how long connections may all be gone.
const STALLED: Duration = Duration::from_secs(10);
const GONE: Duration = Duration::from_secs(3);
/// How long what is on its way may be silent, and take, in the end.
const SILENCE: Duration = Duration::from_secs(2);
const DRAIN: Duration = Duration::from_secs(60);

pub(super) async fn measure(plan: Arc<Plan>, server_pid: Option<u32>) -> io::Result<Measured> {
    // Looking for it can take long, so it is done before any clock of the run starts.
    let server = match server_pid {
        Some(pid) => Process::of(pid),
        None => Process::listening_at(plan.route.address),
    };
    let server = server.and_then(Watched::new);
    let mut seats = Vec::new();
    let mut wakers = Vec::new();
    for _ in 0..plan.threads {
        let (seat, waker) = Seat::new()?;
        seats.push(seat);
        wakers.push(waker);
    }
    let shared = Arc::new(Shared::new(plan.layout.streams(), wakers));
    let mut threads = Vec::new();
    for (nth, seat) in seats.into_iter().enumerate() {
        let worker = Worker::new(seat, nth, &plan, &shared)?;
        threads.push(thread::Builder::new().name(format!("bench-{nth}")).spawn(move || worker.run())?);
    }
    let mut run = Run {
        now: Snapshot::default(),
        progress: Progress::new(&plan),
        server,
        threads,
        samples: Vec::new(),
        times: Times::default(),
        shown: Instant::now(),
        interrupted: Box::pin(interrupted()?),
        plan,
        shared,
    };
    let measured = run.course().await;
    run.shared.enter(Phase::Leave);
    run.progress.clear();
    let mut failed = None;
    for thread in run.threads.drain(..) {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed = Some(format!("the load generator failed: {error}")),
            Err(_) => failed = Some("the load generator failed".to_owned()),
        }
    }
    let mut measured = measured;
    run.look();
    // What came since threads last showed it. Before anything was measured, times are none of the run's.
    if !measured.lasted.is_zero() {
        measured.times.add(&run.now.times);
    }
    measured.totals = run.now.counts;
    measured.reasons = std::mem::take(&mut run.now.reasons);
    measured.lost = run.now.lost;
    measured.samples = run.samples;
    if let Some(failed) = failed {
        measured.end = End::Failed(failed);
    }
    Ok(measured)
}

struct Run {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    server: Option<Watched>,
    progress: Progress,
    now: Snapshot,
    samples: Vec<Sample>,
    /// Times in the measured time.
    times: Times,
    shown: Instant,
    /// Somebody does not want to wait. It ends once.
    interrupted: Pin<Box<dyn Future<Output = ()>>>,
}

/// The server's process, and what it used at some times.
struct Watched {
    process: Process,
    first: Usage,
    joined: Usage,
    last: Usage,
    resident_max: u64,
    join_cpu: f64,
}

/// What all threads have counted, when last looked at.
#[derive(Debug, Default)]
struct Snapshot {
    counts: Counts,
    /// Since they were last taken.
    times: Times,
    reasons: Reasons,
    live: usize,
    publishers: usize,
    behind: Option<usize>,
    lost: u64,
    /// By thread.
    cpu: Vec<u64>,
}

impl Run {
    async fn course(&mut self) -> Measured {
        let mut measured = Measured {
            end: End::Complete,
            join: Duration::ZERO,
            joined: 0,
            live: 0,
            lasted: Duration::ZERO,
            counts: Counts::default(),
            totals: Counts::default(),
            times: Times::default(),
            reasons: Reasons::default(),
            lost: 0,
            samples: Vec::new(),
            server: None,
            own: None,
            busiest: 0.0,
            threads_cpu: 0.0,
        };
        let began = Instant::now();
        let mut joined = self.join().await;
        measured.join = began.elapsed();
        if let Some(server) = &mut self.server {
            server.look();
            server.join_cpu = server.last.cpu() - server.first.cpu();
        }
        if joined.is_ok() {
            joined = self.settle().await;
        }
        measured.joined = self.now.live;
        measured.live = self.now.live;
        if let Some(server) = &mut self.server {
            server.look();
            server.joined = server.last;
        }
        // Times to connect are of all of the run.
        let mut connects = std::mem::take(&mut self.now.times.connect);
        if let Err(end) = joined {
            measured.end = end;
            measured.times.connect = connects;
            return measured;
        }
        // Without a warm-up, everything from the first message on is measured.
        if !self.plan.warmup.is_zero() {
            self.shared.enter(Phase::Publish);
            if let Err(end) = self.warm_up().await {
                measured.end = end;
            }
        }
        connects.add(&self.now.times.connect);
        if measured.end == End::Complete {
            self.publish(&mut measured).await;
        }
        measured.live = self.now.live;
        let failed = measured.end != End::Complete;
        self.shared.enter(Phase::Drain);
        // What was interrupted is not waited for.
        if !failed && let Err(end) = self.drain().await {
            measured.end = end;
        }
        self.take_times();
        measured.times = std::mem::take(&mut self.times);
        measured.times.connect.add(&connects);
        measured
    }

    /// Waits until everybody is ready.
    async fn join(&mut self) -> Result<(), End> {
        /// Refusals that need no confirmation by more of them.
        const ENOUGH: u64 = 64;
        let wanted = self.plan.connections();
        let mut tick = ticks(TICK);
        loop {
            self.next(&mut tick, "joining").await?;
            let (counts, live) = (&self.now.counts, self.now.live as u64);
            let failed = counts.refused + counts.closed + counts.slow_closed;
            if self.now.live == wanted {
                return Ok(());
            }
            if live + failed >= wanted as u64 || (failed >= ENOUGH && failed > live) {
                let why = self.now.reasons.sorted().first().map_or("", |(reason, _)| *reason).to_owned();
                return Err(End::Failed(format!("{live} of {wanted} connections are ready: {why}")));
            }
        }
    }

    /// Leaves everybody alone for a while.
    async fn settle(&mut self) -> Result<(), End> {
        let until = Instant::now() + self.plan.settle;
        let mut tick = ticks(TICK);
        while Instant::now() < until {
            self.next(&mut tick, "settling").await?;
            self.check_alive(Instant::now())?;
        }
        Ok(())
    }

    async fn warm_up(&mut self) -> Result<(), End> {
        let until = Instant::now() + self.plan.warmup;
        let mut tick = ticks(TICK);
        while Instant::now() < until && !self.is_over() {
            self.next(&mut tick, "warming up").await?;
            self.check_alive(Instant::now())?;
        }
        Ok(())
    }

    /// Measures while publishers publish.
    async fn publish(&mut self, measured: &mut Measured) {
        let began = Instant::now();
        self.look();
        let (counts, cpu) = (self.now.counts, self.now.cpu.clone());
        self.now.times.clear();
        let own = Process::me().usage();
        if let Some(server) = &mut self.server {
            server.look();
        }
        let server = self.server.as_ref().map(|server| server.last);
        if self.shared.phase() == Phase::Join {
            self.shared.enter(Phase::Publish);
        }
        let every = SAMPLE.max(self.plan.duration / SAMPLES_MAX);
        let mut before = Before { at: began, counts, cpu: cpu.clone(), server };
        let mut stall = Stall::default();
        let mut present = began;
        let mut tick = ticks(TICK);
        // A run of a number of messages is over once it has them, however fast.
        while began.elapsed() < self.plan.duration && !self.is_over() {
            let outcome = self.next(&mut tick, "measuring").await;
            if self.now.live > 0 {
                present = Instant::now();
            }
            let outcome = outcome.and_then(|()| self.check_alive(present)).and_then(|()| self.check_moving(&mut stall));
            if before.at.elapsed() >= every {
                before = self.sample(&before, began);
            }
            if let Err(end) = outcome {
                measured.end = end;
                break;
            }
        }
        self.look();
        if before.at.elapsed() >= every / 2 || self.samples.is_empty() {
            self.sample(&before, began);
        }
        measured.lasted = began.elapsed();
        measured.counts = self.now.counts.since(&counts);
        let used = self.now.cpu.iter().zip(&cpu).map(|(now, before)| (now - before) as f64 / 1e9);
        measured.busiest = used.clone().fold(0.0, f64::max) / measured.lasted.as_secs_f64();
        measured.threads_cpu = used.sum();
        measured.own = Process::me().usage().zip(own).map(|(now, before)| between(&before, &now));
        if let (Some(watched), Some(before)) = (&mut self.server, server) {
            watched.look();
            let used = between(&before, &watched.last);
            measured.server = Some(ServerUsage {
                pid: watched.process.pid(),
                user: used.user,
                system: used.system,
                resident_before: watched.first.resident,
                resident_joined: watched.joined.resident,
                resident_max: watched.resident_max,
                join_cpu: watched.join_cpu,
            });
        }
    }

    /// Waits until all has arrived, or nothing comes any more.
    async fn drain(&mut self) -> Result<(), End> {
        let began = Instant::now();
        let mut moved = began;
        let mut tick = ticks(TICK);
        while self.now.behind != Some(0) && began.elapsed() < DRAIN && moved.elapsed() < SILENCE {
            let last = self.now.counts;
            self.next(&mut tick, "draining").await?;
            let counts = &self.now.counts;
            // Slow readers have all the time in the world, and nobody waits for them.
            if (counts.delivered, counts.answered, counts.joined) != (last.delivered, last.answered, last.joined) {
                moved = Instant::now();
            }
        }
        Ok(())
    }

    /// Whether as many messages as were asked for have been published.
    fn is_over(&self) -> bool {
        self.plan.messages.is_some_and(|messages| self.now.counts.published >= messages)
    }

    /// Whether there is anybody left to go on with; somebody was `present` at that time.
    fn check_alive(&self, present: Instant) -> Result<(), End> {
        let (counts, live) = (&self.now.counts, self.now.live);
        let closed = counts.closed + counts.slow_closed;
        let all = self.plan.connections() as u64;
        let gone = all > 0 && (closed >= all || (live == 0 && present.elapsed() > GONE && counts.refused > 0));
        let silent = self.plan.layout.publishers > 0 && closed > 0 && self.now.publishers == 0;
        if !gone && !silent {
            return Ok(());
        }
        let who = if gone { "all connections are gone" } else { "all publishers are gone" };
        let why = self.now.reasons.sorted().first().map_or(String::new(), |(reason, _)| format!(": {reason}"));
        Err(End::Failed(format!("{who}{why}")))
    }

    /// Whether anything comes of what is published.
    fn check_moving(&self, stall: &mut Stall) -> Result<(), End> {
        let counts = &self.now.counts;
        let arrived = counts.delivered + counts.slow_delivered + counts.answered + counts.refused_publishes;
        // Where publishes are not answered, somebody has to be there who gets them, and does not dawdle.
        let readers = self.now.live.saturating_sub(self.now.publishers);
        let expected = self.plan.dialect.answers_publishes() || readers > self.plan.slow;
        if expected && stall.lasts(Instant::now(), counts.published, arrived) {
            return Err(End::Failed(format!("nothing has arrived for {} seconds", STALLED.as_secs())));
        }
        Ok(())
    }

    /// Waits a little, looks, and shows what there is to see.
    async fn next(&mut self, tick: &mut tokio::time::Interval, doing: &'static str) -> Result<(), End> {
        tokio::select! {
            _ = tick.tick() => {}
            _ = &mut self.interrupted => return Err(End::Interrupted),
        }
        self.look();
        if self.shown.elapsed() >= SHOW {
            self.shown = Instant::now();
            self.progress.show(doing, self.now.live, &self.now.counts, self.samples.last());
        }
        if self.threads.iter().any(JoinHandle::is_finished) {
            return Err(End::Failed("the load generator failed".to_owned()));
        }
        Ok(())
    }

    /// Adds up what all threads show.
    fn look(&mut self) {
        let mut now = Snapshot { times: std::mem::take(&mut self.now.times), ..Snapshot::default() };
        now.behind = Some(0);
        for thread in 0..self.shared.threads() {
            let mut tally = self.shared.tally(thread);
            now.counts.add(&tally.counts);
            now.times.add(&tally.times);
            tally.times.clear();
            now.reasons.add_all(&tally.reasons);
            now.live += tally.live;
            now.publishers += tally.publishers;
            now.behind = now.behind.zip(tally.behind).map(|(all, behind)| all + behind);
            now.lost += tally.lost;
            now.cpu.push(tally.cpu);
        }
        self.now = now;
    }

    fn take_times(&mut self) {
        self.times.add(&self.now.times);
        self.now.times.clear();
    }

    fn sample(&mut self, before: &Before, began: Instant) -> Before {
        if let Some(server) = &mut self.server {
            server.look();
        }
        let at = Instant::now();
        let lasted = (at - before.at).as_secs_f64();
        let counts = self.now.counts.since(&before.counts);
        let latency = &self.now.times.latency;
        let cpu = self.now.cpu.iter().zip(&before.cpu).map(|(now, before)| (now - before) as f64 / 1e9);
        let server = self.server.as_ref().map(|server| server.last);
        self.samples.push(Sample {
            at: (at - began).as_secs_f64(),
            delivered_per_second: counts.delivered as f64 / lasted,
            published_per_second: counts.published as f64 / lasted,
            p50: seconds(latency.percentile(50.0)),
            p90: seconds(latency.percentile(90.0)),
            p99: seconds(latency.percentile(99.0)),
            p999: seconds(latency.percentile(99.9)),
            max: seconds(latency.max()),
            missing: self.now.counts.missing,
            gaps: self.now.counts.gaps,
            live: self.now.live,
            server_cpu: server.zip(before.server).map(|(now, before)| (now.cpu() - before.cpu()) / lasted),
            server_resident: server.map(|server| server.resident),
            own_busy: cpu.fold(0.0, f64::max) / lasted,
        });
        self.take_times();
        Before { at, counts: self.now.counts, cpu: self.now.cpu.clone(), server }
    }
}

/// Whether a server has stopped to do anything with what is published.
#[derive(Debug, Default)]
struct Stall {
    published: u64,
    arrived: u64,
    /// When something was published for the first time since anything arrived.
    since: Option<Instant>,
}

impl Stall {
    /// Looks at the counts of `now`: whether it is too long that nothing has come of what was published.
    fn lasts(&mut self, now: Instant, published: u64, arrived: u64) -> bool {
        if arrived != self.arrived {
            *self = Stall { published, arrived, since: None };
        } else if published > self.published {
            self.since.get_or_insert(now);
        }
        self.since.is_some_and(|since| now - since > STALLED)
    }
}

/// What a sample is compared with.
struct Before {
    at: Instant,
    counts: Counts,
    cpu: Vec<u64>,
    server: Option<Usage>,
}

impl Watched {
    fn new(process: Process) -> Option<Watched> {
        let first = process.usage()?;
        Some(Watched { process, first, joined: first, last: first, resident_max: first.resident, join_cpu: 0.0 })
    }

    /// Looks again; a process that is gone keeps what it had.
    fn look(&mut self) {
        if let Some(usage) = self.process.usage() {
            self.last = usage;
            self.resident_max = self.resident_max.max(usage.resident);
        }
    }
}

fn between(before: &Usage, now: &Usage) -> Usage {
    Usage { user: now.user - before.user, system: now.system - before.system, resident: now.resident }
}

/// Ends when somebody wants the run to end, by either of the usual signals.
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Stall;

    #[test]
    fn a_server_has_stalled_when_nothing_comes_of_what_is_published() {
        let began = Instant::now();
        let mut stall = Stall::default();
        let mut lasts =
            |seconds, published, arrived| stall.lasts(began + Duration::from_secs(seconds), published, arrived);
        assert!(!lasts(60, 0, 0), "nothing was published");
        assert!(!lasts(61, 1, 0));
        assert!(!lasts(71, 5, 0));
        assert!(lasts(72, 5, 0));
        assert!(!lasts(73, 5, 1), "something has come");
        assert!(!lasts(99, 5, 1), "nothing was published since");
        assert!(!lasts(100, 6, 1));
        assert!(!lasts(109, 6, 2));
        assert!(!lasts(130, 6, 2));
    }
}
