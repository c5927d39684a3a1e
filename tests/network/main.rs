//! Networks on the host without a virtual machine: each test is a host in a network namespace of its own, and a guest is
//! whoever holds the tap.
//!
//! That something is dropped is proved by what comes after it: on one cable frames keep their order.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod addresses;
mod change;
mod crash;
mod flows;
mod frame;
mod host;
mod ports;
mod tables;
mod v6;
mod walls;
