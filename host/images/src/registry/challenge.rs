//! `WWW-Authenticate`: what a registry asks for (RFC 9110 section 11, RFC 6750 section 3).

use std::collections::BTreeMap;

/// One way to authenticate that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password.
    Basic,
    /// A token from another server.
    Bearer {
        /// The URL of the server that gives it.
        realm: String,
        /// For whom.
        service: Option<String>,
        /// For what.
        scope: Option<String>,
    },
}

/// The best way that a header offers.
pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<Challenge> = headers.flat_map(parse).collect();
    let bearer = all.iter().find(|one| matches!(one, Challenge::Bearer { .. }));
    bearer.or(all.first()).cloned()
}

fn parse(header: &str) -> Option<Challenge> {
    let header = header.trim();
    let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut parameters = parameters(rest);
    Some(Challenge::Bearer {
        realm: parameters.remove("realm")?,
        service: parameters.remove("service"),
        scope: parameters.remove("scope"),
    })
}

/// `key=value` and `key="quoted value"`, with commas between them.
fn parameters(mut text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    while let Some((key, rest)) = text.split_once('=') {
        let key = key.trim_matches([' ', ',', '\t']).to_ascii_lowercase();
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        found.entry(key).or_insert(value);
        text = rest;
    }
    found
}

/// What comes before the closing quote, and what comes after it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn registries_ask_in_many_ways() {
        for (header, expected) in [
            ("Basic realm=\"Registry Realm\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://auth.example/token\",service=\"a, b\",scope=\"repository:a/b:pull,push\"",
                Some(bearer("https://auth.example/token", Some("a, b"), Some("repository:a/b:pull,push"))),
            ),
            ("bearer  realm=https://x , service=y", Some(bearer("https://x", Some("y"), None))),
            ("Bearer realm=\"a\\\"b", Some(bearer("a\"b", None, None))),
            ("Bearer service=\"y\"", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(choose([header].into_iter()), expected, "{header}");
        }
        let both = choose(["Basic realm=\"x\"", "Bearer realm=\"y\""].into_iter());
        assert_eq!(both, Some(bearer("y", None, None)));
    }
}
