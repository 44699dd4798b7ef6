//! One thread of the load: an event loop with its share of the connections.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use rustix::time::{ClockId, clock_gettime};

use super::conn::{Conn, Over, Role, State};
use super::context::{Context, Io};
use super::plan::{Pace, Plan};
use super::publisher::{Schedule, UNSENT_BYTES_MAX, lateness};
use super::shared::{Phase, Shared};
use super::tally::{Counts, Reasons, Times};
use super::timer::Timer;
use super::transport::Source;

/// A thread's event loop, before the thread.
#[derive(Debug)]
pub(super) struct Seat {
    poll: Poll,
}

const WAKE: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

impl Seat {
    /// A seat, and what wakes whoever sits there.
    pub(super) fn new() -> io::Result<(Seat, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        Ok((Seat { poll }, waker))
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    thread: usize,
    poll: Poll,
    timer: Timer,
    conns: Vec<Conn>,
    ctx: Context,
    io: Io,
    /// Connections that are to be opened, as soon as they may.
    closed: VecDeque<usize>,
    /// Those on their way, for each when it began. One that arrived meanwhile is passed over.
    opening: VecDeque<(usize, u64)>,
    /// How many connections are really on their way.
    on_their_way: usize,
    /// Those that are away for a while, and until when; ascending.
    away: VecDeque<(usize, u64)>,
    /// Those that said farewell, and when.
    leaving: VecDeque<(usize, u64)>,
    /// Those that may have more to read than their turn allowed.
    unread: Vec<usize>,
    /// Positions in `conns` of the publishers, and of subscribers that read slowly.
    publishers: Vec<usize>,
    slow: Vec<usize>,
    schedule: Option<Schedule>,
    /// Where the next one to leave is looked for, and how many have left for the sake of churn.
    churn_at: usize,
    churned: u64,
    storms: u64,
    /// Connections opened so far, and since when, for the rate.
    opened: u64,
    opens_from: u64,
    chores_at: u64,
    shown_at: u64,
    /// Up to when slow readers have been given their share.
    fed_at: u64,
    /// When a publisher was last found waiting for a server that does not read.
    held_at: u64,
    behind: Option<usize>,
    /// Processor time spent on turns in which nothing happened, if it never waits.
    idle: u64,
}

/// Connections on their way at any time, fewer than any server's accept queue holds.
const OPENING_MAX: usize = 64;
/// Messages that are made before connections get their turn.
const PUBLISHES_MAX: usize = 1024;
/// How often those who are not urgent are looked after.
const CHORES: Duration = Duration::from_millis(5);
/// How often others see what was counted.
const SHOW: Duration = Duration::from_millis(50);
/// How long a server may take to hang up.
const FAREWELL: Duration = Duration::from_secs(1);
/// Before another attempt of a connection that came back and was refused.
const RETRY: Duration = Duration::from_millis(100);

impl Worker {
    pub(super) fn new(seat: Seat, thread: usize, plan: &Arc<Plan>, shared: &Arc<Shared>) -> io::Result<Worker> {
        let mut conns: Vec<Conn> =
            (thread..plan.subscribers).step_by(plan.threads).map(|index| Conn::subscriber(plan, index)).collect();
        let slow = (0..conns.len()).filter(|at| conns[*at].is_slow()).collect();
        let first = conns.len();
        let local: Vec<usize> =
            (0..plan.layout.publishers).filter(|index| plan.thread_of_publisher(*index) == thread).collect();
        conns.extend(local.iter().map(|index| Conn::publisher(plan, *index)));
        Ok(Worker {
            thread,
            timer: Timer::new(seat.poll.registry(), TIMER)?,
            poll: seat.poll,
            closed: (0..conns.len()).collect(),
            publishers: (first..conns.len()).collect(),
            slow,
            schedule: Schedule::new(plan, local),
            conns,
            ctx: Context {
                plan: plan.clone(),
                shared: shared.clone(),
                counts: Counts::default(),
                times: Times::default(),
                reasons: Reasons::default(),
                source: Source::default(),
                now: 0,
                live: 0,
            },
            io: Io::new(plan),
            opening: VecDeque::new(),
            on_their_way: 0,
            away: VecDeque::new(),
            leaving: VecDeque::new(),
            unread: Vec::new(),
            churn_at: 0,
            churned: 0,
            storms: 0,
            opened: 0,
            opens_from: 0,
            chores_at: 0,
            shown_at: 0,
            fed_at: 0,
            held_at: 0,
            behind: None,
            idle: 0,
        })
    }

