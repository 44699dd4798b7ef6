//! The `fanfare` command.

use std::process::ExitCode;

/// Many small allocations of many sizes, freed by another thread than made them: mimalloc keeps both
/// time and resident memory lower than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fanfare::cli::run()
}
