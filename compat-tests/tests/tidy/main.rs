//! Rules that a machine can check over the text of the sources: sizes, headers, arrows between the crates, names of rules
//! in tests, leftovers. Nothing is compiled or run here, and nothing but the standard library is used.
//!
//! A rule with exceptions has them in a list beside it, each with its reason; an exception that is no longer needed fails
//! too.

mod arrows;
mod files;
mod names;
mod rules;
mod shape;
mod traces;
