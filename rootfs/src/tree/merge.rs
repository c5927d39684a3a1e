//! Applies layers to the tree, lowest first, as the OCI image specification's "Applying Changesets" has it.
//!
//! - A whiteout speaks of lower layers only, wherever it stands in its own: every name knows the last layer that had an
//!   entry for it, and a whiteout removes what no entry of its own layer has touched.
//! - An entry below a symbolic link goes where the link leads, inside the image. An entry that replaces something of another type,
//!   or a file, takes its name away from it; other names of that file keep it.
//! - A directory over a directory changes its metadata and keeps its content.
//! - Of several entries of one name in a layer the last wins.
//! - A character device 0:0, which overlayfs takes for a whiteout in its own layers, is kept as it is: it replaces what has its
//!   name like any other entry. overlayfs will not show it in the guest, and as nothing lies below it hides nothing else.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek};

use crate::disk::BLOCK_SIZE;
use crate::error::{Error, Problem, printable};
use crate::limits;
use crate::sparse::Plan;
use crate::tar::pax::Xattr;
use crate::tar::window::Window;
use crate::tar::{Entry, FileData, Kind, Metadata, Walker};
use crate::tree::path::clean;
use crate::tree::{Body, Child, DirId, Directory, IMPLICIT_MODE, Inode, InodeId, ROOT, Tree, xattrs};

const WHITEOUT: &[u8] = b".wh.";
/// The prefix of AUFS' own files; of these only the opaque marker is in use elsewhere.
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The tree while layers are applied, and what has been spent of the image's limits.
pub struct Merger {
    pub tree: Tree,
    /// The current layer, from 1.
    layer: u16,
    entries: u64,
    text: u64,
    pub link_steps: u64,
    sparse_len: u64,
    xattr_sets: HashMap<Box<[Xattr]>, u32>,
    /// The last parent path and where it led: entries of one directory mostly follow each other. Forgotten when
    /// anything is removed; what is added cannot change where an existing path leads.
    last_parent: Option<(Vec<u8>, DirId)>,
}

/// Why an entry could not be applied: what is wrong with it, or reading its layer failed.
enum Failure {
    Entry(Problem),
    Read(Error),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Entry(problem)
    }
}

impl Tree {
    /// Merges layers, lowest first; each is an uncompressed tar.
    ///
    /// # Errors
    /// What is wrong with which entry of which layer.
    pub fn from_layers<R: Read + Seek>(layers: &mut [R]) -> Result<Self, Error> {
        if layers.len() > limits::MAX_LAYERS {
            return Err(Error::TooManyLayers(layers.len()));
        }
        let mut merger = Merger {
            tree: Self::new(),
            layer: 0,
            entries: 0,
            text: 0,
            link_steps: 0,
            sparse_len: 0,
            xattr_sets: HashMap::from([(Box::default(), 0)]),
            last_parent: None,
        };
        for reader in layers {
            merger.apply_layer(reader)?;
        }
        Ok(merger.tree)
    }
}

impl Merger {
    fn apply_layer<R: Read + Seek>(&mut self, reader: &mut R) -> Result<(), Error> {
        self.layer += 1;
        let mut walker = Walker::new(reader, usize::from(self.layer))?;
        self.tree.layers.push(walker.window.length());
        while let Some(mut entry) = walker.next_entry()? {
            let (position, name) = (entry.position, std::mem::take(&mut entry.name));
            self.apply(&name, entry, &mut walker.window).map_err(|failure| match failure {
                Failure::Entry(problem) => walker.window.error(position, &name, problem),
                Failure::Read(error) => error,
            })?;
        }
        Ok(())
    }

