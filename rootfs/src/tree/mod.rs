//! The merged tree of an image, in memory.
//!
//! Inodes and directories live in two arenas and name each other by index, so hundreds of thousands of entries are a few
//! allocations each, and nothing is recursive.

mod dump;
mod merge;
mod path;
mod resolve;
mod xattrs;

use std::collections::BTreeMap;

use crate::disk::BLOCK_SIZE;
use crate::sparse::Placed;
use crate::tar::number::Time;
use crate::tar::pax::Xattr;

/// Index of an inode.
pub type InodeId = u32;
/// Index of a directory's content.
pub type DirId = u32;

/// The root's directory and inode.
pub const ROOT: u32 = 0;

/// Mode of directories that no layer has an entry for.
const IMPLICIT_MODE: u16 = 0o755;

/// An image's file system: the layers merged, the highest on top.
///
/// Whiteouts are gone, hard links share an inode, and directories that no layer has an entry for belong to root, with
/// mode 0755 and the time 0.
#[derive(Debug)]
pub struct Tree {
    inodes: Vec<Inode>,
    directories: Vec<Directory>,
    sparse: Vec<Placed>,
    /// Sets of extended attributes, each stored once; the first is the empty one.
    xattrs: Vec<Box<[Xattr]>>,
    /// Lengths of the layers in bytes.
    layers: Vec<u64>,
}

/// A file of any type, with one or more names.
#[derive(Debug)]
pub struct Inode {
    pub body: Body,
    pub mtime: Time,
    pub uid: u32,
    pub gid: u32,
    /// Names of a file; directories are counted when they are written.
    pub names: u32,
    xattrs: u32,
    /// Permissions and the three special bits.
    pub mode: u16,
}

/// The type of an inode, with what only this type has.
#[derive(Debug)]
pub enum Body {
    Directory(DirId),
    /// Data in place: block number in the layer, 0 being the lowest layer.
    File {
        layer: u16,
        block: u32,
        size: u64,
    },
    /// An index into the sparse files, and the layer that their data in place is in.
    Sparse {
        layer: u16,
        placed: u32,
    },
    Symlink(Box<[u8]>),
    /// Major and minor number.
    CharDevice(u32, u32),
    /// Major and minor number.
    BlockDevice(u32, u32),
    Fifo,
}

/// The content of a directory.
#[derive(Debug)]
pub struct Directory {
    pub inode: InodeId,
    /// The root is its own.
    pub parent: DirId,
    pub children: BTreeMap<Box<[u8]>, Child>,
    depth: u32,
    /// The last layer that has an entry for it or for anything below it, from 1.
    touched: u16,
    /// The last layer whose whiteouts have removed all that lower layers had in it, from 1.
    cleared: u16,
}

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub struct Child {
    pub inode: InodeId,
    /// The last layer that has an entry of this name, from 1. For a directory the one above counts.
    touched: u16,
}

impl Tree {
    fn new() -> Self {
        let root = Inode {
            body: Body::Directory(ROOT),
            mtime: Time::default(),
            uid: 0,
            gid: 0,
            names: 1,
            xattrs: 0,
            mode: IMPLICIT_MODE,
        };
        let content = Directory {
            inode: ROOT,
            parent: ROOT,
            children: BTreeMap::new(),
            depth: 0,
            touched: 0,
            cleared: 0,
        };
        Self {
            inodes: vec![root],
            directories: vec![content],
            sparse: Vec::new(),
            xattrs: vec![Box::default()],
            layers: Vec::new(),
        }
    }

    pub(crate) fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id as usize]
    }

    /// Number of inodes ever made, removed ones included: every [`InodeId`] is below.
    pub(crate) fn inode_slots(&self) -> usize {
        self.inodes.len()
    }

    pub(crate) fn directory(&self, id: DirId) -> &Directory {
        &self.directories[id as usize]
    }

    pub(crate) fn sparse(&self, id: u32) -> &Placed {
        &self.sparse[id as usize]
    }

    /// Extended attributes of an inode, sorted by name.
    pub(crate) fn xattrs_of(&self, inode: &Inode) -> &[Xattr] {
        &self.xattrs[inode.xattrs as usize]
    }

    /// Lengths of the layers in bytes, lowest first.
    pub fn layer_lens(&self) -> &[u64] {
        &self.layers
    }

    /// Sizes of the layers on the disk, in blocks.
    pub(crate) fn layer_blocks(&self) -> impl Iterator<Item = u64> {
        self.layers.iter().map(|length| length.div_ceil(BLOCK_SIZE))
    }

    /// The directory an inode is, if it is one.
    pub(crate) fn as_directory(&self, inode: InodeId) -> Option<DirId> {
        match self.inode(inode).body {
            Body::Directory(id) => Some(id),
            _ => None,
        }
    }

    /// Size as `stat` shows it; a directory's depends on how it is written and is 0 here.
    pub(crate) fn size_of(&self, inode: &Inode) -> u64 {
        match &inode.body {
            Body::File { size, .. } => *size,
            Body::Sparse { placed, .. } => self.sparse(*placed).size,
            Body::Symlink(target) => target.len() as u64,
            _ => 0,
        }
    }

    /// Link count as `stat` shows it.
    pub(crate) fn links_of(&self, inode: &Inode) -> u32 {
        let Body::Directory(id) = inode.body else { return inode.names };
        let children = self.directory(id).children.values();
        let below = children.filter(|child| self.as_directory(child.inode).is_some()).count();
        2u32.saturating_add(u32::try_from(below).unwrap_or(u32::MAX))
    }
}
