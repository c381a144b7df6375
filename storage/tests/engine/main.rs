//! The engine's rules, each by a test that breaks when the rule is broken. Comments name the rule (`engine 7`) or the contract's
//! number (`contract 39`). Random parts print what replays them.

#[path = "../support/mod.rs"]
mod support;

mod alternating;
mod checkpoints;
mod damage;
mod delete_records;
mod embedded;
mod faults;
mod many;
mod order;
mod producers;
mod retention;
mod sizes;
mod start;
mod threads;
mod times;
mod topics;
