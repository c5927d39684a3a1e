//! The image is written twice by the same code: first into a measure that keeps nothing, which tells where everything
//! will be, then for real.
//!
//! ```text
//! 1024        superblock
//! 1536        root inode
//!             for each directory, from the root down:
//!               its content, in whole blocks, unless it fits behind its inode
//!               the inodes of its children, each with attributes, small content and chunk tables behind it
//!             long symbolic links and copied parts of sparse files, in whole blocks
//! ```
//!
//! So what a path lookup needs next is usually near: a directory's names stand before the inodes they lead to.

use sha2::{Digest, Sha256};

use crate::WRITER_VERSION;
use crate::disk::BLOCK_SIZE;
use crate::erofs::directory;
use crate::erofs::format::{self, DataLayout, Inode, SLOT_LEN, SUPERBLOCK_OFFSET, Superblock};
use crate::erofs::xattrs;
use crate::error::Error;
use crate::limits;
use crate::sparse::Chunk;
use crate::tar::number::Time;
use crate::tree::{Body, DirId, InodeId, ROOT, Tree};

/// Where the image goes.
trait Output {
    fn position(&self) -> u64;
    fn put(&mut self, bytes: &[u8]);

    fn zeros(&mut self, mut count: u64) {
        const ZEROS: [u8; BLOCK_SIZE as usize] = [0; BLOCK_SIZE as usize];
        while count > 0 {
            let part = count.min(BLOCK_SIZE);
            self.put(&ZEROS[..usize::try_from(part).unwrap_or_default()]);
            count -= part;
        }
    }

    fn align(&mut self, to: u64) {
        self.zeros(self.position().next_multiple_of(to) - self.position());
    }
}

/// Counts only.
struct Measure(u64);

impl Output for Measure {
    fn position(&self) -> u64 {
        self.0
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len() as u64;
    }
}

impl Output for Vec<u8> {
    fn position(&self) -> u64 {
        self.len() as u64
    }

    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Where things are: found while measuring, used while writing.
struct Places {
    /// Start of each inode in bytes; 0 if it has not been written.
    inodes: Vec<u64>,
    /// First block of the data that an inode has in the index.
    data: Vec<u32>,
    /// First block of each layer.
    layers: Vec<u32>,
    /// Length of the whole disk.
    blocks: u32,
}

struct Writer<'a> {
    tree: &'a Tree,
    /// The time of compact inodes.
    epoch: Time,
    known: Places,
    found: Places,
    /// Inodes whose data goes to the end.
    behind: Vec<InodeId>,
    inodes: u64,
    chunked: bool,
    scratch: Vec<u8>,
}

/// Writes the index of a tree. Returns it and the number of inodes in it.
pub fn write(tree: &Tree) -> Result<(Vec<u8>, u64), Error> {
    let mut writer = Writer::new(tree);
    let mut measure = Measure(0);
    writer.image(&mut measure);
    let length = measure.position();
    writer.end_of_measuring(length)?;
    let mut image = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    writer.image(&mut image);
    debug_assert_eq!(image.len() as u64, length);
    writer.seal(&mut image);
    Ok((image, writer.inodes))
}

impl<'a> Writer<'a> {
    fn new(tree: &'a Tree) -> Self {
        let places = || Places {
            inodes: vec![0; tree.inode_slots()],
            data: vec![0; tree.inode_slots()],
            layers: vec![0; tree.layer_lens().len()],
            blocks: 0,
        };
        Self {
            tree,
            epoch: epoch(tree),
            known: places(),
            found: places(),
            behind: Vec::new(),
            inodes: 0,
            chunked: false,
            scratch: Vec::new(),
        }
    }

    /// The places found become the known ones; the layers follow the index.
    fn end_of_measuring(&mut self, length: u64) -> Result<(), Error> {
        let mut block = length / BLOCK_SIZE;
        let fits = |block: u64| match u32::try_from(block) {
            Ok(fits) if block <= limits::MAX_BLOCKS => Ok(fits),
            _ => Err(Error::TooLarge(block)),
        };
        for (layer, blocks) in self.tree.layer_blocks().enumerate() {
            self.found.layers[layer] = fits(block)?;
            block = block.saturating_add(blocks);
        }
        self.found.blocks = fits(block)?;
        std::mem::swap(&mut self.known, &mut self.found);
        self.found.inodes.fill(0);
        self.behind.clear();
        self.inodes = 0;
        Ok(())
    }

