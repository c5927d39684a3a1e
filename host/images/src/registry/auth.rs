//! Authentication in the way that a registry asks for: the password itself, or a token from another server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use ureq::Body;
use ureq::http::{Method, Response, header};

use super::ask::{Ask, Payload, escape};
use super::challenge::{self, Challenge};
use super::client::Client;
use super::credentials::Login;
use super::error::RegistryError;
use crate::store::shorten;

/// The largest answer of a server that gives tokens, in bytes.
const MAX_TOKEN: u64 = 1 << 20;

impl Client {
    /// Gets what the registry asks for in its answer to `ask`.
    pub(super) fn authenticate(&self, ask: &Ask<'_>, response: Response<Body>) -> Result<(), RegistryError> {
        let offers = response.headers().get_all(header::WWW_AUTHENTICATE);
        let offers = offers.iter().filter_map(|value| value.to_str().ok());
        match challenge::choose(offers) {
            Some(Challenge::Basic) => match &self.login {
                Some(Login::Password { user, secret }) => {
                    self.remember("", basic(user, secret));
                    Ok(())
                }
                _ => Err(self.refused(ask, response)),
            },
            Some(Challenge::Bearer { realm, service, scope }) => {
                let wanted = if ask.scope.is_empty() { scope.as_deref().unwrap_or("") } else { ask.scope };
                let token = self.token(ask, &realm, service.as_deref(), wanted)?;
                self.remember(ask.scope, format!("Bearer {token}"));
                Ok(())
            }
            None => Err(self.refused(ask, response)),
        }
    }

    /// Asks `realm` for a token.
    fn token(
        &self,
        ask: &Ask<'_>,
        realm: &str,
        service: Option<&str>,
        scope: &str,
    ) -> Result<String, RegistryError> {
        const WHAT: &str = "a token";
        let service = service.map(|service| ("service", service)).into_iter();
        let headers = [(header::CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned())];
        let (mut form, mut query, mut authorization) = (None, String::new(), None);
        if let Some(Login::IdentityToken(token)) = &self.login {
            let own = [("grant_type", "refresh_token"), ("client_id", "moat"), ("refresh_token", token)];
            let scope = (!scope.is_empty()).then_some(("scope", scope));
            form = Some(encode(own.into_iter().chain(service).chain(scope)));
        } else {
            let separator = if realm.contains('?') { '&' } else { '?' };
            let scopes = scope.split(' ').filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope));
            query = format!("{separator}{}", encode(service.chain(scopes)));
        }
        if let Some(Login::Password { user, secret }) = &self.login {
            authorization = Some(basic(user, secret));
        }
        let url = self.led(WHAT, &self.base, &format!("{realm}{query}"))?;
        let get = Ask { what: WHAT, ..Ask::get("", ask.scope) };
        let ask = match &form {
            Some(form) => {
                Ask { method: Method::POST, headers: &headers, body: Payload::Bytes(form.as_bytes()), ..get }
            }
            None => get,
        };
        let send = || self.send(&ask, &url.uri, authorization.as_deref()).map_err(|e| self.broken(&e));
        let mut response = self.patiently(&ask, send)?;
        if !response.status().is_success() {
            return Err(self.refused(&ask, response));
        }
        let text = self.document(WHAT, &mut response, MAX_TOKEN)?;
        let answer: Value =
            serde_json::from_slice(&text).map_err(|e| self.nonsense(WHAT, shorten(&e.to_string())))?;
        let token = ["token", "access_token"].iter().find_map(|field| answer.get(field)?.as_str());
        let token = token.filter(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()));
        token.map(str::to_owned).ok_or_else(|| self.nonsense(WHAT, "there is none in it"))
    }
}

fn basic(user: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{secret}")))
}

/// Fields of a query or a form.
fn encode<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    fields.map(|(key, value)| format!("{key}={}", escape(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_escaped() {
        assert_eq!(
            encode([("scope", "repository:a/b:pull,push"), ("x", "é")].into_iter()),
            "scope=repository%3Aa%2Fb%3Apull%2Cpush&x=%C3%A9"
        );
    }
}
