//! Processes from outside: signals, and what the system says of them.

use std::fs;

use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

pub fn signal(pid: u32, signal: Signal) {
    let _ = kill_process(pid_of(pid), signal);
}

/// Whether it runs; one that is dead and not yet waited for does not.
pub fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// The processes whose parent it is.
pub fn children(pid: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parent_of = |child: u32| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    all.filter(|child| parent_of(*child) == Some(pid)).collect()
}

/// What a process has taken of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub resident_mib: u64,
    pub threads: u64,
    pub files: usize,
}

impl Usage {
    pub fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let number = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0)
        };
        let files = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        Self { resident_mib: number("VmRSS:") / 1024, threads: number("Threads:"), files }
    }

    /// The larger of each.
    pub fn worst(self, other: Self) -> Self {
        Self {
            resident_mib: self.resident_mib.max(other.resident_mib),
            threads: self.threads.max(other.threads),
            files: self.files.max(other.files),
        }
    }
}
