//! Images from and to registries: Debian's docker-registry with other people's clients, and registries that lie.

mod bombs;
mod client;
mod crash;
#[path = "../support/disk.rs"]
mod disk;
mod hostile;
mod liar;
mod login;
mod routes;
mod server;
mod shapes;
mod space;
#[path = "../support/mod.rs"]
mod support;
mod together;

/// Whether this is the tier of the long stories.
fn is_long() -> bool {
    std::env::var("MOAT_TEST_TIER").is_ok_and(|tier| tier == "all")
}
