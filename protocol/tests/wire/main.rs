//! The wire formats against the codec, and against malice. One binary: the codec's generated code is compiled once.

mod admin_requests;
mod allocator;
mod codec_comparison;
mod generate;
mod group_bytes;
mod group_requests;
mod mutated_frames;
mod requests;
mod shape_guard;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;
