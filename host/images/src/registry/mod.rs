//! Registries: the client's side of the OCI distribution specification, and of Docker's older words for it.
//!
//! ```text
//! config        mirrors, proxies, certificates, plain http: a file of the host's administrator
//! credentials   who we are there: Docker's config.json and its credential helpers
//! client        a connection to one registry: redirects, retries, limits
//! ask, answer   one request, and what its answer means
//! url           URLs, and which of them are the same server
//! pace          how fast bytes have to come
//! auth          passwords and tokens, as the registry asks for them
//! challenge     what a registry asks for in WWW-Authenticate
//! blob          a layer's bytes, across broken connections
//! manifest      what a name means: indexes, platforms, layers
//! sources       a registry's mirrors, and then the registry
//! pull, push    whole images between a registry and the store
//! ```
//!
//! What is here never touches the store's files: it gives [`crate::store::Incoming`] bytes and takes
//! [`crate::store::Outgoing`]'s. A registry is hostile: everything it sends is bounded in size and time, and counts for
//! nothing until its digest is right.
//!
//! The client is blocking, with a thread for each of the few layers that come in at once: what becomes of a layer is a
//! pipeline of readers, which would be a thread anyway.

mod answer;
mod ask;
mod auth;
mod blob;
mod challenge;
mod client;
mod config;
mod credentials;
mod error;
mod headers;
mod manifest;
mod pace;
mod parallel;
mod pull;
mod push;
mod sources;
mod url;

pub use self::ask::Permission;
pub use self::client::Client;
pub use self::config::Config;
pub use self::credentials::{CredentialError, Credentials, Login};
pub use self::error::RegistryError;
pub use self::manifest::Platform;
pub use self::pull::{Outcome, PullEvent, pull, tags};
pub use self::push::{PushEvent, Pushed, push};
