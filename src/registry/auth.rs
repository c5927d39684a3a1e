//! Who we are, told to a registry in the way it asks for: as it is, or by a token from somebody else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use ureq::Body;
use ureq::http::{Method, Request, Response, header};

use super::challenge::{self, Challenge};
use super::client::{Ask, Client, denied, escape, limited, told};
use super::credentials::Login;
use super::error::RegistryError;
use crate::store::shorten;

/// The largest answer of whoever gives tokens, in bytes.
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
        if !realm.starts_with("https://") && !self.base.starts_with("http://") {
            return Err(self.nonsense(WHAT, format!("{:?} is no place to get one securely", shorten(realm))));
        }
        let service = service.map(|service| ("service", service));
        let scopes = scope.split(' ').filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope));
        let request = Request::builder();
        let response = match &self.login {
            Some(Login::IdentityToken(token)) => {
                let fields =
                    [("grant_type", "refresh_token"), ("client_id", "moat"), ("refresh_token", token)];
                let form = encode(
                    fields.into_iter().chain(service).chain((!scope.is_empty()).then_some(("scope", scope))),
                );
                let kind = "application/x-www-form-urlencoded";
                let request = request.method(Method::POST).uri(realm).header(header::CONTENT_TYPE, kind);
                self.run_small(request.body(form))
            }
            login => {
                let separator = if realm.contains('?') { '&' } else { '?' };
                let url = format!("{realm}{separator}{}", encode(service.into_iter().chain(scopes)));
                let mut request = request.method(Method::GET).uri(url);
                if let Some(Login::Password { user, secret }) = login {
                    request = request.header(header::AUTHORIZATION, basic(user, secret));
                }
                self.run_small(request.body(()))
            }
        };
        let mut response = response.map_err(|e| self.broken(&e))?;
        let status = response.status().as_u16();
        if !response.status().is_success() {
            let reason = format!("{status} when asked for a token{}", told(&mut response));
            let (registry, (action, repository)) = (self.registry.clone(), denied(ask.scope));
            return Err(match status {
                401 | 403 => RegistryError::Denied { registry, action, repository, reason },
                _ => RegistryError::Status {
                    registry,
                    what: WHAT.to_owned(),
                    status,
                    reason: told(&mut response),
                },
            });
        }
        let text = limited(&mut response, MAX_TOKEN).map_err(|e| self.nonsense(WHAT, e))?;
        let answer: Value =
            serde_json::from_slice(&text).map_err(|e| self.nonsense(WHAT, shorten(&e.to_string())))?;
        let token = ["token", "access_token"].iter().find_map(|field| answer.get(field)?.as_str());
        let token = token.filter(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()));
        token.map(str::to_owned).ok_or_else(|| self.nonsense(WHAT, "there is none in it"))
    }

    fn run_small<S: ureq::AsSendBody>(
        &self,
        request: Result<Request<S>, ureq::http::Error>,
    ) -> Result<Response<Body>, ureq::Error> {
        let request = request.map_err(ureq::Error::Http)?;
        let request = self.agent.configure_request(request).timeout_global(Some(2 * self.timeout)).build();
        self.agent.run(request)
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
