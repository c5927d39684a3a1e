//! The servers that are asked for an image: the registry's mirrors in turn, and then the registry itself.

use std::sync::{Arc, Mutex, PoisonError};

use super::client::Client;
use super::config::Config;
use super::credentials::Credentials;
use super::error::RegistryError;

/// The sources of one registry's images. One that could not help is not asked again.
pub(super) struct Sources<'a> {
    config: &'a Config,
    credentials: &'a Credentials,
    hosts: Vec<&'a str>,
    /// Whose turn it is, and the connection to it.
    turn: Mutex<(usize, Option<Arc<Client>>)>,
}

impl<'a> Sources<'a> {
    /// Those that the configuration knows, none of which is asked yet.
    pub(super) fn new(config: &'a Config, credentials: &'a Credentials, registry: &'a str) -> Self {
        let hosts = config.mirrors(registry).iter().map(String::as_str).chain([registry]).collect();
        Self { config, credentials, hosts, turn: Mutex::default() }
    }

    /// Asks one source after the other until one answers.
    ///
    /// # Errors
    /// When the last one does not know either, or asking another one is no use.
    pub(super) fn ask<T>(
        &self,
        question: impl Fn(&Arc<Client>) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        loop {
            let (at, client) = self.current();
            let error = match client.and_then(|client| question(&client)) {
                Err(e) if at + 1 < self.hosts.len() && e.blames_source() => e,
                answer => return answer,
            };
            tracing::warn!("mirror {} does not help: {error}", self.hosts[at]);
            self.leave(at);
        }
    }

    /// Whose turn it is. A connection is made once, while others wait for it.
    fn current(&self) -> (usize, Result<Arc<Client>, RegistryError>) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let at = turn.0;
        if let Some(client) = &turn.1 {
            return (at, Ok(Arc::clone(client)));
        }
        let host = self.hosts[at];
        let login = self.credentials.get(host).map_err(RegistryError::from);
        let client = login.and_then(|login| Client::connect(host, self.config, login)).map(Arc::new);
        turn.1 = client.as_ref().ok().map(Arc::clone);
        (at, client)
    }

    /// Goes on to the next source, unless another thread has.
    fn leave(&self, at: usize) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.0 == at {
            *turn = (at + 1, None);
        }
    }
}
