//! `login` and `logout`: the user's credentials for a registry, kept where Docker keeps them. Neither needs a root
//! directory.

use std::path::PathBuf;

use moat_images::registry::{Client, Login, RegistryError};

use crate::EngineError;
use crate::image::registries;

/// A user of a registry.
pub struct LoginRequest {
    /// The registry's host, see [`host`].
    pub registry: String,
    /// The user's name.
    pub user: String,
    /// The password or token.
    pub secret: String,
}

impl LoginRequest {
    /// Has the registry check the user and keeps the credentials. The answer is the file in which the secret is readable,
    /// if no credential helper keeps it.
    ///
    /// # Errors
    /// When something is left out, the registry refuses, or the credentials cannot be kept.
    pub fn run(self) -> Result<Option<PathBuf>, EngineError> {
        let Self { registry, user, secret } = self;
        if user.is_empty() || secret.is_empty() {
            return Err(EngineError::Invalid("Username and password are required".to_owned()));
        }
        let (config, mut credentials) = registries()?;
        let login = Login::Password { user: user.clone(), secret: secret.clone() };
        Client::connect(&registry, &config, Some(login))?.check_login()?;
        let in_plain = credentials.store(&registry, &user, &secret).map_err(RegistryError::from)?;
        Ok(in_plain.then(|| credentials.path().to_owned()))
    }
}

/// Has logins be kept in, and read from, `directory` and not where the environment says; for all of this process.
pub fn keep_in(directory: PathBuf) {
    moat_images::registry::Credentials::keep_in(directory);
}

/// Forgets the credentials for a registry. The answer is whether there were any.
///
/// # Errors
/// When the credentials cannot be read or changed.
pub fn logout(registry: &str) -> Result<bool, EngineError> {
    let mut credentials = moat_images::registry::Credentials::read().map_err(RegistryError::from)?;
    Ok(credentials.erase(registry).map_err(RegistryError::from)?)
}

/// The host of the registry that is meant, Docker Hub's when none is said. Whole URLs are taken, as Docker does.
pub fn host(registry: Option<&str>) -> String {
    let Some(text) = registry else { return "docker.io".to_owned() };
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    match rest.split('/').next().unwrap_or(rest) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moat_records::kind::ErrorKind;

    #[test]
    fn registries_have_one_spelling() {
        for (said, expected) in [
            (None, "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("registry-1.docker.io"), "docker.io"),
            (Some("http://localhost:5000/v2"), "localhost:5000"),
            (Some("ghcr.io"), "ghcr.io"),
        ] {
            assert_eq!(host(said), expected, "{said:?}");
        }
    }

    #[test]
    fn a_login_needs_a_user_and_a_secret() {
        let login = |user: &str, secret: &str| LoginRequest {
            registry: "localhost:1".to_owned(),
            user: user.to_owned(),
            secret: secret.to_owned(),
        };
        for request in [login("", "x"), login("me", "")] {
            let error = request.run().unwrap_err();
            assert_eq!(error.to_string(), "Username and password are required");
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }
}
