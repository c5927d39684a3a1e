//! Networks as `network ls` and `network inspect` show them.

pub mod inspect;
pub mod list;
pub mod none;
