//! Whether an index is sound in itself: all that its directories list can be opened, and is what it seems.

use crate::erofs::format::{FileType, SLOT_LEN};
use crate::erofs::reader::{Entry, Flaw, IndexError, IndexReader, Node};
use crate::error::printable;

/// A directory that was met, and how: its parent's place in the list, and its name there.
struct Met<'a> {
    node: Node<'a>,
    parent: usize,
    name: &'a [u8],
}

struct Verifier<'a> {
    index: IndexReader<'a>,
    directories: Vec<Met<'a>>,
    /// How often names have led to an inode, by its number.
    names: Vec<u32>,
    found: u64,
    /// How many bytes are left for inodes that have not been met: what no two of them share.
    room: u64,
    /// Files with several names, of which some may be still to come.
    shared: Vec<(Node<'a>, usize, &'a [u8])>,
}

impl IndexReader<'_> {
    /// Verifies the whole index, which takes time and memory in proportion to its length.
    ///
    /// Every name that a directory lists is found by a lookup, and leads to an inode of the type listed. Attributes and
    /// targets are well-formed, data lies inside the disk, and link counts are the numbers of names.
    ///
    /// # Errors
    /// The first flaw, with the path of the file that has it.
    pub fn verify(&self) -> Result<(), IndexError> {
        let root = self.root()?;
        let slots = usize::try_from(self.index_len() / SLOT_LEN).unwrap_or_default();
        let mut verifier = Verifier {
            index: *self,
            directories: Vec::new(),
            names: vec![0; slots],
            found: 0,
            room: self.index_len(),
            shared: Vec::new(),
        };
        verifier.meet(root, 0, b"").map_err(|flaw| IndexError::Path { path: "/".to_owned(), flaw })?;
        let mut next = 0;
        while next < verifier.directories.len() {
            verifier.directory(next)?;
            next += 1;
        }
        verifier.finish()
    }
}

impl<'a> Verifier<'a> {
    /// Verifies a directory's entries, and what they lead to.
    fn directory(&mut self, at: usize) -> Result<(), IndexError> {
        let Met { node, parent, .. } = &self.directories[at];
        let (node, above) = (node.clone(), self.directories[*parent].node.number());
        let (mut last, mut dots, mut below) = (None, 0, 0u32);
        for entry in node.entries() {
            let entry = entry.map_err(|error| self.at(error, at, b""))?;
            self.entry(&node, &entry, last).map_err(|error| self.at(error, at, entry.name))?;
            last = Some(entry.name);
            let expected = match entry.name {
                b"." => node.number(),
                b".." => above,
                name => {
                    let child = self.index.node(entry.inode).map_err(|error| self.at(error, at, name))?;
                    below += u32::from(child.file_type() == FileType::Directory);
                    self.child(child, &entry, at).map_err(|flaw| self.path(flaw, at, name))?;
                    continue;
                }
            };
            dots += u32::from(entry.inode == expected && entry.file_type == FileType::Directory);
        }
        if dots != 2 {
            return Err(self.path(Flaw::Dots, at, b""));
        }
        if node.links() != below.saturating_add(2) {
            return Err(self.path(Flaw::Links, at, b""));
        }
        Ok(())
    }

    /// Whether an entry stands in order, and a lookup finds the same.
    fn entry(&self, node: &Node<'a>, entry: &Entry<'a>, last: Option<&[u8]>) -> Result<(), IndexError> {
        let flaw = |flaw| IndexError::Inode { number: node.number(), flaw };
        if last.is_some_and(|last| last >= entry.name) {
            return Err(flaw(Flaw::Unsorted));
        }
        if node.lookup(entry.name)? == Some(*entry) { Ok(()) } else { Err(flaw(Flaw::Lookup)) }
    }

    fn child(&mut self, child: Node<'a>, entry: &Entry<'a>, parent: usize) -> Result<(), Flaw> {
        if child.file_type() != entry.file_type {
            return Err(Flaw::Type);
        }
        self.meet(child, parent, entry.name)
    }

    /// Counts a name of an inode and, if it is the first, verifies the inode.
    fn meet(&mut self, node: Node<'a>, parent: usize, name: &'a [u8]) -> Result<(), Flaw> {
        let slot = usize::try_from(node.number()).ok().and_then(|number| self.names.get_mut(number));
        let names = slot.ok_or(Flaw::Outside)?;
        *names = names.saturating_add(1);
        if *names > 1 {
            return match node.file_type() {
                FileType::Directory => Err(Flaw::SecondName),
                _ if *names > node.links() => Err(Flaw::Links),
                _ => Ok(()),
            };
        }
        self.found += 1;
        self.room = self.room.checked_sub(node.footprint()).ok_or(Flaw::Room)?;
        inode(&node).map_err(|error| match error {
            IndexError::Inode { flaw, .. } => flaw,
            _ => Flaw::Outside,
        })?;
        if node.file_type() == FileType::Directory {
            self.directories.push(Met { node, parent, name });
        } else if node.links() != 1 {
            self.shared.push((node, parent, name));
        }
        Ok(())
    }

    /// What only the whole tells: link counts, and the number of inodes.
    fn finish(&self) -> Result<(), IndexError> {
        for (node, parent, name) in &self.shared {
            let names = usize::try_from(node.number()).ok().and_then(|number| self.names.get(number));
            if names != Some(&node.links()) {
                return Err(self.path(Flaw::Links, *parent, name));
            }
        }
        let (expected, found) = (self.index.inodes(), self.found);
        if expected == found { Ok(()) } else { Err(IndexError::Inodes { expected, found }) }
    }

    /// The same error with the path of the file instead of an inode's number.
    fn at(&self, error: IndexError, directory: usize, name: &[u8]) -> IndexError {
        match error {
            IndexError::Inode { flaw, .. } => self.path(flaw, directory, name),
            other => other,
        }
    }

    fn path(&self, flaw: Flaw, directory: usize, name: &[u8]) -> IndexError {
        let mut names = vec![name];
        let mut at = directory;
        while at != 0 {
            names.push(self.directories[at].name);
            at = self.directories[at].parent;
        }
        names.push(b"");
        names.reverse();
        let path = names.join(&b'/');
        let path = path.strip_suffix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(&path);
        IndexError::Path { path: printable(path), flaw }
    }
}

/// Verifies what an inode has of its own.
fn inode(node: &Node<'_>) -> Result<(), IndexError> {
    for xattr in node.xattrs() {
        xattr?;
    }
    for extent in node.extents() {
        extent?;
    }
    if node.file_type() == FileType::Symlink {
        node.target()?;
    }
    Ok(())
}
