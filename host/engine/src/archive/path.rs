//! Paths as Docker's rules for `cp` read them: by their text alone, as Go cleans them, whether they exist or not.

/// The shortest path that means the same by its text: no empty part, no `.`, and `..` only in front.
pub fn clean(path: &[u8]) -> Vec<u8> {
    let absolute = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => drop(parts.pop()),
            // Above the root there is only the root.
            b".." if absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (absolute, joined.is_empty()) {
        (true, _) => [b"/".as_slice(), &joined].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// Everything of a cleaned, absolute path but its last part.
pub fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(0) | None => b"/",
        Some(at) => &path[..at],
    }
}

/// The last part of a cleaned, absolute path; nothing for the root.
pub fn last(path: &[u8]) -> Option<&[u8]> {
    path.rsplit(|&byte| byte == b'/').next().filter(|part| !part.is_empty())
}

/// A link's target, seen from where the link is. `link` is cleaned and absolute.
pub fn target(link: &[u8], target: &[u8]) -> Vec<u8> {
    if target.starts_with(b"/") {
        return clean(target);
    }
    clean(&[parent(link), b"/", target].concat())
}

/// Whether a path, as it was typed, means what is in a directory: it ends with `/.`.
pub fn means_contents(path: &[u8]) -> bool {
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    path[..end].rsplit(|&byte| byte == b'/').next() == Some(b".")
}

/// Whether a path, as it was typed, can only be a directory's.
pub fn asserts_directory(path: &[u8]) -> bool {
    path.ends_with(b"/") || means_contents(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, expected) in [
            ("", "."),
            ("/", "/"),
            ("//", "/"),
            ("/..", "/"),
            ("/a/../../b", "/b"),
            ("a/..", "."),
            ("a/../..", ".."),
            ("../../a", "../../a"),
            ("./a//b/./c/", "a/b/c"),
            ("/a/.", "/a"),
        ] {
            assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn paths_come_apart() {
        for (path, before, end) in [
            ("/", "/", None),
            ("/a", "/", Some("a")),
            ("/a/b", "/a", Some("b")),
            ("/a/b/c", "/a/b", Some("c")),
        ] {
            assert_eq!(parent(path.as_bytes()), before.as_bytes());
            assert_eq!(last(path.as_bytes()), end.map(str::as_bytes));
        }
        assert_eq!(target(b"/a/link", b"b"), b"/a/b");
        assert_eq!(target(b"/a/link", b"../../b"), b"/b");
        assert_eq!(target(b"/link", b"/c/d/"), b"/c/d");
    }

    #[test]
    fn ends_say_what_is_meant() {
        for (path, contents, directory) in [
            ("a", false, false),
            ("a/", false, true),
            ("a/.", true, true),
            ("a/./", true, true),
            (".", true, true),
            ("/", false, true),
            ("a.", false, false),
            ("a/..", false, false),
            ("", false, false),
        ] {
            assert_eq!(means_contents(path.as_bytes()), contents, "{path}");
            assert_eq!(asserts_directory(path.as_bytes()), directory, "{path}");
        }
    }
}
