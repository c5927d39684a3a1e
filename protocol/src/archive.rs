//! Files in and out of a container: what `cp`, `diff`, `export` and `commit` ask the guest for.
//!
//! Paths are the container's, as text. They are resolved inside its root file system. While its first process runs,
//! that is the file system as this process sees it, with its mounts. Archives are tars in the PAX format
//! (POSIX.1-2001).

use serde::{Deserialize, Serialize};

/// What to do with the container's file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ArchiveTask {
    /// Tell what is at a path. This task has no stream.
    Stat {
        /// An absolute path.
        path: String,
        /// Whether to follow a symbolic link at its end.
        follow: bool,
    },
    /// Send a path, with what is below it, as a tar whose names begin with the path's last part. `/` is sent as the
    /// names below it. As in a layer of an image, extended attributes are `SCHILY.xattr` records, and further names of
    /// a file are hard links.
    Read {
        /// An absolute path.
        path: String,
        /// Whether to send what a symbolic link at its end points to.
        follow: bool,
    },
    /// Unpack a tar below a directory. Names that lead out of it are refused.
    Write {
        /// An absolute path of a directory.
        path: String,
        /// Whether entries keep the owners that the tar names; without it they belong to root.
        keep_owner: bool,
        /// Refuse to replace a directory by something else, or something else by a directory.
        keep_kind: bool,
    },
    /// Send the differences from the image, in the order of paths. Each is `A`, `C` or `D` (added, changed, deleted),
    /// then the path and a zero byte.
    Changes,
    /// Send the differences from the image as an OCI layer: a tar with whiteouts.
    Layer {
        /// Whether the container's processes are frozen meanwhile.
        freeze: bool,
    },
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathStat {
    /// The last part of the path as it was asked for.
    pub name: String,
    /// Type and permissions as `st_mode` has them.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// The time of the last change, in seconds since 1970.
    pub mtime: i64,
    /// Where a symbolic link points; empty for everything else.
    pub link_target: String,
}

/// Why an [`ArchiveTask`] failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveFailure {
    /// There is nothing at the path.
    NotFound,
    /// The path must be a directory and is none, or a directory would be replaced.
    WrongKind,
    /// The archive that the host sent is broken or leads out of the directory.
    BadArchive,
    /// The file system refused; it may be full or read-only.
    Io,
}