    fn image(&mut self, out: &mut impl Output) {
        out.zeros(SUPERBLOCK_OFFSET + Superblock::CHECKED_LEN as u64);
        self.inode(out, ROOT);
        let mut todo: Vec<DirId> = vec![ROOT];
        let tree = self.tree;
        while let Some(id) = todo.pop() {
            let content = tree.directory(id);
            self.directory_blocks(out, content.inode, id);
            let first = todo.len();
            for child in content.children.values() {
                if self.found.inodes[child.inode as usize] == 0 {
                    self.inode(out, child.inode);
                }
                todo.extend(tree.as_directory(child.inode));
            }
            // In order of their names, each with all below it.
            todo[first..].reverse();
        }
        self.data_behind(out);
        out.align(BLOCK_SIZE);
    }

    /// A directory's content, unless it is behind its inode.
    fn directory_blocks(&mut self, out: &mut impl Output, inode: InodeId, id: DirId) {
        let mut content = std::mem::take(&mut self.scratch);
        self.directory_content(id, &mut content);
        if !self.fits_inline(inode, content.len() as u64) {
            out.align(BLOCK_SIZE);
            self.found.data[inode as usize] = block(out.position());
            out.put(&content);
            end_last_name(out);
        }
        self.scratch = content;
    }

    fn directory_content(&self, id: DirId, out: &mut Vec<u8>) {
        directory::content(self.tree, id, |inode| self.known.inodes[inode as usize] / SLOT_LEN, out);
    }

    fn inode(&mut self, out: &mut impl Output, id: InodeId) {
        let tree = self.tree;
        let inode = tree.inode(id);
        let mut inline = std::mem::take(&mut self.scratch);
        inline.clear();
        let (layout, union, size) = self.body(id, &mut inline);
        let xattrs = xattrs::bytes(tree.xattrs_of(inode));
        let record = Inode {
            layout,
            xattr_count: xattrs::count(xattrs.len()),
            mode: directory::type_of(&inode.body).in_mode() | inode.mode,
            links: tree.links_of(inode),
            size,
            union,
            number: u32::try_from(self.inodes + 1).unwrap_or_default(),
            uid: inode.uid,
            gid: inode.gid,
            seconds: inode.mtime.seconds,
            nanoseconds: inode.mtime.nanoseconds,
        };
        let compact = inode.mtime == self.epoch && is_small(&record);
        let own = if compact { Inode::COMPACT_LEN } else { Inode::EXTENDED_LEN };
        let tail = if layout == DataLayout::Inline { inline.len() as u64 } else { 0 };
        place(out, own, xattrs.len() as u64, tail);
        self.found.inodes[id as usize] = out.position();
        self.inodes += 1;
        if compact {
            out.put(&record.compact())
        } else {
            out.put(&record.extended())
        }
        out.put(&xattrs);
        out.put(&inline);
        self.scratch = inline;
    }

    /// What is particular to a type: layout, the union and the size; and what follows the inode.
    fn body(&mut self, id: InodeId, inline: &mut Vec<u8>) -> (DataLayout, u32, u64) {
        let tree = self.tree;
        let inode = tree.inode(id);
        let data = self.known.data[id as usize];
        match &inode.body {
            Body::Directory(directory) => {
                self.directory_content(*directory, inline);
                let size = inline.len() as u64;
                if self.fits_inline(id, size) {
                    return (DataLayout::Inline, 0, size);
                }
                inline.clear();
                (DataLayout::Plain, data, size)
            }
            Body::Symlink(target) => {
                let size = target.len() as u64;
                if self.fits_inline(id, size) {
                    inline.extend_from_slice(target);
                    return (DataLayout::Inline, 0, size);
                }
                self.behind.push(id);
                (DataLayout::Plain, data, size)
            }
            Body::File { size: 0, .. } => (DataLayout::Plain, 0, 0),
            Body::File { layer, block, size } => {
                let start = self.known.layers[usize::from(*layer)].saturating_add(*block);
                (DataLayout::Plain, start, *size)
            }
            Body::Sparse { layer, placed } => {
                self.chunked = true;
                self.behind.push(id);
                let placed = tree.sparse(*placed);
                let layer = self.known.layers[usize::from(*layer)];
                for chunk in &placed.chunks {
                    let block = match chunk {
                        Chunk::Hole => format::NULL_BLOCK,
                        Chunk::Layer(block) => layer.saturating_add(*block),
                        Chunk::Copy(block) => data.saturating_add(*block),
                    };
                    inline.extend_from_slice(&block.to_le_bytes());
                }
                (DataLayout::Chunked, u32::from(placed.chunk_bits), placed.size)
            }
            Body::CharDevice(major, minor) | Body::BlockDevice(major, minor) => {
                (DataLayout::Plain, format::device_number(*major, *minor), 0)
            }
            Body::Fifo => (DataLayout::Plain, 0, 0),
        }
    }

