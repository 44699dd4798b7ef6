//! Lines of standard input, one at a time and bounded.

use std::io::{self, BufRead};
use std::thread;

use thiserror::Error;
use tokio::sync::mpsc;

/// Why a line cannot be published, or the next one not be read.
#[derive(Debug, Error)]
pub(crate) enum LineError {
    #[error("more than {0} bytes, which the server takes")]
    TooLong(usize),
    #[error("not UTF-8")]
    NotText,
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// Reads lines on a thread of its own, which ends with the process or when nobody listens.
///
/// A terminal or pipe can be read only by waiting for it, and a runtime that waits for such a read
/// to end would keep the process alive until the next line is typed.
pub(crate) fn lines(bytes_max: usize) -> mpsc::Receiver<Result<String, LineError>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        while let Some(line) = next(&mut input, bytes_max).transpose() {
            let last = line.is_err();
            if sender.blocking_send(line).is_err() || last {
                break;
            }
        }
    });
    receiver
}

/// Lines that may be read before they are asked for.
const LINES_AHEAD: usize = 64;

/// The next line without its end, if there is one.
fn next(input: &mut impl BufRead, bytes_max: usize) -> Result<Option<String>, LineError> {
    let mut line = Vec::new();
    // One more than may come and two for its end, so that a line of exactly so many bytes passes.
    let bytes = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(3);
    if io::Read::take(&mut *input, bytes).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    if line.len() > bytes_max {
        return Err(LineError::TooLong(bytes_max));
    }
    match String::from_utf8(line) {
        Ok(line) => Ok(Some(line)),
        Err(_) => Err(LineError::NotText),
    }
}

#[cfg(test)]
mod tests {
    use super::{LineError, next};

    #[test]
    fn lines_come_without_their_ends() {
        let mut input: &[u8] = b"one\ntwo\r\n\nlast";
        for expected in ["one", "two", "", "last"] {
            assert_eq!(next(&mut input, 4).expect("right").as_deref(), Some(expected));
        }
        assert!(next(&mut input, 4).expect("right").is_none());
    }

    #[test]
    fn a_line_that_never_ends_is_refused_before_it_is_held() {
        let mut endless = std::io::BufReader::new(std::io::repeat(b'a'));
        assert!(matches!(next(&mut endless, 10), Err(LineError::TooLong(10))));
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let mut input: &[u8] = b"\xff\n";
        assert!(matches!(next(&mut input, 10), Err(LineError::NotText)));
    }
}
