//! Waking up in time for a publish.
//!
//! An event loop sleeps in whole milliseconds, and messages are on loopback for less than that. Linux has
//! timers that are events themselves.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

#[derive(Debug)]
pub(super) struct Timer(OwnedFd);

impl Timer {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Timer> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Timer(timer))
    }

    /// Has the event loop wake up after so long, however long it would sleep; returns how long that may be.
    pub(super) fn wake_after(&mut self, left: Duration) -> io::Result<Duration> {
        const NONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        // No time at all would stop the timer.
        let left = left.max(Duration::from_nanos(1));
        let value = Timespec::try_from(left).map_err(io::Error::other)?;
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: NONE, it_value: value })?;
        Ok(left + Duration::from_millis(1))
    }
}