    /// Whether data can stand behind an inode. It may not cross a block's end, so in the worst case it has what an extended
    /// inode and the end of its attributes leave of one.
    fn fits_inline(&self, id: InodeId, length: u64) -> bool {
        let xattrs = xattrs::len(self.tree.xattrs_of(self.tree.inode(id))) as u64;
        (Inode::EXTENDED_LEN + xattrs) % BLOCK_SIZE + length <= BLOCK_SIZE
    }

    fn data_behind(&mut self, out: &mut impl Output) {
        let tree = self.tree;
        for id in std::mem::take(&mut self.behind) {
            let data = match &tree.inode(id).body {
                Body::Symlink(target) => target,
                Body::Sparse { placed, .. } => tree.sparse(*placed).copies.as_slice(),
                _ => continue,
            };
            out.align(BLOCK_SIZE);
            self.found.data[id as usize] = block(out.position());
            out.put(data);
        }
    }

    /// Puts the superblock in: its UUID is a digest of all the rest, its checksum covers its block.
    fn seal(&self, image: &mut [u8]) {
        let mut digest = Sha256::new();
        digest.update(format!("moat-rootfs {WRITER_VERSION}"));
        digest.update(&*image);
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&digest.finalize()[..16]);
        // Version 8, made by rules of one's own (RFC 9562).
        uuid[6] = uuid[6] & 0x0f | 0x80;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        let mut superblock = Superblock {
            checksum: 0,
            root: u16::try_from(self.known.inodes[ROOT as usize] / SLOT_LEN).unwrap_or_default(),
            inodes: self.inodes,
            seconds: self.epoch.seconds,
            nanoseconds: self.epoch.nanoseconds,
            blocks: self.known.blocks,
            uuid,
            incompat: if self.chunked { format::INCOMPAT_CHUNKED } else { 0 },
        };
        let start = usize::try_from(SUPERBLOCK_OFFSET).unwrap_or_default();
        let Some(area) = image.get_mut(start..start + Superblock::CHECKED_LEN) else { return };
        area[..Superblock::LEN].copy_from_slice(&superblock.bytes());
        superblock.checksum = format::crc32c(area);
        area[..Superblock::LEN].copy_from_slice(&superblock.bytes());
    }
}

/// Steps to where an inode can stand: at a slot, not across the end of a block, and so that its inline data does not cross
/// one either.
fn place(out: &mut impl Output, own: u64, xattrs: u64, tail: u64) {
    out.align(SLOT_LEN);
    let crosses = |start: u64, length: u64| length > 0 && start % BLOCK_SIZE + length > BLOCK_SIZE;
    while crosses(out.position(), own) || crosses(out.position() + own + xattrs, tail) {
        out.zeros(SLOT_LEN);
    }
}

/// Ends the last name of a directory whose content is in blocks of its own.
///
/// A lookup in Linux (`find_target_dirent` in `fs/erofs/namei.c`) compares the last name of a block up to the block's end or
/// a zero byte. It does not look at the directory's size, so an inode that follows at once would be part of the name.
/// One zero byte is enough, and mostly free: inodes start at multiples of [`SLOT_LEN`]. Padding to the block would cost
/// half a block for each directory. Inline content needs nothing: Linux copies it to a page of its own, filled with zeros.
fn end_last_name(out: &mut impl Output) {
    if !out.position().is_multiple_of(BLOCK_SIZE) {
        out.zeros(1);
    }
}

/// The most frequent time of the files that are otherwise fit for compact inodes.
fn epoch(tree: &Tree) -> Time {
    let mut times: Vec<Time> = Vec::new();
    let mut todo: Vec<DirId> = vec![ROOT];
    while let Some(id) = todo.pop() {
        for child in tree.directory(id).children.values() {
            let inode = tree.inode(child.inode);
            todo.extend(tree.as_directory(child.inode));
            if inode.uid.max(inode.gid) <= u32::from(u16::MAX) {
                times.push(inode.mtime);
            }
        }
    }
    times.sort_unstable();
    let most = times.chunk_by(Time::eq).max_by_key(|same| (same.len(), std::cmp::Reverse(same[0])));
    most.map(|same| same[0]).unwrap_or_default()
}

fn is_small(inode: &Inode) -> bool {
    inode.links.max(inode.uid).max(inode.gid) <= u32::from(u16::MAX) && inode.size <= u64::from(u32::MAX)
}

fn block(position: u64) -> u32 {
    u32::try_from(position / BLOCK_SIZE).unwrap_or(u32::MAX)
}
