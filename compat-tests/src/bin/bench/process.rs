//! What the kernel says of a broker's process and of this machine.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// CPU seconds (user and system, all threads) that a process has used.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; fields are counted behind it: utime is the 12th, stime the 13th.
    let fields = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace())
        .into_iter()
        .flatten();
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum();
    // SAFETY: sysconf takes a plain number.
    ticks / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64
}

/// Resident memory, bytes.
pub(crate) fn rss_bytes(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<f64>().ok())
        .unwrap_or(0.0)
        * 1024.0
}

/// Writes out all dirty pages, so that one broker's leftovers are not the next one's burden.
pub(crate) fn sync_disks() {
    // SAFETY: sync has no arguments and no result.
    unsafe { libc::sync() }
}

/// One line about the machine: processor, cores, memory, kernel, file system of `dir`.
pub(crate) fn describe_machine(dir: &Path) -> String {
    let field = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':')
            .map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory_kib = field("/proc/meminfo", "MemTotal");
    let memory_kib = memory_kib
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse::<f64>().ok())
        .unwrap_or(0.0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, {cores} cores, {:.0} GiB, Linux {}, {} on {}",
        field("/proc/cpuinfo", "model name"),
        memory_kib / 1_048_576.0,
        kernel.trim(),
        dir.display(),
        file_system(dir).0,
    )
}

/// The file system of `dir`, and whether it keeps its files in memory alone.
pub(crate) fn file_system(dir: &Path) -> (String, bool) {
    let mut path = dir.as_os_str().as_bytes().to_vec();
    path.push(0);
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path ends in a zero byte and `stat` is large enough.
    if unsafe { libc::statfs(path.as_ptr().cast(), stat.as_mut_ptr()) } != 0 {
        return ("unknown file system".to_owned(), false);
    }
    // SAFETY: statfs succeeded, and all-zero is valid for the struct anyway.
    match unsafe { stat.assume_init() }.f_type {
        0x0102_1994 => ("tmpfs".to_owned(), true),
        0xEF53 => ("ext4".to_owned(), false),
        0x5846_5342 => ("xfs".to_owned(), false),
        0x9123_683E => ("btrfs".to_owned(), false),
        0x794c_7630 => ("overlayfs".to_owned(), false),
        other => (format!("file system {other:#x}"), false),
    }
}
