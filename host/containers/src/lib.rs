//! Containers on disk: their configuration, their state, their logs and cgroups, and the repair of what crashes left.
//!
//! There is no daemon: every call works on files under the root directory. A container that runs has a monitor process,
//! which holds the container's lock; a record that says "running" under a free lock was left by a crash, and the first
//! reader repairs it.

pub mod cgroup;
mod change;
pub mod config;
mod container;
mod directory;
pub mod environment;
mod error;
pub mod events;
pub mod health;
pub mod hold;
pub mod log;
pub mod names;
mod registry;
mod repair;
pub mod restart;
pub mod socket;
pub mod state;
#[cfg(feature = "testing")]
pub mod testing;
pub mod users;

pub use change::ResourceUpdate;
pub use container::Container;
pub use directory::Directory;
pub use error::ContainerError;
pub use hold::Held;
pub use registry::Containers;