    fn apply<R: Read + Seek>(
        &mut self,
        name: &[u8],
        entry: Entry,
        window: &mut Window<'_, R>,
    ) -> Result<(), Failure> {
        self.entries += 1;
        Problem::check("the number of entries in the image", self.entries, limits::MAX_ENTRIES)?;
        let components = clean(name, "name")?;
        let Some((file, parents)) = components.split_last() else {
            let Kind::Directory = entry.kind else { return Err(Problem::Root.into()) };
            self.describe(ROOT, entry.metadata)?;
            self.touch(ROOT);
            return Ok(());
        };
        if file.starts_with(WHITEOUT) {
            return Ok(self.whiteout(parents, file)?);
        }
        let parent = self.make_parents(parents)?;
        check_name(file)?;
        match entry.kind {
            Kind::Directory => self.add_directory(parent, file, entry.metadata)?,
            Kind::Hardlink(target) => self.add_link(parent, file, &target)?,
            kind => {
                let body = self.body(kind, window)?;
                let inode = self.add_inode(body)?;
                self.describe(inode, entry.metadata)?;
                self.put(parent, file, inode)?;
            }
        }
        self.touch(parent);
        Ok(())
    }

    fn add_directory(&mut self, parent: DirId, file: &[u8], metadata: Metadata) -> Result<(), Problem> {
        let existing = self.tree.directory(parent).children.get(file).map(|child| child.inode);
        let existing = existing.and_then(|inode| self.tree.as_directory(inode));
        let directory = match existing {
            Some(directory) => directory,
            None => self.make_directory(parent, file)?,
        };
        self.touch(directory);
        self.describe(self.tree.directory(directory).inode, metadata)
    }

    fn add_link(&mut self, parent: DirId, file: &[u8], target: &[u8]) -> Result<(), Problem> {
        let shown = || printable(target);
        let components = clean(target, "hard link's target").map_err(|problem| match problem {
            Problem::NoName => Problem::LinkTarget(String::new()),
            other => other,
        })?;
        let Some((last, parents)) = components.split_last() else {
            return Err(Problem::LinkToDirectory(shown()));
        };
        let resolved = self.resolve(parents)?;
        let found = self
            .tree
            .directory(resolved.directory)
            .children
            .get(*last)
            .filter(|_| resolved.missing.is_empty());
        let inode = found.ok_or_else(|| Problem::LinkTarget(shown()))?.inode;
        if self.tree.as_directory(inode).is_some() {
            return Err(Problem::LinkToDirectory(shown()));
        }
        if resolved.directory == parent && *last == file {
            return Err(Problem::LinkTarget(shown()));
        }
        self.put(parent, file, inode)
    }

    /// Removes what lower layers have at a name, or in a directory.
    fn whiteout(&mut self, parents: &[&[u8]], file: &[u8]) -> Result<(), Problem> {
        let opaque = file == OPAQUE;
        if file.starts_with(WHITEOUT_META) && !opaque {
            return Ok(());
        }
        let name = &file[WHITEOUT.len()..];
        if matches!(name, b"" | b"." | b"..") {
            return Err(Problem::Whiteout);
        }
        let resolved = self.resolve(parents)?;
        if !resolved.missing.is_empty() {
            return Ok(());
        }
        if opaque {
            self.clear(resolved.directory);
            return Ok(());
        }
        let Some(child) = self.tree.directory(resolved.directory).children.get(name).copied() else {
            return Ok(());
        };
        match self.tree.as_directory(child.inode) {
            Some(directory) if self.tree.directory(directory).touched == self.layer => self.clear(directory),
            None if child.touched == self.layer => {}
            _ => self.remove(resolved.directory, name),
        }
        Ok(())
    }

    /// Removes from a directory what this layer has not touched, all the way down. The second time in a layer there is nothing
    /// left to do, so no sequence of whiteouts costs more than the tree it clears.
    fn clear(&mut self, directory: DirId) {
        let mut todo = vec![directory];
        while let Some(directory) = todo.pop() {
            let layer = self.layer;
            let content = &mut self.tree.directories[directory as usize];
            if content.cleared == layer {
                continue;
            }
            content.cleared = layer;
            let mut lower = Vec::new();
            for (name, child) in &self.tree.directory(directory).children {
                match self.tree.as_directory(child.inode) {
                    Some(below) if self.tree.directory(below).touched == layer => todo.push(below),
                    None if child.touched == layer => {}
                    _ => lower.push(name.clone()),
                }
            }
            for name in lower {
                self.remove(directory, &name);
            }
        }
    }

