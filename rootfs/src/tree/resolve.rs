//! Paths of entries, followed through the merged tree, whose root nothing leaves.

use crate::error::{Problem, printable};
use crate::limits;
use crate::tree::merge::Merger;
use crate::tree::{Body, DirId, ROOT};

/// Where a path leads.
pub struct Resolved {
    /// The last directory that exists.
    pub directory: DirId,
    /// What would have to be made below it.
    pub missing: Vec<Box<[u8]>>,
}

impl Merger {
    /// Follows `components` through directories and symbolic links, as seen from inside the image: an absolute target
    /// starts at the image's root, and `..` of the root is the root.
    ///
    /// What does not exist is taken for a directory to come, so that `..` after it leads back.
    pub fn resolve(&mut self, components: &[&[u8]]) -> Result<Resolved, Problem> {
        let mut resolved = Resolved { directory: ROOT, missing: Vec::new() };
        let mut todo: Vec<Box<[u8]>> = Vec::new();
        let mut links = 0;
        for component in components {
            todo.push(Box::from(*component));
            while let Some(component) = todo.pop() {
                if let Some(target) = self.step(&mut resolved, component)? {
                    links += 1;
                    Problem::check(
                        "the number of symbolic links on the path",
                        links,
                        u64::from(limits::MAX_SYMLINKS),
                    )?;
                    self.link_steps += target.len() as u64;
                    Problem::check(
                        "the number of steps through symbolic links in this image",
                        self.link_steps,
                        limits::MAX_LINK_STEPS,
                    )?;
                    todo.extend(target.into_iter().rev());
                }
            }
        }
        Ok(resolved)
    }

    /// Takes one step; if it met a symbolic link, returns the components of its target.
    fn step(&self, at: &mut Resolved, component: Box<[u8]>) -> Result<Option<Vec<Box<[u8]>>>, Problem> {
        if &*component == b".." {
            if at.missing.pop().is_none() {
                at.directory = self.tree.directory(at.directory).parent;
            }
            return Ok(None);
        }
        let directory = self.tree.directory(at.directory);
        let child = if at.missing.is_empty() { directory.children.get(&component) } else { None };
        let Some(child) = child else {
            at.missing.push(component);
            return Ok(None);
        };
        match &self.tree.inode(child.inode).body {
            Body::Directory(id) => at.directory = *id,
            Body::Symlink(target) => {
                if target.first() == Some(&b'/') {
                    at.directory = ROOT;
                }
                let components = target.split(|byte| *byte == b'/');
                let components = components.filter(|component| !matches!(*component, b"" | b"."));
                return Ok(Some(components.map(Box::from).collect()));
            }
            _ => return Err(Problem::NotADirectory(printable(&component))),
        }
        Ok(None)
    }
}
