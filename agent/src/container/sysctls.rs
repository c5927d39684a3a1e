//! Kernel parameters.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Context, Failure};

/// Sets parameters in the namespaces of the calling process. The path is in the agent's own /proc: a file below
/// /proc/sys stands for the parameter in the namespace of the process that opens it.
pub fn apply(sysctls: &BTreeMap<String, String>) -> Result<(), Failure> {
    for (name, value) in sysctls {
        let path = path(name)
            .ok_or_else(|| Failure::setup(format!("\"{name}\" is not the name of a kernel parameter")))?;
        fs::write(path, value).context(&format!("cannot set the kernel parameter {name} to \"{value}\""))?;
    }
    Ok(())
}

/// The path of a parameter. As with sysctl(8) the first separator decides. If it is a dot, dots separate and slashes
/// stand for dots, as in `net.ipv4.conf.eth0/1.forwarding`. If it is a slash, every character stands for itself.
fn path(name: &str) -> Option<PathBuf> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/');
    if !name.bytes().all(allowed) {
        return None;
    }
    let dotted = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'.');
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path: String = if dotted { name.chars().map(swap).collect() } else { name.to_owned() };
    let is_name = |part: &str| !matches!(part, "" | "." | "..");
    path.split('/').all(is_name).then(|| Path::new("/proc/sys").join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths() {
        for (name, expected) in [
            ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/1.forwarding", "/proc/sys/net/ipv4/conf/eth0.1/forwarding"),
            ("net/ipv4/conf/eth0.1/forwarding", "/proc/sys/net/ipv4/conf/eth0.1/forwarding"),
            ("kernel.shm_rmid_forced", "/proc/sys/kernel/shm_rmid_forced"),
        ] {
            assert_eq!(path(name), Some(expected.into()), "{name}");
        }
    }

    #[test]
    fn names_stay_below_proc_sys() {
        for name in
            ["", ".", "..", "net..x", "/etc/x", "a/../b", "net.//.x", "net.", "a b", "a\0", "Net.x", "a\n"]
        {
            assert_eq!(path(name), None, "{name:?}");
        }
    }
}