    /// Takes a name out of a directory, with all below it.
    fn remove(&mut self, directory: DirId, name: &[u8]) {
        self.last_parent = None;
        let child = self.tree.directories[directory as usize].children.remove(name);
        let mut todo: Vec<InodeId> = child.map(|child| child.inode).into_iter().collect();
        while let Some(id) = todo.pop() {
            let inode = &mut self.tree.inodes[id as usize];
            inode.names = inode.names.saturating_sub(1);
            if let Body::Directory(directory) = inode.body {
                let children = std::mem::take(&mut self.tree.directories[directory as usize].children);
                todo.extend(children.into_values().map(|child| child.inode));
            }
        }
    }

    /// Gives a file that is not a directory a name, and takes the name away from the file that had it.
    fn put(&mut self, directory: DirId, name: &[u8], inode: InodeId) -> Result<(), Problem> {
        // The new name counts first: the old owner of the name may be the same file.
        self.tree.inodes[inode as usize].names += 1;
        if self.tree.directory(directory).children.contains_key(name) {
            self.remove(directory, name);
        }
        self.count_text(name.len())?;
        let child = Child { inode, touched: self.layer };
        self.tree.directories[directory as usize].children.insert(Box::from(name), child);
        Ok(())
    }

    /// A new directory with the metadata of those that have no entry.
    fn make_directory(&mut self, parent: DirId, name: &[u8]) -> Result<DirId, Problem> {
        let depth = self.tree.directory(parent).depth + 1;
        Problem::check("the depth of the directory", u64::from(depth), u64::from(limits::MAX_DEPTH))?;
        let directory = index(self.tree.directories.len())?;
        let inode = self.add_inode(Body::Directory(directory))?;
        let children = BTreeMap::new();
        self.tree.directories.push(Directory { inode, parent, children, depth, touched: 0, cleared: 0 });
        self.put(parent, name, inode)?;
        Ok(directory)
    }

    /// The directory that an entry goes into, made if it does not exist.
    fn make_parents(&mut self, parents: &[&[u8]]) -> Result<DirId, Problem> {
        let path = parents.join(&b'/');
        if let Some((last, directory)) = &self.last_parent
            && *last == path
        {
            return Ok(*directory);
        }
        let resolved = self.resolve(parents)?;
        let mut directory = resolved.directory;
        for name in &resolved.missing {
            // An implicit directory is an entry as far as memory goes.
            self.entries += 1;
            check_name(name)?;
            directory = self.make_directory(directory, name)?;
        }
        self.last_parent = Some((path, directory));
        Ok(directory)
    }

    /// Notes that this layer has an entry for a directory or below it.
    fn touch(&mut self, mut directory: DirId) {
        loop {
            let content = &mut self.tree.directories[directory as usize];
            // When a directory was touched, all above it were touched too.
            if content.touched == self.layer || directory == ROOT {
                content.touched = self.layer;
                return;
            }
            content.touched = self.layer;
            directory = content.parent;
        }
    }

    fn add_inode(&mut self, body: Body) -> Result<InodeId, Problem> {
        let id = index(self.tree.inodes.len())?;
        let Metadata { uid, gid, mtime, .. } = Metadata::default();
        self.tree.inodes.push(Inode { body, mtime, uid, gid, names: 0, xattrs: 0, mode: IMPLICIT_MODE });
        Ok(id)
    }

    /// Gives an inode the metadata of an entry.
    fn describe(&mut self, inode: InodeId, metadata: Metadata) -> Result<(), Problem> {
        let xattrs = self.xattr_set(inode, metadata.xattrs)?;
        let inode = &mut self.tree.inodes[inode as usize];
        // Linux has no other mode for symbolic links: that of the entry is ignored.
        inode.mode = if matches!(inode.body, Body::Symlink(_)) { 0o777 } else { metadata.mode };
        inode.uid = metadata.uid;
        inode.gid = metadata.gid;
        inode.mtime = metadata.mtime;
        inode.xattrs = xattrs;
        Ok(())
    }

