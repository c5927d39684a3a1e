//! Paths of entries, cleaned as text.

use crate::error::Problem;
use crate::limits;

/// The components of an entry's path, without empty ones and `.`; `..` takes the one before away. A leading slash
/// means nothing. What would climb above the root is refused.
pub fn clean<'a>(path: &'a [u8], what: &'static str) -> Result<Vec<&'a [u8]>, Problem> {
    if path.is_empty() {
        return Err(Problem::NoName);
    }
    Problem::check("the length of the path", path.len() as u64, limits::MAX_PATH_LEN as u64)?;
    let mut components: Vec<&'a [u8]> = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop().ok_or(Problem::Climbs(what))?),
            _ => components.push(component),
        }
    }
    Ok(components)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, expected) in [
            ("a/b", Some("a b")),
            ("/a//./b/", Some("a b")),
            ("./", Some("")),
            ("a/x/../b", Some("a b")),
            ("...", Some("...")),
            ("..", None),
            ("a/../../b", None),
            ("", None),
        ] {
            let found = clean(path.as_bytes(), "name").ok().map(|parts| parts.join(&b' '));
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{path}");
        }
    }
}
