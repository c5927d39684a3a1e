//! What a container has changed: the overlay's upper directory, read against the image below it.
//!
//! The upper directory has more in it than changes: the directories on the way to them, files that were opened for
//! writing and not written, and the [`MOUNT_POINT`]s that the agent made. A change is what an image made of the upper
//! directory would have to contain.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::stat::{FileStat, SFlag};
use nix::sys::uio::pread;
use nix::unistd::dup;

use super::error::{At, Error, shown};
use super::limits::{CHUNK, DEEPEST};
use super::node::{Node, names};
use crate::container::MOUNT_POINT;
use crate::sys::xattr;

/// The attribute of a directory that hides what the image has in its place.
const OPAQUE: &CStr = c"trusted.overlay.opaque";

/// The layers of the overlay, as open directories.
pub struct Layers {
    /// The image.
    pub image: OwnedFd,
    /// What has changed.
    pub upper: OwnedFd,
}

/// A change.
pub enum Change<'a> {
    /// The image has nothing there. Like every change of a directory it comes before those below it.
    Added(&'a Node),
    /// The image has something else there, or it is a directory with changes below it.
    Modified(&'a Node),
    /// What the image has there is gone.
    Deleted,
    /// Nothing is left of what the image has in this directory. Everything below it is told as added. Only with
    /// [`Detail::Opaque`].
    Emptied,
}

/// How directories that were deleted and made again are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Name by name.
    Names,
    /// As one [`Change::Emptied`].
    Opaque,
}

/// Sends the list: a letter, the path and a zero byte for each.
pub fn list(layers: Layers, sink: &mut impl Write) -> Result<(), Error> {
    walk(layers, Detail::Names, |path, change| {
        let letter = match change {
            Change::Added(_) => b"A/",
            Change::Modified(_) => b"C/",
            Change::Deleted => b"D/",
            Change::Emptied => return Ok(()),
        };
        sink.write_all(&[letter, path, b"\0"].concat()).at("cannot send the changes")
    })?;
    sink.flush().at("cannot send the changes")
}

