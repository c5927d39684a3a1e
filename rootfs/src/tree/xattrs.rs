//! Which extended attributes become part of the image.

/// Whether an attribute is kept.
///
/// - `trusted.overlay.*` and `user.overlay.*` are not: the index becomes a lower layer of overlayfs, which would obey them
///   (make directories opaque, redirect lookups to other paths, take a file's data from elsewhere). An image that holds
///   them is a copy of some overlayfs' inside.
/// - EROFS can say `user.`, `trusted.`, `security.` and the two POSIX access control lists. Linux knows few others, and none
///   that a container's own file system would take.
/// - Linux has `user.*` on files and directories only (xattr(7)).
pub fn keep(name: &[u8], file_or_directory: bool) -> bool {
    let acts = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    let known = match name {
        b"system.posix_acl_access" | b"system.posix_acl_default" => true,
        _ => [&b"user."[..], b"trusted.", b"security."]
            .iter()
            .any(|prefix| name.starts_with(prefix) && name.len() > prefix.len()),
    };
    known && !acts && (file_or_directory || !name.starts_with(b"user."))
}

#[cfg(test)]
mod tests {
    use super::keep;

    #[test]
    fn what_acts_or_cannot_be_said_is_dropped() {
        for name in
            ["user.a", "trusted.a", "security.capability", "system.posix_acl_access", "trusted.overlayx"]
        {
            assert!(keep(name.as_bytes(), true), "{name}");
        }
        for name in [
            "trusted.overlay.opaque",
            "user.overlay.redirect",
            "trusted.overlay.overlay.opaque",
            "nonsense",
            "user.",
            "system.nfs4_acl",
            "com.apple.quarantine",
        ] {
            assert!(!keep(name.as_bytes(), true), "{name}");
        }
        assert!(!keep(b"user.a", false));
        assert!(keep(b"security.a", false));
    }
}
