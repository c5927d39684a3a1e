//! What a registry answers when it does not do what was asked, and how its answers are read.

use std::io::{self, Read};

use serde_json::Value;
use thiserror::Error;
use ureq::Body;
use ureq::http::Response;

use super::ask::Ask;
use super::client::Client;
use super::error::RegistryError;
use super::headers::retry_after;
use super::pace::Paced;
use crate::store::shorten;

/// How much of an error's text is read, in bytes.
const MAX_ERROR: u64 = 16 << 10;

/// An answer whose text cannot be had.
#[derive(Debug, Error)]
enum TextError {
    /// It does not come.
    #[error("{0}")]
    Broken(String),
    /// It does not end.
    #[error("it is longer than {0} bytes, the most that Moat takes")]
    TooLong(u64),
}

impl Client {
    /// What an answer that is no success means.
    pub(super) fn refused(&self, ask: &Ask<'_>, mut response: Response<Body>) -> RegistryError {
        let status = response.status().as_u16();
        let wait = retry_after(&response);
        let mut reason = self.said(&mut response);
        if let (429 | 503, Some(wait)) = (status, wait) {
            let again = format!("try again in {} seconds", wait.as_secs());
            reason = if reason.is_empty() { again } else { format!("{reason}; {again}") };
        }
        let registry = self.registry().to_owned();
        match status {
            401 | 403 => {
                let reason = format!("{status} {reason}").trim().to_owned();
                let (action, repository) = denied(ask.scope);
                RegistryError::Denied { registry, action, repository, reason }
            }
            _ => RegistryError::Status { registry, what: ask.what.to_owned(), status, reason },
        }
    }

    /// An answer that makes no sense.
    pub(super) fn nonsense(&self, what: &str, reason: impl Into<String>) -> RegistryError {
        let (registry, what) = (self.registry().to_owned(), what.to_owned());
        RegistryError::Answer { registry, what, reason: reason.into() }
    }

    pub(super) fn broken(&self, error: &ureq::Error) -> RegistryError {
        let reason = match error {
            ureq::Error::Timeout(_) => format!("it said nothing for {} seconds", self.timeout().as_secs()),
            ureq::Error::Io(e) if e.kind() == io::ErrorKind::TimedOut => {
                format!("it said nothing for {} seconds", self.timeout().as_secs())
            }
            other => other.to_string(),
        };
        RegistryError::Connection { registry: self.registry().to_owned(), reason: shorten(&reason) }
    }

    /// The bytes of a small answer.
    pub(super) fn document(
        &self,
        what: &str,
        response: &mut Response<Body>,
        most: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        self.limited(response, most).map_err(|e| self.nonsense(what, e.to_string()))
    }

    fn limited(&self, response: &mut Response<Body>, most: u64) -> Result<Vec<u8>, TextError> {
        let mut text = Vec::new();
        let body = response.body_mut().as_reader().take(most + 1);
        let read = Paced::new(body, self.timeout()).read_to_end(&mut text);
        read.map_err(|e| TextError::Broken(shorten(&e.to_string())))?;
        if text.len() as u64 > most {
            return Err(TextError::TooLong(most));
        }
        Ok(text)
    }

    /// What the registry says about an error; nothing when it says nothing that can be understood.
    pub(super) fn said(&self, response: &mut Response<Body>) -> String {
        let text = self.limited(response, MAX_ERROR).unwrap_or_default();
        let Ok(answer) = serde_json::from_slice::<Value>(&text) else { return String::new() };
        let first = answer.pointer("/errors/0").unwrap_or(&answer);
        let word = |field: &str| first.get(field).and_then(Value::as_str).unwrap_or_default();
        let code = word("code").to_lowercase().replace('_', " ");
        let said = [&code, word("message"), word("details")];
        let said: Vec<_> = said.iter().filter(|word| !word.is_empty()).map(|word| shorten(word)).collect();
        said.join(": ")
    }
}

/// What was to be done to which repository, going by a scope, for messages.
fn denied(scope: &str) -> (&'static str, String) {
    let action = if scope.contains(":pull,push") { "push" } else { "pull" };
    (action, scope.split(':').nth(1).unwrap_or("it").to_owned())
}