/// Tells every change to `tell`, in the order of paths. The paths have no slash in front.
pub fn walk(
    layers: Layers,
    detail: Detail,
    tell: impl FnMut(&[u8], Change<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut walk = Walk { detail, tell, path: Vec::new(), untold: Vec::new(), levels: Vec::new() };
    walk.descend(layers.upper, Below { image: Some(layers.image), hidden: false })?;
    while walk.step()? {}
    Ok(())
}

/// A walk through directories, one name after the other. It keeps a stack of its own, because a container may nest
/// directories as deep as it likes.
struct Walk<T> {
    detail: Detail,
    tell: T,
    path: Vec<u8>,
    /// The directories on the way to the path that will be told if there is a change below them.
    untold: Vec<Untold>,
    levels: Vec<Level>,
}

/// A directory that is being walked through.
struct Level {
    upper: OwnedFd,
    below: Below,
    names: std::collections::btree_set::IntoIter<CString>,
    /// The length of its path.
    length: usize,
    /// How many directories were untold when it was entered, itself among them.
    untold: usize,
}

/// What the image has in the place of a directory.
struct Below {
    image: Option<OwnedFd>,
    /// Nothing of it shows unless it is in the upper directory too.
    hidden: bool,
}

struct Untold {
    node: Node,
    /// The length of its path, which is the beginning of the walk's.
    length: usize,
    added: bool,
}

impl<T: FnMut(&[u8], Change<'_>) -> Result<(), Error>> Walk<T> {
    fn descend(&mut self, upper: OwnedFd, below: Below) -> Result<(), Error> {
        if self.levels.len() > DEEPEST {
            return Err(Error::io(format!("{}: directories are nested too deep", shown(&self.path))));
        }
        let mut all: BTreeSet<CString> = names(upper.as_fd()).at(&self.path)?.into_iter().collect();
        if let Some(image) = below.image.as_ref().filter(|_| below.hidden) {
            all.extend(names(image.as_fd()).at(&self.path)?);
        }
        let (names, length, untold) = (all.into_iter(), self.path.len(), self.untold.len());
        self.levels.push(Level { upper, below, names, length, untold });
        Ok(())
    }

    /// Goes on by one name, and returns whether there may be more.
    fn step(&mut self) -> Result<bool, Error> {
        let Some(level) = self.levels.last_mut() else { return Ok(false) };
        self.path.truncate(level.length);
        let Some(name) = level.names.next() else {
            // A change below has told the directories above it, and taken them from the list.
            if self.untold.len() == level.untold {
                self.untold.pop();
            }
            self.levels.pop();
            return Ok(true);
        };
        if level.length > 0 {
            self.path.push(b'/');
        }
        self.path.extend(name.to_bytes());
        let found = Node::find(level.upper.as_fd(), &name).at(&self.path)?;
        let old = match &level.below.image {
            Some(image) => Node::find(image.as_fd(), &name).at(&self.path)?,
            None => None,
        };
        let hidden = level.below.hidden;
        self.compare(found, old, hidden).map(|()| true)
    }

    /// Compares what is at the path with what the image has there.
    fn compare(&mut self, found: Option<Node>, old: Option<Node>, hidden: bool) -> Result<(), Error> {
        match (found, old) {
            (Some(found), Some(_)) if is_whiteout(&found) => self.say(Change::Deleted),
            (Some(found), None) if is_whiteout(&found) => Ok(()),
            (Some(found), old) if found.kind() == SFlag::S_IFDIR => self.directory(found, old),
            (Some(found), Some(old)) if differ(&found, &old).at(&self.path)? => {
                self.say(Change::Modified(&found))
            }
            (Some(found), None) if !is_mount_point(&found).at(&self.path)? => self.say(Change::Added(&found)),
            (None, Some(_)) if hidden => self.say(Change::Deleted),
            // It is unchanged, or has gone since it was listed.
            _ => Ok(()),
        }
    }

    fn directory(&mut self, found: Node, old: Option<Node>) -> Result<(), Error> {
        let Some(upper) = found.directory().map(dup).transpose().at(&self.path)? else { return Ok(()) };
        let opaque = xattr::get(&upper, OPAQUE).at(&self.path)?.is_some_and(|value| value == b"y");
        let image = old.as_ref().and_then(Node::directory).map(dup).transpose().at(&self.path)?;
        let emptied = opaque && image.is_some() && self.detail == Detail::Opaque;
        let changed = match &old {
            None => !is_mount_point(&found).at(&self.path)?,
            Some(old) => emptied || differ(&found, old).at(&self.path)?,
        };
        self.untold.push(Untold { node: found, length: self.path.len(), added: old.is_none() });
        if changed {
            self.catch_up()?;
        }
        if emptied {
            (self.tell)(&self.path, Change::Emptied)?;
        }
        self.descend(upper, Below { image: image.filter(|_| !emptied), hidden: opaque })
    }

    /// Tells a change, after the directories above it that have not been told yet.
    fn say(&mut self, change: Change<'_>) -> Result<(), Error> {
        self.catch_up()?;
        (self.tell)(&self.path, change)
    }

    fn catch_up(&mut self) -> Result<(), Error> {
        for Untold { node, length, added } in self.untold.drain(..) {
            let change = if added { Change::Added(&node) } else { Change::Modified(&node) };
            (self.tell)(&self.path[..length], change)?;
        }
        Ok(())
    }
}

fn is_whiteout(node: &Node) -> bool {
    node.kind() == SFlag::S_IFCHR && node.stat.st_rdev == 0
}

/// Whether the agent made it to mount something on, and it is still empty.
fn is_mount_point(node: &Node) -> nix::Result<bool> {
    match &node.open {
        Some(open) if node.kind() == SFlag::S_IFDIR || node.stat.st_size == 0 => {
            xattr::get(open, MOUNT_POINT).map(|mark| mark.is_some())
        }
        _ => Ok(false),
    }
}

/// Whether two files of one name differ. A directory's times and size say nothing about the directory itself.
fn differ(new: &Node, old: &Node) -> nix::Result<bool> {
    let (a, b) = (&new.stat, &old.stat);
    if (a.st_mode, a.st_uid, a.st_gid) != (b.st_mode, b.st_uid, b.st_gid) || new.xattrs()? != old.xattrs()? {
        return Ok(true);
    }
    let changed = match new.kind() {
        SFlag::S_IFDIR => false,
        SFlag::S_IFCHR | SFlag::S_IFBLK => a.st_rdev != b.st_rdev,
        _ => {
            let moment = |stat: &FileStat| (stat.st_mtime, stat.st_mtime_nsec);
            a.st_size != b.st_size || moment(a) != moment(b) || new.target != old.target
        }
    };
    Ok(changed || contents_differ(new, old)?)
}

/// Compares contents, because a time can be set back. That is rare: most files in the upper directory were written to,
/// and have other times.
fn contents_differ(new: &Node, old: &Node) -> nix::Result<bool> {
    let (Some(new), Some(old)) = (&new.open, &old.open) else { return Ok(false) };
    if !new.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(false);
    }
    let mut buffers = [vec![0; CHUNK], vec![0; CHUNK]];
    let mut at = 0;
    loop {
        let [a, b] = &mut buffers;
        let (length, other) = (read_at(new, a, at)?, read_at(old, b, at)?);
        if length != other || a[..length] != b[..length] {
            return Ok(true);
        }
        if length == 0 {
            return Ok(false);
        }
        at += length as i64;
    }
}

/// Fills a buffer as far as the file goes.
fn read_at(file: &File, buffer: &mut [u8], at: i64) -> nix::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match pread(file, &mut buffer[filled..], at + filled as i64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
