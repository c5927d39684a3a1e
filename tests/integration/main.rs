//! Everything through the real command line, in real virtual machines, with the jail on.
//!
//! `scripts/test` runs this where KVM is, or in the testbed where it is not. It needs root, the programs that
//! `scripts/lib` assembles (their directory in `MOAT_DIST`) and the images of `tests/images/build`.

mod container;
mod crash;
mod crash_points;
mod databases;
mod exec;
mod execs;
mod files;
mod host;
mod images;
mod jail;
mod lifecycle;
mod names;
mod networks;
mod options;
mod real_images;
#[allow(dead_code)] // what the registry's own tests need
#[path = "../registry/server.rs"]
mod registry;
mod run;
mod scarcity;
mod services;
mod stories;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