    /// Goes on until all leave.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let spin = self.ctx.plan.spin;
        self.opens_from = self.ctx.shared.now();
        loop {
            let turn = if spin { Some((cpu_time(), self.ctx.counts.published)) } else { None };
            self.ctx.now = self.ctx.shared.now();
            let phase = self.ctx.shared.phase();
            if phase == Phase::Leave {
                break;
            }
            self.open();
            let mut sleep = CHORES;
            if phase == Phase::Publish {
                sleep = sleep.min(self.publish()?);
            }
            if self.ctx.now >= self.chores_at {
                self.chores(phase);
            }
            if spin || !self.unread.is_empty() {
                sleep = Duration::ZERO;
            }
            match self.poll.poll(&mut events, Some(sleep)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.ctx.now = self.ctx.shared.now();
            for event in &events {
                let (WAKE | TIMER) = event.token() else {
                    let at = event.token().0;
                    if event.is_writable() {
                        let outcome = self.conns[at].writable(&mut self.ctx);
                        self.settle(at, outcome);
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.read(at);
                    }
                    continue;
                };
            }
            if let Some((began, published)) = turn
                && events.is_empty()
                && self.unread.is_empty()
                && published == self.ctx.counts.published
            {
                self.idle += cpu_time() - began;
            }
            for at in std::mem::take(&mut self.unread) {
                self.read(at);
            }
        }
        self.finish();
        Ok(())
    }

    fn read(&mut self, at: usize) {
        match self.conns[at].readable(&mut self.ctx, &mut self.io) {
            Ok(false) => {}
            Ok(true) => self.unread.push(at),
            Err(over) => self.settle(at, Err(over)),
        }
    }

    /// A connection is over, if `outcome` says so: what becomes of it depends on what it was doing.
    fn settle(&mut self, at: usize, outcome: Result<(), Over>) {
        let Err(Over(reason)) = outcome else {
            return;
        };
        let conn = &mut self.conns[at];
        let ctx = &mut self.ctx;
        match conn.state {
            State::Away | State::Gone => {}
            State::Leaving => {
                conn.drop_now(ctx, State::Away);
                self.closed.push_back(at);
            }
            State::Live => {
                if conn.is_slow() {
                    ctx.counts.slow_closed += 1;
                } else {
                    ctx.counts.closed += 1;
                }
                ctx.reasons.add(reason, 1);
                conn.drop_now(ctx, State::Gone);
            }
            State::Connecting | State::Upgrading | State::Greeting | State::Joining => {
                self.on_their_way = self.on_their_way.saturating_sub(1);
                ctx.counts.refused += 1;
                ctx.reasons.add(reason, 1);
                // The first time it is an answer; whoever was in before comes again.
                if ctx.shared.phase() == Phase::Join {
                    conn.drop_now(ctx, State::Gone);
                } else {
                    conn.drop_now(ctx, State::Away);
                    self.away.push_back((at, ctx.now + nanos(RETRY)));
                }
            }
        }
    }

    /// Opens as many connections as may be on their way.
    fn open(&mut self) {
        let threads = self.ctx.plan.threads as f64;
        while self.on_their_way < OPENING_MAX && !self.closed.is_empty() {
            if let Some(rate) = self.ctx.plan.connect_rate
                && self.ctx.shared.phase() == Phase::Join
                && self.opened as f64 * threads > (self.ctx.now - self.opens_from) as f64 / 1e9 * rate
            {
                return;
            }
            let Some(at) = self.closed.pop_front() else {
                return;
            };
            self.opened += 1;
            let opened = self.conns[at].open(&mut self.ctx, self.poll.registry(), Token(at));
            if let Err(over) = opened {
                // So that it counts as an attempt.
                self.conns[at].state = State::Connecting;
                self.on_their_way += 1;
                self.settle(at, Err(over));
                continue;
            }
            self.on_their_way += 1;
            self.opening.push_back((at, self.conns[at].began()));
        }
    }

    /// Publishes what is due; returns how long it may be until something is.
    fn publish(&mut self) -> io::Result<Duration> {
        match self.ctx.plan.pace {
            Pace::Rate(_) => self.publish_on_time(),
            Pace::Full { window } => {
                self.publish_freely(window);
                Ok(CHORES)
            }
        }
    }

