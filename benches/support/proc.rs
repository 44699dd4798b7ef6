//! What the kernel knows of a process and of the machine.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::Result;

/// Processor time that a process has used since it began.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Cpu {
    /// The sum is exact but for the unit; how it is split is an estimate of the kernel, taken from what
    /// it finds at its timer ticks.
    pub(crate) fn of(pid: u32) -> Result<Cpu> {
        /// `USER_HZ` is 100 on Linux, whatever the kernel's own tick is.
        const UNIT: Duration = Duration::from_millis(10);
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may hold anything: fields are counted behind it. See proc(5).
        let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
        let mut fields = fields.split_ascii_whitespace().skip(11);
        let mut time = || -> Result<Duration> {
            let units: u32 = fields.next().ok_or("no times in stat")?.parse()?;
            Ok(UNIT * units)
        };
        Ok(Cpu { user: time()?, system: time()? })
    }

    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, earlier: Cpu) -> Cpu {
        Cpu { user: self.user.saturating_sub(earlier.user), system: self.system.saturating_sub(earlier.system) }
    }
}

/// Resident bytes of a process.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next());
    Ok(kib.ok_or("no VmRSS in status")?.parse::<u64>()? * 1024)
}

/// The processes that a process has started, and that are still there.
pub(crate) fn children(pid: u32) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// TCP segments with data that this machine has sent. On loopback, where segments hold 64 KiB, each write
/// of less than that is one.
pub(crate) fn segments() -> Option<u64> {
    let netstat = fs::read_to_string("/proc/net/netstat").ok()?;
    let mut tcp = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
    let names = tcp.next()?.split_ascii_whitespace();
    let mut values = tcp.next()?.split_ascii_whitespace();
    let at = names.clone().position(|name| name == "TCPOrigDataSent")?;
    values.nth(at)?.parse().ok()
}

/// The processors that a run is pinned to.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) load: usize,
}

/// Two processors that this process may use, or `None` where there is only one.
pub(crate) fn cores() -> Option<Cores> {
    const PROCESSORS_MAX: usize = 1024;
    let allowed = sched_getaffinity(None).ok()?;
    let mut allowed = (0..PROCESSORS_MAX).filter(|core| allowed.is_set(*core));
    let server = allowed.next()?;
    let load = allowed.next()?;
    Some(Cores { server, load })
}

/// Keeps this thread, and what it starts from now on, on one processor.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Allows this process, and what it starts, as many descriptors as it may have.
pub(crate) fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // Where it fails the run has fewer connections; see `descriptors`.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// How many descriptors this process may have.
pub(crate) fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Model and kernel, in a few words.
pub(crate) fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{count} × {model}, Linux {}", kernel.trim())
}
