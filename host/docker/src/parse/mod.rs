//! The values of flags, as Docker writes them.

mod duration;
mod error;
mod limit;
mod log;
pub mod network;
pub mod rate;
mod security;
mod size;

use moat_containers::config::Tmpfs;
use moat_network::port::{ContainerPort, parse_exposed};
use moat_records::signal;

pub use duration::{duration, health_duration};
pub use error::FlagError;
pub use limit::{pids_limit, ulimit};
pub use log::{LogOption, log_driver, log_limits, log_option};
pub use security::{SecurityOption, Stream, ipc, security_option, stream};
pub use size::{bytes, cpus, memory, quota, shm_size};

/// A host name of a container.
pub fn hostname(text: &str) -> Result<String, FlagError> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.len() <= 64 && text.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err(FlagError::Hostname)
    }
}

/// A host name of a container, or nothing for the usual one.
pub fn own_hostname(text: &str) -> Result<String, FlagError> {
    if text.is_empty() { Ok(String::new()) } else { hostname(text) }
}

/// `DIRECTORY[:OPTION,...]` of a file system in memory.
pub fn tmpfs_mount(text: &str) -> Result<Tmpfs, FlagError> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    if !destination.starts_with('/') || destination.split('/').any(|part| part == "..") {
        return Err(FlagError::Tmpfs);
    }
    let options = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    Ok(Tmpfs { destination: destination.to_owned(), options })
}

/// A signal's name or number.
pub fn signal(text: &str) -> Result<i32, FlagError> {
    signal::parse(text).ok_or(FlagError::Signal)
}

/// `NAME=VALUE`. A name alone has an empty value.
pub fn label(text: &str) -> Result<(String, String), FlagError> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() {
        return Err(FlagError::Label);
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// `NAME=VALUE` of a kernel parameter.
pub fn sysctl(text: &str) -> Result<(String, String), FlagError> {
    let (name, value) = text.split_once('=').ok_or(FlagError::Sysctl)?;
    let sound =
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b)) && !name.contains("..");
    if name.is_empty() || !sound {
        return Err(FlagError::SysctlName);
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A capability in any case, with or without `CAP_`, or `ALL`. The result is in capitals without `CAP_`.
pub fn capability(text: &str) -> Result<String, FlagError> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    let known = name == "ALL"
        || moat_protocol::defaults::all_capabilities().iter().any(|known| known.to_string() == name);
    if known { Ok(name.to_owned()) } else { Err(FlagError::Capability(name.to_owned())) }
}

/// One port of a container: `PORT[/PROTOCOL]`.
pub fn container_port(text: &str) -> Result<ContainerPort, FlagError> {
    match parse_exposed(text)?.as_slice() {
        [one] => Ok(*one),
        _ => Err(FlagError::OnePort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tmpfs_has_a_place_and_options() {
        let tmpfs = tmpfs_mount("/run:size=64m,ro").unwrap();
        assert_eq!(
            (tmpfs.destination.as_str(), tmpfs.options.as_slice()),
            ("/run", &["size=64m".to_owned(), "ro".to_owned()][..])
        );
        assert!(tmpfs_mount("run").is_err());
        assert!(tmpfs_mount("/a/../b").is_err());
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(capability("cap_net_admin").as_deref(), Ok("NET_ADMIN"));
        assert_eq!(capability("all").as_deref(), Ok("ALL"));
        assert!(capability("FLY").is_err());
        assert!(sysctl("kernel.msgmax=1").is_ok());
        for text in ["kernel.msgmax", "a..b=1", "=1", "a b=1"] {
            assert!(sysctl(text).is_err(), "{text}");
        }
        assert_eq!(signal("KILL"), Ok(9));
        assert!(signal("NOPE").is_err());
        assert_eq!(hostname("web-1.shop").as_deref(), Ok("web-1.shop"));
        for text in ["", ".", "a..b", "a b", &"a".repeat(65)] {
            assert!(hostname(text).is_err(), "{text}");
        }
        assert_eq!(label("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(label("a").unwrap(), ("a".to_owned(), String::new()));
        assert!(label("=b").is_err());
    }
}
