//! Images: [`store`] keeps them, [`registry`] moves them between it and the world, [`config`] writes the configs of new
//! ones.

pub mod config;
pub mod events;
pub mod registry;
pub mod store;
