//! Waking up in time for a publish, where there is nothing finer than the event loop's own timeout.

use std::io;
use std::time::Duration;

use mio::{Registry, Token};

#[derive(Debug)]
pub(super) struct Timer;

impl Timer {
    pub(super) fn new(_: &Registry, _: Token) -> io::Result<Timer> {
        Ok(Timer)
    }

    /// How long the event loop may sleep.
    pub(super) fn wake_after(&mut self, left: Duration) -> io::Result<Duration> {
        Ok(left)
    }
}
