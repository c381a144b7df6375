//! What the harness needs of the operating system: children that never outlive us, waiting for their end, free ports.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Waits for a child to end without reaping it; false after `timeout`.
pub(crate) fn wait_pid(child: &Child, timeout: Duration) -> bool {
    // SAFETY: pidfd_open takes plain numbers and returns a new descriptor or −1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    let Ok(fd @ 0..) = i32::try_from(fd) else {
        panic!("pidfd_open: {}", std::io::Error::last_os_error());
    };
    // SAFETY: the descriptor was made by the line above and has no other owner.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&mut poll, 1, timeout_ms) == 1 }
}

type SpawnRequest = (Command, Sender<std::io::Result<Child>>);

/// Spawns a child that dies with this process, however this process ends.
///
/// The kernel ties a child's life to the *thread* that made it, so one thread that never ends makes them all.
pub fn spawn_with_us(mut command: Command) -> std::io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<Sender<SpawnRequest>>> = OnceLock::new();
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, inbox): (_, Receiver<SpawnRequest>) = channel();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(requests)
    });
    let (reply, answer) = channel();
    spawner
        .lock()
        .expect("senders do not panic")
        .send((command, reply))
        .expect("the spawner never ends");
    answer.recv().expect("the spawner answers")
}

/// A port that is free now and lies below the range of outgoing connections, so that no client takes it while the
/// broker is down for a restart.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 10_240;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let end = range
        .split_whitespace()
        .next()
        .and_then(|n| n.parse::<u16>().ok())
        .unwrap_or(32_768);
    if end <= FIRST + 1_000 {
        return 0;
    }
    let span = end - FIRST;
    // Test binaries may run side by side: each begins its search elsewhere.
    let start = (std::process::id().wrapping_mul(7_919) % u32::from(span)) as u16;
    for _ in 0..span {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % span;
        let port = FIRST + ((u32::from(start) + u32::from(step)) % u32::from(span)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {end}");
}