    fn publish_on_time(&mut self) -> io::Result<Duration> {
        let Some(schedule) = &mut self.schedule else {
            return Ok(CHORES);
        };
        let from = self.ctx.shared.publish_from();
        let mut left = None;
        for _ in 0..PUBLISHES_MAX {
            let (number, nth, due) = schedule.next();
            if self.ctx.plan.messages.is_some_and(|messages| number >= messages) {
                break;
            }
            // At the lowest rates the next one is due after all time.
            let due = from.saturating_add(due);
            if due > self.ctx.now {
                left = Some(Duration::from_nanos(due - self.ctx.now));
                break;
            }
            let conn = &mut self.conns[self.publishers[nth]];
            if conn.state == State::Live {
                if conn.unsent() > UNSENT_BYTES_MAX {
                    // The server does not read; the message keeps its time and is late.
                    self.held_at = self.ctx.now;
                    break;
                }
                conn.publish(due, self.held_at, &mut self.ctx);
            }
            schedule.advance();
        }
        self.flush_publishers();
        match left {
            Some(left) if left < CHORES && !self.ctx.plan.spin => self.timer.wake_after(left),
            _ => Ok(CHORES),
        }
    }

    fn publish_freely(&mut self, window: u32) {
        let plan = self.ctx.plan.clone();
        let shared = self.ctx.shared.clone();
        let publishers = plan.layout.publishers as u64;
        if plan.await_delivery {
            shared.wait_for(self.thread);
        }
        for at in &self.publishers {
            let conn = &mut self.conns[*at];
            for _ in 0..PUBLISHES_MAX {
                let Role::Publisher(publisher) = &conn.role else {
                    break;
                };
                // Each makes its share of the messages, and the first ones what is left over.
                let share = |messages: u64| (messages + publishers - 1 - publisher.index as u64) / publishers;
                if conn.state != State::Live
                    || conn.unsent() > UNSENT_BYTES_MAX
                    || plan.messages.is_some_and(|messages| publisher.issued() >= share(messages))
                    || !publisher.has_room(window, &plan, &shared)
                {
                    break;
                }
                conn.publish(self.ctx.now, 0, &mut self.ctx);
            }
        }
        self.flush_publishers();
    }

    fn flush_publishers(&mut self) {
        for nth in 0..self.publishers.len() {
            let at = self.publishers[nth];
            if self.conns[at].unsent() > 0 && self.conns[at].state == State::Live {
                let outcome = self.conns[at].flush();
                self.settle(at, outcome);
            }
        }
    }

    /// What need not be done at once.
    fn chores(&mut self, phase: Phase) {
        let now = self.ctx.now;
        self.chores_at = now + nanos(CHORES);
        self.time_out();
        while self.away.front().is_some_and(|(_, until)| *until <= now) {
            let returns = self.away.pop_front();
            self.closed.extend(returns.map(|(at, _)| at));
        }
        while let Some((at, since)) = self.leaving.front().copied()
            && (since + nanos(FAREWELL) <= now || self.conns[at].state != State::Leaving)
        {
            self.leaving.pop_front();
            if self.conns[at].state == State::Leaving {
                self.settle(at, Err(Over("it did not hang up".to_owned())));
            }
        }
        if phase == Phase::Publish {
            self.churn();
            self.storm();
        }
        if phase == Phase::Drain {
            self.behind = Some(self.count_behind());
        }
        self.feed_the_slow();
        if now >= self.shown_at {
            self.shown_at = now + nanos(SHOW);
            self.show();
        }
    }

    /// Lets those who read slowly read what is due to them. No more than a second's worth is saved up.
    fn feed_the_slow(&mut self) {
        let rate = self.ctx.plan.slow_rate.max(1);
        let share = (self.ctx.now - self.fed_at) as u128 * rate as u128 / 1_000_000_000;
        // Less than a byte is left for the next time.
        if share == 0 {
            return;
        }
        self.fed_at = self.ctx.now;
        for nth in 0..self.slow.len() {
            let at = self.slow[nth];
            if let Role::Subscriber(subscriber) = &mut self.conns[at].role {
                let credit = subscriber.credit.unwrap_or_default().saturating_add(share as usize);
                subscriber.credit = Some(credit.min(rate));
                if subscriber.unread {
                    self.read(at);
                }
            }
        }
    }

    /// Gives up on connections that take too long, and counts those on their way.
    fn time_out(&mut self) {
        let patience = nanos(self.ctx.plan.connect_timeout);
        let on_its_way = |conn: &Conn, began: u64| {
            conn.began() == began
                && matches!(conn.state, State::Connecting | State::Upgrading | State::Greeting | State::Joining)
        };
        let mut late = Vec::new();
        self.opening.retain(|(at, began)| {
            if !on_its_way(&self.conns[*at], *began) {
                return false;
            }
            let in_time = began + patience > self.ctx.now;
            if !in_time {
                late.push(*at);
            }
            in_time
        });
        self.on_their_way = self.opening.len() + late.len();
        for at in late {
            let doing = match self.conns[at].state {
                State::Connecting => "a connection",
                State::Upgrading => "an answer to the handshake",
                State::Greeting => "the server's greeting",
                _ => "an answer to the subscription",
            };
            let reason = format!("no sign of {doing} in {:?}", self.ctx.plan.connect_timeout);
            self.settle(at, Err(Over(reason)));
        }
    }

