//! Names of an archive's entries, and how they change on the way.

use super::ArchiveError;

/// What becomes of the first part of every name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The part that every name must begin with; nothing where names begin with anything.
    from: Option<Vec<u8>>,
    /// What stands in its place; nothing when it is left out.
    to: Option<Vec<u8>>,
}

impl Rename {
    /// Every name begins with `from`, which becomes `to` or is left out.
    pub fn first(from: &[u8], to: Option<&[u8]>) -> Self {
        Self { from: Some(from.to_vec()), to: to.map(<[u8]>::to_vec) }
    }

    /// Every name is put below `to`, or stays.
    pub fn below(to: Option<&[u8]>) -> Self {
        Self { from: None, to: to.map(<[u8]>::to_vec) }
    }

    /// The parts of a new name; none for the place itself that everything goes to. No part is empty, `.` or `..`.
    ///
    /// # Errors
    /// When the name leads out of that place, or does not begin as it should.
    pub fn apply<'a>(&'a self, name: &'a [u8]) -> Result<Vec<&'a [u8]>, ArchiveError> {
        if name.starts_with(b"/") {
            return Err(ArchiveError::entry(name, "its name is absolute, and would lead anywhere"));
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in name.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(ArchiveError::entry(name, "its name leads out of the destination")),
                part => parts.push(part),
            }
        }
        if let Some(from) = &self.from {
            if parts.first() != Some(&from.as_slice()) {
                let expected = String::from_utf8_lossy(from);
                return Err(ArchiveError::entry(name, format!("only {expected} was asked for")));
            }
            parts.remove(0);
        }
        if let Some(to) = &self.to {
            parts.insert(0, to);
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(rename: &Rename, name: &str) -> Option<String> {
        let parts = rename.apply(name.as_bytes()).ok()?;
        Some(String::from_utf8(parts.join(&b'/')).unwrap())
    }

    #[test]
    fn first_parts_change() {
        let kept = Rename::first(b"etc", Some(b"etc"));
        let other = Rename::first(b"etc", Some(b"new"));
        let dropped = Rename::first(b"etc", None);
        for (rename, name, expected) in [
            (&kept, "etc/", Some("etc")),
            (&kept, "etc//./a", Some("etc/a")),
            (&other, "etc/etc/a", Some("new/etc/a")),
            (&other, "./etc", Some("new")),
            (&dropped, "etc", Some("")),
            (&dropped, "etc/a/b/", Some("a/b")),
            (&Rename::below(Some(b"out")), "a", Some("out/a")),
            (&Rename::below(None), "./a", Some("a")),
            (&kept, "other/a", None),
            (&kept, "etcetera", None),
            (&kept, "", None),
        ] {
            assert_eq!(renamed(rename, name).as_deref(), expected, "{rename:?} {name}");
        }
    }

    #[test]
    fn ways_out_are_refused() {
        for name in ["..", "../x", "a/..", "a/../../x", "a/./../..", "/", "/etc/passwd", "//x"] {
            Rename::below(None).apply(name.as_bytes()).unwrap_err();
        }
    }
}
