//! PID 1 of every Moat guest: it boots, starts the container's processes, carries their streams and reports their ends.
//!
//! The agent has one thread. It waits in poll(2) for the host, for its children and for the streams, so it can fork
//! without a helper, and needs no further stacks and no locks. A child does what could make the agent wait, such as
//! reading the container's files.

mod archive;
pub mod boot;
pub mod container;
mod control;
pub mod dial;
mod failure;
pub mod kmsg;
mod network;
pub mod place;
pub mod power;
mod process;
mod processes;
mod reaper;
mod requests;
mod resolver;
pub mod serve;
mod stats;
mod streams;
pub mod sys;
mod task;
