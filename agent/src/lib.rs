//! PID 1 of every Moat guest: it boots, starts the container's process, carries its streams and reports its end.
//!
//! The agent has one thread. It waits in poll(2) for the host, for its children and for the streams, so it can fork
//! without a helper, and needs no stacks and locks.

pub mod boot;
pub mod container;
mod control;
pub mod dial;
pub mod kmsg;
mod network;
pub mod power;
mod reaper;
pub mod serve;
mod streams;
pub mod sys;
