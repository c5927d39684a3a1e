//! The content of a directory: blocks of entries, sorted by name over the whole directory.

use crate::disk::BLOCK_SIZE;
use crate::erofs::format::{Dirent, FileType};
use crate::tree::{Body, DirId, InodeId, Tree};

const BLOCK: usize = BLOCK_SIZE as usize;

/// Fills `out` with a directory's content. `number` gives inode numbers; the length does not depend on them.
///
/// Each block has its entries first and then their names. The last block ends with its last name, which counts as the
/// directory's size; the others are filled with zeros. A name is never longer than half a block, so every block has room for one.
pub fn content(tree: &Tree, directory: DirId, number: impl Fn(InodeId) -> u64, out: &mut Vec<u8>) {
    out.clear();
    let entries = entries(tree, directory);
    let mut rest = entries.as_slice();
    while !rest.is_empty() {
        let mut used = 0;
        let fits = rest.iter().take_while(|(name, _)| {
            used += Dirent::LEN + name.len();
            used <= BLOCK
        });
        let count = fits.count().max(1);
        let (block, after) = rest.split_at(count);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        let mut name_offset = count * Dirent::LEN;
        for (name, inode) in block {
            let dirent = Dirent {
                inode: number(*inode),
                name_offset: u16::try_from(name_offset).unwrap_or_default(),
                file_type: type_of(&tree.inode(*inode).body).in_directory(),
            };
            out.extend_from_slice(&dirent.bytes());
            name_offset += name.len();
        }
        for (name, _) in block {
            out.extend_from_slice(name);
        }
        rest = after;
    }
}

/// All entries with `.` and `..` among them: there are names that sort before a dot.
fn entries(tree: &Tree, directory: DirId) -> Vec<(&[u8], InodeId)> {
    let content = tree.directory(directory);
    let mut entries: Vec<(&[u8], InodeId)> = Vec::with_capacity(content.children.len() + 2);
    entries.extend(content.children.iter().map(|(name, child)| (&**name, child.inode)));
    for (name, inode) in [(&b"."[..], content.inode), (b"..", tree.directory(content.parent).inode)] {
        let at = entries.partition_point(|(other, _)| *other < name);
        entries.insert(at, (name, inode));
    }
    entries
}

/// The type of an inode in the tree.
pub fn type_of(body: &Body) -> FileType {
    match body {
        Body::Directory(_) => FileType::Directory,
        Body::File { .. } | Body::Sparse { .. } => FileType::Regular,
        Body::Symlink(_) => FileType::Symlink,
        Body::CharDevice(..) => FileType::CharDevice,
        Body::BlockDevice(..) => FileType::BlockDevice,
        Body::Fifo => FileType::Fifo,
    }
}
