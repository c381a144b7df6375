//! Whole shards with mock time: each file a subject, `world` what they share, `model` random histories.

mod checkpoints;
mod classic_groups;
mod commits;
mod deletion;
mod expiry;
mod groups;
mod model;
mod world;
