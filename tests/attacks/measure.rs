//! What the kernel knows of the server's process, and what a list of times says.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Processor time that a process has used since it began.
pub(crate) fn cpu(pid: u32) -> Duration {
    /// `USER_HZ` is 100 on Linux, whatever the kernel's own tick is.
    const UNIT: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the server runs");
    // The name, in parentheses, may hold anything: fields are counted behind it. See proc(5).
    let (_, fields) = stat.rsplit_once(')').expect("a name in stat");
    let times = fields.split_ascii_whitespace().skip(11).take(2);
    UNIT * times.map(|field| field.parse::<u32>().expect("a time in stat")).sum::<u32>()
}

/// Bytes of memory that a process has.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size in status");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a size in status") * 1024
}

/// The processors that this process may use.
pub(crate) fn processors() -> Vec<usize> {
    const PROCESSORS_MAX: usize = 1024;
    let allowed = sched_getaffinity(None).expect("a process may ask where it runs");
    (0..PROCESSORS_MAX).filter(|&processor| allowed.is_set(processor)).collect()
}

/// Keeps this thread, and what it starts from now on, on one processor.
pub(crate) fn pin(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).expect("a processor that is allowed");
}

/// Has this thread run whenever it can: whoever else wants its processor waits.
pub(crate) fn go_first() {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let set = Command::new("chrt").args(["--fifo", "--pid", "1", &thread]).status();
    assert!(set.is_ok_and(|status| status.success()), "it takes the right to set priorities, and chrt of util-linux");
}

/// The value that so many hundredths of all are not above.
pub(crate) fn percentile(times: &mut [Duration], hundredths: usize) -> Duration {
    assert!(!times.is_empty(), "nothing was measured");
    times.sort_unstable();
    times[(times.len() * hundredths).div_ceil(100) - 1]
}
