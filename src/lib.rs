//! Moat: every container in its own KVM microVM.
//!
//! [`store`] keeps images, [`registry`] moves them between it and the world, [`engine`] keeps containers, [`monitor`] runs one of them; the `moat` binary's `cli`
//! modules turn command lines into calls of these and their answers into text.

pub mod archive;
pub mod engine;
pub mod halt;
pub mod image_config;
pub mod monitor;
pub mod names;
pub mod network;
pub mod record;
pub mod registry;
pub mod root;
pub mod store;