    /// Has so many subscribers leave as should have left by now.
    fn churn(&mut self) {
        let share = self.ctx.plan.churn / self.ctx.plan.threads as f64;
        let since = self.ctx.now.saturating_sub(self.ctx.shared.publish_from());
        let wanted = (since as f64 / 1e9 * share) as u64;
        let subscribers = self.conns.len() - self.publishers.len();
        let mut looked = 0;
        while self.churned < wanted && looked < subscribers {
            looked += 1;
            let at = self.churn_at;
            self.churn_at = (at + 1) % subscribers;
            if self.conns[at].state == State::Live && !self.conns[at].is_slow() {
                self.churned += 1;
                let outcome = self.conns[at].leave(&mut self.ctx);
                self.leaving.push_back((at, self.ctx.now));
                self.settle(at, outcome);
            }
        }
        // Those who could not leave because nobody was there do not leave later, all at once.
        self.churned = self.churned.max(wanted.saturating_sub(1));
    }

    fn storm(&mut self) {
        let Some(storm) = self.ctx.plan.storm else {
            return;
        };
        let since = self.ctx.now.saturating_sub(self.ctx.shared.publish_from());
        if since / nanos(storm.every).max(1) <= self.storms {
            return;
        }
        self.storms += 1;
        let until = self.ctx.now + nanos(storm.away);
        let subscribers = self.conns.len() - self.publishers.len();
        for at in 0..subscribers {
            let within = (at as f64) < subscribers as f64 * storm.share;
            if within && self.conns[at].state == State::Live && !self.conns[at].is_slow() {
                self.conns[at].drop_now(&mut self.ctx, State::Away);
                self.away.push_back((at, until));
            }
        }
        self.away.make_contiguous().sort_by_key(|(_, until)| *until);
    }

    /// Subscribers that have not everything, and publishers whose last words are still here or unanswered.
    fn count_behind(&self) -> usize {
        let issued = |stream| self.ctx.shared.issued(stream);
        let behind = |conn: &&Conn| match (&conn.role, conn.state) {
            (_, State::Gone) => false,
            (Role::Subscriber(subscriber), State::Live) => {
                subscriber.credit.is_none() && !subscriber.ledger.is_complete(&issued)
            }
            (Role::Subscriber(subscriber), _) => subscriber.credit.is_none(),
            (Role::Publisher(publisher), _) => conn.unsent() > 0 || publisher.unanswered() > 0,
        };
        self.conns.iter().filter(behind).count()
    }

    /// Lets others see what was counted.
    fn show(&mut self) {
        let mut tally = self.ctx.shared.tally(self.thread);
        tally.counts = self.ctx.counts;
        tally.times.add(&self.ctx.times);
        self.ctx.times.clear();
        tally.reasons.clone_from(&self.ctx.reasons);
        tally.live = self.ctx.live;
        tally.behind = self.behind;
        let live = |at: &&usize| self.conns[**at].state == State::Live;
        tally.publishers = self.publishers.iter().filter(live).count();
        tally.cpu = cpu_time() - self.idle;
    }

    /// The last words: what never came.
    fn finish(&mut self) {
        let issued = |stream| self.ctx.shared.issued(stream);
        let refused = |stream| self.ctx.shared.refused(stream);
        let mut lost = 0;
        for conn in &self.conns {
            let Role::Subscriber(subscriber) = &conn.role else {
                continue;
            };
            if subscriber.credit.is_some() {
                continue;
            }
            // Whoever was thrown out lost a connection, and not all that came after.
            lost += match conn.state {
                State::Live => subscriber.ledger.lost(&issued, &refused),
                _ => subscriber.ledger.lost(&|_| 0, &refused),
            };
        }
        self.show();
        self.ctx.shared.tally(self.thread).lost = lost;
    }
}

impl Conn {
    /// Makes the next message, due at `due`; it leaves with the next flush. The server held it back until `held_at`.
    fn publish(&mut self, due: u64, held_at: u64, ctx: &mut Context) {
        let (role, out) = self.role_and_out();
        if let Role::Publisher(publisher) = role {
            publisher.publish(due, &ctx.plan, &ctx.shared, out);
            ctx.counts.published += 1;
            ctx.times.lateness.record(lateness(due, held_at, ctx.now) / 1000);
        }
    }
}

/// Processor time of this thread, in nanoseconds.
fn cpu_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}
