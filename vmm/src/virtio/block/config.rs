//! The configuration of a disk.

use serde::{Deserialize, Serialize};

use crate::fds::Fd;
use crate::virtio::rate::RateLimit;

/// One virtio-blk disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DiskConfig {
    /// File segments one behind the other, each padded with zeros to [`crate::SECTOR_SIZE`]; the guest cannot write.
    ReadOnly {
        /// In order; none may be empty.
        segments: Vec<SegmentConfig>,
        /// How fast; the limits for writing have no effect.
        #[serde(default)]
        limits: DiskLimits,
    },
    /// One file of a whole number of sectors that the guest reads, writes, flushes and discards.
    ReadWrite {
        /// Open for reading and writing.
        file: Fd,
        /// How fast.
        #[serde(default)]
        limits: DiskLimits,
    },
}

/// How fast a disk may be. Without a limit it is as fast as the host's files. A flush and a discard are write operations
/// without bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskLimits {
    /// Bytes read.
    pub read_bytes: Option<RateLimit>,
    /// Read requests.
    pub read_operations: Option<RateLimit>,
    /// Bytes written.
    pub write_bytes: Option<RateLimit>,
    /// Write requests.
    pub write_operations: Option<RateLimit>,
}

/// A run of bytes of a file that is part of a read-only disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentConfig {
    /// Open for reading.
    pub file: Fd,
    /// Where the run starts, in bytes.
    pub offset: u64,
    /// How long it is, in bytes; the file must have them all.
    pub length: u64,
}
