mod checkpoints;
mod classic_groups;
mod commits;
mod deletion;
mod expiry;
mod groups;
mod model;
mod world;
