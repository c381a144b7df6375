//! The `streamhouse` binary: the allocator, and the command line.

use std::process::ExitCode;

/// Threads of many kinds allocate and free network-sized buffers; jemalloc reuses their pages and gives them back later.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc before `main`. Few arenas, because each keeps pages of its own; a thread of jemalloc's own gives unused
/// pages back to the system after some seconds, so that a burst goes down again also when the broker then idles.
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: &[u8; 70] = b"background_thread:true,narenas:4,dirty_decay_ms:3000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    streamhouse::cli::main()
}
