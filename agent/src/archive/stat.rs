//! What is at a path.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use moat_protocol::PathStat;
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat};

use super::error::Error;
use crate::container::{Root, file_type};

/// What was found at a path.
pub struct Found {
    /// As the kernel tells it.
    pub stat: FileStat,
    /// Where a symbolic link points.
    pub target: Vec<u8>,
    /// As the host is told.
    pub told: PathStat,
}

/// Looks at what is at a path.
pub fn look_up(root: &Root, path: &str, follow: bool) -> Result<Found, Error> {
    let failed = |error| Error::look_up(path, error);
    if !path.starts_with('/') || path.contains('\0') {
        return Err(failed(Errno::EINVAL));
    }
    let found = root.look_up(Path::new(path), OFlag::O_PATH | nofollow(follow)).map_err(failed)?;
    let stat = fstat(&found).map_err(failed)?;
    let target = if file_type(&stat) == SFlag::S_IFLNK {
        readlinkat(&found, "").map_err(failed)?.as_bytes().to_vec()
    } else {
        Vec::new()
    };
    let told = PathStat {
        name: name(path),
        mode: stat.st_mode,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime: stat.st_mtime,
        link_target: String::from_utf8_lossy(&target).into_owned(),
    };
    Ok(Found { stat, target, told })
}

/// The flag that makes a look-up stop at a symbolic link.
pub fn nofollow(follow: bool) -> OFlag {
    if follow { OFlag::empty() } else { OFlag::O_NOFOLLOW }
}

/// Whether a path means the root, such as `/`, `//./` or `/..`. Only its text is looked at.
pub fn is_root(path: &str) -> bool {
    Path::new(path).components().all(|part| !matches!(part, Component::Normal(_)))
}

/// The last part of a path; `/` where there is none.
pub fn name(path: &str) -> String {
    let last = Path::new(path).file_name().unwrap_or(OsStr::new("/"));
    String::from_utf8_lossy(last.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_last_parts() {
        for (path, expected) in
            [("/", "/"), ("//", "/"), ("/a", "a"), ("/a/b/", "b"), ("/a/.", "a"), ("/a/..", "/")]
        {
            assert_eq!(name(path), expected, "{path}");
        }
        assert!(is_root("/") && is_root("//./") && is_root("/..") && !is_root("/a") && !is_root("/a/.."));
    }
}
