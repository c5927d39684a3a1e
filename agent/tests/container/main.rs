//! Containers as the agent sets them up, on this machine's kernel. Needs root and /bin/busybox.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod failures;
mod hostile;
mod machine;
mod process;
mod setup;
mod streams;
mod terminal;
