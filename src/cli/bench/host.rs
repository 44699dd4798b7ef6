//! What this machine's system knows of the server's process, and of itself.
//!
//! All of it stands in `/proc`: where there is none, nothing is known.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::Serialize;

/// A process on this machine, with those that it has started: some servers work in their children.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process(u32);

/// What processes have used so far, and hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Usage {
    /// Seconds of processor time since it began. The sum is exact but for its unit of 10 ms; how it is split is
    /// the kernel's estimate.
    pub(super) user: f64,
    pub(super) system: f64,
    /// Bytes of resident memory. What several of them share counts for each.
    pub(super) resident: u64,
}

impl Usage {
    pub(super) fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

impl Process {
    /// A process that can be looked at.
    pub(super) fn of(pid: u32) -> Option<Process> {
        let process = Process(pid);
        process.usage().map(|_| process)
    }

    pub(super) fn me() -> Process {
        Process(std::process::id())
    }

    /// Who listens at `address` on this machine, as far as this user may know.
    pub(super) fn listening_at(address: SocketAddr) -> Option<Process> {
        if !is_here(address.ip()) {
            return None;
        }
        let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .flat_map(|table| listeners(&table, address.port()))
            .map(|inode| format!("socket:[{inode}]"))
            .collect();
        if inodes.is_empty() {
            return None;
        }
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.find(|pid| holds(*pid, &inodes)).map(Process)
    }

    pub(super) fn pid(self) -> u32 {
        self.0
    }

    pub(super) fn usage(self) -> Option<Usage> {
        /// More than anybody starts.
        const PROCESSES_MAX: usize = 1024;
        let mut usage = usage_of(self.0)?;
        let mut left = children(self.0);
        for _ in 0..PROCESSES_MAX {
            let Some(pid) = left.pop() else {
                break;
            };
            left.extend(children(pid));
            // One that has ended meanwhile uses nothing any more.
            if let Some(of_child) = usage_of(pid) {
                usage.user += of_child.user;
                usage.system += of_child.system;
                usage.resident += of_child.resident;
            }
        }
        Some(usage)
    }
}

fn usage_of(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Usage { resident: resident(&status)?, ..times(&stat)? })
}

/// Those that any of its threads has started, and that are still there.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_ascii_whitespace().flat_map(str::parse).collect::<Vec<u32>>()).collect()
}

/// Whether the address is this machine's.
pub(super) fn is_here(ip: IpAddr) -> bool {
    // One can bind to what one has.
    ip.is_loopback() || std::net::UdpSocket::bind((ip, 0)).is_ok()
}

/// The inodes of sockets that listen at a port. See proc(5): the local address is `ADDRESS:PORT` in hexadecimal
/// digits, state 0A is listening, the tenth field is the inode.
fn listeners(table: &str, port: u16) -> Vec<u64> {
    let port = format!(":{port:04X}");
    let line = |line: &str| -> Option<u64> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let at_port = fields.next()?.ends_with(&port);
        let listens = fields.nth(1)? == "0A";
        let inode = fields.nth(5)?.parse().ok()?;
        (at_port && listens).then_some(inode)
    };
    table.lines().filter_map(line).collect()
}

fn holds(pid: u32, inodes: &[String]) -> bool {
    // Other users' processes cannot be looked into.
    let Ok(descriptors) = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        let target = fs::read_link(descriptor.path());
        target.is_ok_and(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()))
    })
}

fn times(stat: &str) -> Option<Usage> {
    // The name, in parentheses, may hold anything: fields are counted behind it. See proc(5).
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let mut seconds = || -> Option<f64> { Some(fields.next()?.parse::<u64>().ok()? as f64 / ticks) };
    Some(Usage { user: seconds()?, system: seconds()?, resident: 0 })
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// Processors and kernel, in a few words.
pub(super) fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let model = model.map_or("processors", |(_, model)| model.trim());
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    match kernel.trim() {
        "" => format!("{count} × {model}, {}", std::env::consts::OS),
        kernel => format!("{count} × {model}, Linux {kernel}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Process, Usage, children, listeners, resident, times};

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0000 100 0 0 10 0
   1: 0100007F:1B9E 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 23456 1 0000 20 4 30 10 -1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 34567 1 0000 100 0 0 10 0
";

    #[test]
    fn listeners_are_told_from_connections_and_other_ports() {
        assert_eq!(listeners(TABLE, 7070), [12345]);
        assert_eq!(listeners(TABLE, 22), [34567]);
        assert!(listeners(TABLE, 80).is_empty());
    }

    #[test]
    fn what_a_process_has_used_stands_behind_its_name() {
        let ticks = rustix::param::clock_ticks_per_second();
        let stat = format!("7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 {} {} 0 0 20 0", 3 * ticks, ticks / 2);
        assert_eq!(times(&stat), Some(Usage { user: 3.0, system: 0.5, resident: 0 }));
        assert_eq!(times("7 (a"), None);
        assert_eq!(resident("Name:\ta\nVmRSS:\t    12 kB\n"), Some(12 * 1024));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_can_be_looked_at() {
        let usage = Process::me().usage().expect("it is there");
        assert!(usage.resident > 0);
        assert!(Process::of(u32::MAX).is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn children_are_found_and_count() {
        let mut shell = std::process::Command::new("sh");
        // It says something once its child runs.
        shell.args(["-c", "sleep 60 & echo; wait"]).stdout(std::process::Stdio::piped());
        let mut shell = shell.spawn().expect("there is a shell");
        let mut said = [0];
        let mut out = shell.stdout.take().expect("piped");
        std::io::Read::read_exact(&mut out, &mut said).expect("it says so");
        let (mine, grandchildren) = (children(std::process::id()), children(shell.id()));
        // Both change until the child has become what it is to be, and then no more.
        let adds_up = || {
            let both = Process(shell.id()).usage().expect("it runs").resident;
            let each = [shell.id(), grandchildren[0]].map(|pid| super::usage_of(pid).expect("it runs").resident);
            std::thread::yield_now();
            both == each.iter().sum::<u64>()
        };
        let added_up = (0..10_000).any(|_| adds_up());
        for pid in &grandchildren {
            let _ = std::process::Command::new("kill").arg(pid.to_string()).status();
        }
        shell.wait().expect("it ends");
        assert!(mine.contains(&shell.id()) && grandchildren.len() == 1);
        assert!(added_up);
    }
}
