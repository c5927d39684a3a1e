//! /etc/hostname, /etc/hosts and /etc/resolv.conf: written by the agent and mounted over the image's, so that the
//! image stays as it is.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use moat_protocol::guest::ContainerSpec;
use moat_protocol::{Dns, HostsEntry, MAX_DNS_ENTRIES};

use super::mounts::mount_file;
use super::root::Root;
use crate::failure::{Context, Failure};
use crate::sys::mount::clone_tree;

/// The name of the container's /etc/hosts in the agent's directory.
pub const HOSTS: &str = "hosts";

const RESOLV_CONF: &str = "resolv.conf";

/// A copy of /etc/resolv.conf that the container cannot reach. It shows whether the container has changed its own.
const RESOLV_CONF_AS_WRITTEN: &str = "resolv.conf.as-written";

const FILES: [(&str, &str); 3] =
    [("/etc/hostname", "hostname"), ("/etc/hosts", HOSTS), ("/etc/resolv.conf", RESOLV_CONF)];

/// The files, ready to be mounted.
pub struct Files(Vec<(&'static str, OwnedFd)>);

/// Writes the files into `directory` and makes a mount of each. The umask must be zero.
pub fn prepare(spec: &ContainerSpec, directory: &Path) -> Result<Files, Failure> {
    let resolv_conf = resolv_conf(&spec.network.dns)?;
    fs::write(directory.join(RESOLV_CONF_AS_WRITTEN), &resolv_conf)
        .context("cannot keep a copy of /etc/resolv.conf")?;
    let contents = [format!("{}\n", spec.hostname), hosts_lines(&spec.hosts)?, resolv_conf];
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

/// Writes `dns` to the container's /etc/resolv.conf, whose file is in `directory`, unless the container has changed it.
///
/// # Errors
/// When an entry is more than one word, or the file cannot be written.
pub fn renew_resolv_conf(directory: &Path, dns: &Dns) -> Result<(), Failure> {
    let what = "cannot renew /etc/resolv.conf";
    let (file, copy) = (directory.join(RESOLV_CONF), directory.join(RESOLV_CONF_AS_WRITTEN));
    let text = resolv_conf(dns)?;
    if fs::read(&file).context(what)? != fs::read(&copy).context(what)? {
        return Ok(());
    }
    fs::write(&copy, &text).context(what)?;
    // In place, because it is mounted over the container's.
    fs::write(&file, text).context(what)
}

/// Entries as lines of an /etc/hosts.
///
/// # Errors
/// When an entry is more than one line.
pub fn hosts_lines(entries: &[HostsEntry]) -> Result<String, Failure> {
    let mut text = String::new();
    for entry in entries {
        if !std::iter::once(&entry.address).chain(&entry.names).all(|word| is_word(word)) {
            return Err(Failure::setup(format!("a hosts entry is not an address and names: {entry:?}")));
        }
        text.push_str(&format!("{}\t{}\n", entry.address, entry.names.join(" ")));
    }
    Ok(text)
}

/// The text of an /etc/resolv.conf. Without name servers it is empty, so that the image cannot name one.
fn resolv_conf(dns: &Dns) -> Result<String, Failure> {
    let words = || dns.search.iter().chain(&dns.options);
    if dns.servers.len().max(dns.search.len()).max(dns.options.len()) > MAX_DNS_ENTRIES {
        return Err(Failure::setup(format!(
            "more than {MAX_DNS_ENTRIES} entries in a list for /etc/resolv.conf"
        )));
    }
    if let Some(word) = words().find(|word| !is_word(word)) {
        return Err(Failure::setup(format!("\"{word}\" is not a word for /etc/resolv.conf")));
    }
    let servers: String = dns.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    let line = |name: &str, words: &[String]| match words {
        [] => String::new(),
        words => format!("{name} {}\n", words.join(" ")),
    };
    Ok(servers + &line("search", &dns.search) + &line("options", &dns.options))
}

/// Whether a text is one word of a line.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '#' | ';'))
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
            hosts_lines(&[entry("127.0.0.1", &["localhost"]), entry("::1", &["localhost", "ip6-localhost"])]);
        assert_eq!(text.unwrap(), "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n");
        for bad in [
            entry("1.2.3.4\n5.6.7.8", &["x"]),
            entry("::1", &["a b"]),
            entry("", &["x"]),
            entry("::1", &["#"]),
        ] {
            assert!(hosts_lines(&[bad]).is_err());
        }
    }

    #[test]
    fn name_servers_are_lines() {
        assert_eq!(resolv_conf(&Dns::default()).unwrap(), "");
        let dns = Dns {
            servers: vec![[127, 0, 0, 11].into()],
            search: vec!["a.example".to_owned(), "b.example".to_owned()],
            options: vec!["ndots:0".to_owned()],
        };
        let expected = "nameserver 127.0.0.11\nsearch a.example b.example\noptions ndots:0\n";
        assert_eq!(resolv_conf(&dns).unwrap(), expected);
        for bad in ["", "a b", "a\nnameserver 6.6.6.6", ";"] {
            assert!(resolv_conf(&Dns { search: vec![bad.to_owned()], ..Dns::default() }).is_err(), "{bad:?}");
        }
        assert!(resolv_conf(&Dns { options: vec!["a".to_owned(); 33], ..Dns::default() }).is_err());
    }
}
