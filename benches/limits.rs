//! What limits cost: per command, and per address that is metered.

use std::alloc::{GlobalAlloc, Layout, System};
