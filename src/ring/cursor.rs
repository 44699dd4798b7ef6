//! A reader of its own: a ring and a position.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Entry, Lagged, Ring, Seq};

/// Reads a ring one entry at a time. For many at once there is [`Ring::read`].
pub struct Cursor<T: Entry> {
    ring: Arc<Ring<T>>,
    at: Seq,
}

impl<T: Entry> Cursor<T> {
    /// A cursor whose next entry is `at`.
    pub fn new(ring: Arc<Ring<T>>, at: Seq) -> Self {
        Self { ring, at }
    }

    /// The position of the next entry.
    pub fn at(&self) -> Seq {
        self.at
    }

    /// Takes the next entry, if one has been pushed.
    ///
    /// # Errors
    ///
    /// [`Lagged`] when the entry has left the ring. The cursor then stands at the oldest entry still
    /// held, and the error counts what was missed.
    #[expect(clippy::should_implement_trait, reason = "none yet is not the end, as it would be for an iterator")]
    pub fn next(&mut self) -> Result<Option<Arc<T>>, Lagged> {
        let mut taken = None;
        let read = self.ring.read(self.at, |_, entry| {
            taken = Some(Arc::clone(entry));
            ControlFlow::Break(())
        });
        self.at = read.inspect_err(|lagged| self.at = lagged.resume)?;
        Ok(taken)
    }
}
