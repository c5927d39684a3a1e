//! Paths of entries: cleaned as text, then followed through the merged tree, whose root nothing leaves.

use crate::error::{Problem, printable};
use crate::limits;
use crate::tree::merge::Merger;
use crate::tree::{Body, DirId, ROOT};

/// The components of an entry's path, without empty ones and `.`; `..` takes the one before away. A leading slash
/// means nothing. What would climb above the root is refused.
pub fn clean<'a>(path: &'a [u8], what: &'static str) -> Result<Vec<&'a [u8]>, Problem> {
    if path.is_empty() {
        return Err(Problem::NoName);
    }
    Problem::check("the length of the path", path.len() as u64, limits::MAX_PATH_LEN as u64)?;
    let mut components: Vec<&'a [u8]> = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop().ok_or(Problem::Climbs(what))?),
            _ => components.push(component),
        }
    }
    Ok(components)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, expected) in [
            ("a/b", Some("a b")),
            ("/a//./b/", Some("a b")),
            ("./", Some("")),
            ("a/x/../b", Some("a b")),
            ("...", Some("...")),
            ("..", None),
            ("a/../../b", None),
            ("", None),
        ] {
            let found = clean(path.as_bytes(), "name").ok().map(|parts| parts.join(&b' '));
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{path}");
        }
    }
}
