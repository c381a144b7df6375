//! Opening a data directory: index rows and journal entries are gathered by log, each log is rebuilt, what was accepted is synced.

mod image;
mod open;

pub(crate) use image::{Image, cut_off, lay_over};
pub(crate) use open::{Opened, recover_logs};
