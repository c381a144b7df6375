//! What the tests of this crate share. Each test binary uses a part of it.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test binary uses a part")]

pub mod batches;
pub mod harness;
pub mod sim_content;
pub mod sim_disk;
pub mod sim_file;
pub mod sim_names;
pub mod sim_state;
