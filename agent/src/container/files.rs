//! /etc/hostname, /etc/hosts and /etc/resolv.conf: written by the agent and mounted over the image's, so that the
//! image stays as it is.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use moat_protocol::HostsEntry;
use moat_protocol::guest::ContainerSpec;

use super::mounts::mount_file;
use super::root::Root;
use crate::failure::Context;
use crate::failure::Failure;
use crate::sys::mount::clone_tree;

const FILES: [(&str, &str); 3] =
    [("/etc/hostname", "hostname"), ("/etc/hosts", "hosts"), ("/etc/resolv.conf", "resolv.conf")];

/// The files, ready to be mounted.
pub struct Files(Vec<(&'static str, OwnedFd)>);

/// Writes the files into `directory` and takes hold of them. The umask must be zero.
pub fn prepare(spec: &ContainerSpec, directory: &Path) -> Result<Files, Failure> {
    // Without a network there is no name server; an empty file keeps whoever built the image from naming one.
    let contents = [format!("{}\n", spec.hostname), hosts(&spec.hosts)?, String::new()];
    let mut files = Vec::new();
    for ((path, name), content) in FILES.into_iter().zip(contents) {
        let what = format!("cannot write {path}");
        let file = directory.join(name);
        fs::write(&file, content).context(&what)?;
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).context(&what)?;
        let file = fs::File::open(&file).context(&what)?;
        files.push((path, clone_tree(&file, c"").context(&what)?));
    }
    Ok(Files(files))
}

impl Files {
    /// Mounts the files. With a read-only root they are read-only too, as under Docker.
    pub fn mount(&self, root: &Root, read_only: bool) -> Result<(), Failure> {
        self.0.iter().try_for_each(|(path, file)| mount_file(root, path, file, read_only))
    }
}

fn hosts(entries: &[HostsEntry]) -> Result<String, Failure> {
    let mut text = String::new();
    for entry in entries {
        // One entry must stay one line.
        let words = || std::iter::once(&entry.address).chain(&entry.names);
        if words().any(|word| word.is_empty() || word.contains(|c: char| c.is_whitespace() || c == '#')) {
            return Err(Failure::setup(format!("a hosts entry is not an address and names: {entry:?}")));
        }
        text.push_str(&format!("{}\t{}\n", entry.address, entry.names.join(" ")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: &str, names: &[&str]) -> HostsEntry {
        HostsEntry { address: address.to_owned(), names: names.iter().map(|&name| name.to_owned()).collect() }
    }

    #[test]
    fn hosts_are_lines() {
        let text =
            hosts(&[entry("127.0.0.1", &["localhost"]), entry("::1", &["localhost", "ip6-localhost"])]);
        assert_eq!(text.unwrap(), "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n");
        for bad in [
            entry("1.2.3.4\n5.6.7.8", &["x"]),
            entry("::1", &["a b"]),
            entry("", &["x"]),
            entry("::1", &["#"]),
        ] {
            assert!(hosts(&[bad]).is_err());
        }
    }
}