    fn xattr_set(&mut self, inode: InodeId, mut set: Vec<Xattr>) -> Result<u32, Problem> {
        let file_or_directory = matches!(
            self.tree.inode(inode).body,
            Body::Directory(_) | Body::File { .. } | Body::Sparse { .. }
        );
        set.retain(|(name, _)| xattrs::keep(name, file_or_directory));
        let length = crate::erofs::xattrs_len(&set);
        Problem::check(
            "the length of the extended attributes",
            length as u64,
            limits::MAX_XATTRS_LEN as u64,
        )?;
        let set = set.into_boxed_slice();
        // The index has them behind each inode, however many share them.
        self.count_text(length)?;
        if let Some(known) = self.xattr_sets.get(&set) {
            return Ok(*known);
        }
        // Once in the list and once as a key.
        self.count_text(length * 2)?;
        let id = index(self.tree.xattrs.len())?;
        self.tree.xattrs.push(set.clone());
        self.xattr_sets.insert(set, id);
        Ok(id)
    }

    fn body<R: Read + Seek>(&mut self, kind: Kind, window: &mut Window<'_, R>) -> Result<Body, Failure> {
        Ok(match kind {
            Kind::File(file) => self.file(file, window)?,
            Kind::Symlink(target) if target.is_empty() => return Err(Problem::EmptyTarget.into()),
            Kind::Symlink(target) => {
                Problem::check(
                    "the length of the link's target",
                    target.len() as u64,
                    limits::MAX_TARGET_LEN as u64,
                )?;
                self.count_text(target.len())?;
                Body::Symlink(target.into_boxed_slice())
            }
            Kind::CharDevice { major, minor } => Body::CharDevice(major, minor),
            Kind::BlockDevice { major, minor } => Body::BlockDevice(major, minor),
            Kind::Fifo => Body::Fifo,
            Kind::Directory | Kind::Hardlink(_) => return Err(Problem::Kind('?').into()),
        })
    }

    fn file<R: Read + Seek>(&mut self, file: FileData, window: &mut Window<'_, R>) -> Result<Body, Failure> {
        let layer = self.layer - 1;
        let in_place = |offset: u64| {
            let block = u32::try_from(offset / BLOCK_SIZE);
            let too_far = Problem::Limit {
                what: "the block number",
                value: offset / BLOCK_SIZE,
                limit: limits::MAX_BLOCKS,
            };
            block.map_err(|_| too_far)
        };
        let block = in_place(file.offset)?;
        let whole = match file.map.as_deref() {
            None => true,
            Some([only]) => only.offset == 0 && only.length == file.size,
            Some(runs) => runs.is_empty() && file.size == 0,
        };
        if whole {
            return Ok(Body::File { layer, block, size: file.size });
        }
        let plan = Plan::new(file.map.as_deref().unwrap_or_default(), file.offset, file.size);
        self.sparse_len = self.sparse_len.saturating_add(plan.cost());
        Problem::check("what sparse files add to the index", self.sparse_len, limits::MAX_SPARSE_LEN)?;
        let placed = plan.place(|offset, into| window.read(offset, into)).map_err(Failure::Read)?;
        let id = index(self.tree.sparse.len())?;
        self.tree.sparse.push(placed);
        Ok(Body::Sparse { layer, placed: id })
    }

    fn count_text(&mut self, length: usize) -> Result<(), Problem> {
        self.text += length as u64;
        Problem::check("the length of all names and attributes", self.text, limits::MAX_TEXT_LEN)
    }
}

fn check_name(name: &[u8]) -> Result<(), Problem> {
    Problem::check("the length of the name", name.len() as u64, limits::MAX_NAME_LEN as u64)
}

/// An index into an arena. Their lengths are bounded by the number of entries, so it always fits.
fn index(length: usize) -> Result<u32, Problem> {
    let value = length as u64;
    u32::try_from(length).map_err(|_| Problem::Limit {
        what: "the number of files",
        value,
        limit: limits::MAX_ENTRIES,
    })
}
