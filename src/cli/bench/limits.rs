//! Whether this process may have as many file descriptors as the run needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

/// Files, event loops, timers, and what looks at the server.
const OTHERS: u64 = 64;

/// Fewer descriptors than connections.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{connections} connections need {needed} file descriptors and this process may have {allowed}, which does for \
     {possible} connections: ask for fewer, or raise the hard limit (`ulimit -Hn {needed}`, LimitNOFILE= in systemd)"
)]
pub(super) struct TooFewDescriptors {
    connections: usize,
    needed: u64,
    allowed: u64,
    possible: u64,
}

/// Raises the soft limit as far as need be.
pub(super) fn make_room(connections: usize) -> Result<(), TooFewDescriptors> {
    let limit = getrlimit(Resource::Nofile);
    let Some(wanted) = wanted(connections, limit.current, limit.maximum)? else {
        return Ok(());
    };
    // Where even this is not allowed, the limit is what it was.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    match raised {
        Ok(()) => Ok(()),
        Err(_) => self::wanted(connections, limit.current, limit.current).map(drop),
    }
}

/// What the soft limit has to become, if it is too low. No limit at all is `None`.
fn wanted(connections: usize, soft: Option<u64>, hard: Option<u64>) -> Result<Option<u64>, TooFewDescriptors> {
    let needed = connections as u64 + OTHERS;
    if soft.is_none_or(|soft| soft >= needed) {
        return Ok(None);
    }
    match hard {
        Some(allowed) if allowed < needed => {
            Err(TooFewDescriptors { connections, needed, allowed, possible: allowed.saturating_sub(OTHERS) })
        }
        _ => Ok(Some(needed)),
    }
}

#[cfg(test)]
mod tests {
    use super::wanted;

    #[test]
    fn limits_are_raised_or_the_number_that_would_do_is_named() {
        assert_eq!(wanted(100, Some(1024), Some(4096)), Ok(None));
        assert_eq!(wanted(100, None, None), Ok(None));
        assert_eq!(wanted(2000, Some(1024), Some(4096)), Ok(Some(2064)));
        assert_eq!(wanted(2000, Some(1024), None), Ok(Some(2064)));
        let error = wanted(5000, Some(1024), Some(4096)).expect_err("too few").to_string();
        assert!(error.contains("need 5064 file descriptors") && error.contains("does for 4032 connections"), "{error}");
    }
}
