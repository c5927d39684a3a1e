//! The tree as text, for people and for comparing.

use std::fmt::{self, Write};

use crate::tar::pax::Xattr;
use crate::tree::{Body, DirId, Inode, ROOT, Tree};

impl Tree {
    /// Writes one line per path, sorted:
    ///
    /// ```text
    /// PATH TYPE+MODE UID:GID SIZE SECONDS.NANOSECONDS LINKS WHAT [NAME=VALUE]...
    /// /bin/sh l0777 0:0 4 1700000000.000000000 1 dash
    /// ```
    ///
    /// WHAT is a link's target, a device's numbers, for a file the layer (from 1) and the byte where its data starts, for a
    /// sparse file its chunk size, and `-` otherwise. Bytes that are not printable ASCII, spaces, `=` and backslashes
    /// are written as `\xNN`.
    ///
    /// # Errors
    /// What `out` says.
    pub fn dump(&self, out: &mut impl Write) -> fmt::Result {
        let mut todo: Vec<(String, DirId)> = vec![("/".into(), ROOT)];
        self.dump_line("/", self.inode(ROOT), out)?;
        // Directories are kept with their paths and taken from the end, so their content follows them.
        while let Some((path, id)) = todo.pop() {
            let first = todo.len();
            for (name, child) in &self.directory(id).children {
                let mut path = path.clone();
                escape(name, &mut path)?;
                self.dump_line(&path, self.inode(child.inode), out)?;
                if let Some(below) = self.as_directory(child.inode) {
                    todo.push((path + "/", below));
                }
            }
            todo[first..].reverse();
        }
        Ok(())
    }

    fn dump_line(&self, path: &str, inode: &Inode, out: &mut impl Write) -> fmt::Result {
        let kind = match inode.body {
            Body::Directory(_) => 'd',
            Body::File { .. } | Body::Sparse { .. } => '-',
            Body::Symlink(_) => 'l',
            Body::CharDevice(..) => 'c',
            Body::BlockDevice(..) => 'b',
            Body::Fifo => 'p',
        };
        let (mode, uid, gid, size, links) =
            (inode.mode, inode.uid, inode.gid, self.size_of(inode), self.links_of(inode));
        let (seconds, nanoseconds) = (inode.mtime.seconds, inode.mtime.nanoseconds);
        write!(out, "{path} {kind}{mode:04o} {uid}:{gid} {size} {seconds}.{nanoseconds:09} {links} ")?;
        match &inode.body {
            Body::File { layer, block, size } if *size > 0 => {
                write!(out, "{}@{}", layer + 1, u64::from(*block) * crate::disk::BLOCK_SIZE)?;
            }
            Body::Sparse { layer, placed } => {
                let placed = self.sparse(*placed);
                let chunk = crate::disk::BLOCK_SIZE << placed.chunk_bits;
                write!(out, "{}@sparse/{chunk}+{}", layer + 1, placed.copies.len())?;
            }
            Body::Symlink(target) => escape(target, out)?,
            Body::CharDevice(major, minor) | Body::BlockDevice(major, minor) => {
                write!(out, "{major}:{minor}")?
            }
            _ => out.write_char('-')?,
        }
        for xattr in self.xattrs_of(inode) {
            dump_xattr(xattr, out)?;
        }
        out.write_char('\n')
    }
}

fn dump_xattr((name, value): &Xattr, out: &mut impl Write) -> fmt::Result {
    out.write_char(' ')?;
    escape(name, out)?;
    out.write_char('=')?;
    escape(value, out)
}

fn escape(bytes: &[u8], out: &mut impl Write) -> fmt::Result {
    for byte in bytes {
        match byte {
            b'=' | b'\\' => write!(out, "\\x{byte:02x}")?,
            b'!'..=b'~' => out.write_char(char::from(*byte))?,
            _ => write!(out, "\\x{byte:02x}")?,
        }
    }
    Ok(())
}
