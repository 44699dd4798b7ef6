//! What the connections of a thread share: what was counted, and where bytes are on their way.

use std::sync::Arc;

use super::inflate::Inflater;
use super::plan::Plan;
use super::shared::Shared;
use super::tally::{Counts, Reasons, Times};
use super::transport::Source;

/// What all connections of a thread use.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) plan: Arc<Plan>,
    pub(super) shared: Arc<Shared>,
    pub(super) counts: Counts,
    pub(super) times: Times,
    pub(super) reasons: Reasons,
    pub(super) source: Source,
    /// Nanoseconds since the run began, when last looked at.
    pub(super) now: u64,
    /// Connections that are ready for use.
    pub(super) live: usize,
}

/// Where bytes are on their way, one for all connections of a thread.
#[derive(Debug)]
pub(super) struct Io {
    /// Longer than the longest frame by `READ_BYTES`.
    pub(super) buffer: Vec<u8>,
    pub(super) inflater: Inflater,
}

/// What a read asks for at least. It is more than comes at once on any socket whose reader keeps up.
const READ_BYTES: usize = 256 * 1024;

impl Io {
    pub(super) fn new(plan: &Plan) -> Io {
        let frame = plan.frame_bytes_max();
        Io { buffer: vec![0; frame + READ_BYTES], inflater: Inflater::new(frame) }
    }
}
