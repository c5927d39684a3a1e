//! Capabilities.

use moat_protocol::guest::Capabilities;
use nix::errno::Errno;

use crate::failure::{Context, Failure};
use crate::sys::process::{CapabilitySets, drop_bounding, raise_ambient, set_capabilities};

/// The names in the order of the kernel's numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The sets of a process, a bit for each capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sets {
    bounding: u64,
    ambient: u64,
    kept: CapabilitySets,
}

impl Sets {
    /// Reads the sets for a process of the given user. Only root has effective and permitted capabilities of its own.
    /// Another user has the ambient ones; execve(2) would take the rest.
    pub fn parse(names: &Capabilities, uid: u32) -> Result<Self, Failure> {
        let bounding = bits(&names.bounding)?;
        let ambient = bits(&names.ambient)?;
        let mut kept = CapabilitySets {
            effective: bits(&names.effective)?,
            permitted: bits(&names.permitted)?,
            inheritable: bits(&names.inheritable)?,
        };
        if uid != 0 {
            kept.effective &= ambient;
            kept.permitted &= ambient;
        }
        Ok(Self { bounding, ambient, kept })
    }

    /// Reduces the process's bounding set to this one, for good. Needs CAP_SETPCAP.
    pub fn limit(&self) -> Result<(), Failure> {
        for number in 0..u64::BITS {
            if self.bounding & (1 << number) != 0 {
                continue;
            }
            match drop_bounding(number) {
                // The kernel has fewer capabilities than there are bits.
                Err(Errno::EINVAL) => break,
                other => other.context("cannot limit the capabilities")?,
            }
        }
        Ok(())
    }

    /// Sets the other sets of the process. The capabilities must still be permitted.
    pub fn apply(&self) -> Result<(), Failure> {
        set_capabilities(self.kept).context("cannot set the capabilities")?;
        for number in (0..u64::BITS).filter(|number| self.ambient & (1 << number) != 0) {
            raise_ambient(number).context("cannot set the ambient capabilities")?;
        }
        Ok(())
    }
}

fn bits(names: &[String]) -> Result<u64, Failure> {
    names.iter().try_fold(0, |bits, name| {
        let number = name.strip_prefix("CAP_").and_then(|name| NAMES.iter().position(|known| *known == name));
        let number = number.ok_or_else(|| Failure::setup(format!("unknown capability \"{name}\"")))?;
        Ok(bits | 1 << number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use moat_protocol::defaults;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// The mask that /proc/self/status shows in every Docker container.
    #[test]
    fn dockers_defaults_are_dockers_mask() {
        let defaults: Vec<String> = defaults::capabilities()
            .iter()
            .map(|capability| serde_json::to_value(capability).unwrap().as_str().unwrap().to_owned())
            .collect();
        assert_eq!(bits(&defaults).unwrap(), 0xa804_25fb);
    }

    #[test]
    fn names_have_the_kernels_numbers() {
        assert_eq!(bits(&names(&["CAP_CHOWN"])), Ok(1));
        assert_eq!(bits(&names(&["CAP_SYS_ADMIN", "CAP_BPF"])), Ok(1 << 21 | 1 << 39));
        assert_eq!(bits(&names(&["CAP_CHECKPOINT_RESTORE"])), Ok(1 << 40));
        for unknown in ["CHOWN", "CAP_chown", "CAP_ALL", ""] {
            assert!(bits(&names(&[unknown])).is_err(), "{unknown}");
        }
    }

    #[test]
    fn only_root_keeps_effective_capabilities() {
        let sets = Capabilities {
            bounding: names(&["CAP_CHOWN", "CAP_KILL"]),
            effective: names(&["CAP_CHOWN", "CAP_KILL"]),
            permitted: names(&["CAP_CHOWN", "CAP_KILL"]),
            inheritable: names(&["CAP_KILL"]),
            ambient: names(&["CAP_KILL"]),
        };
        let root = Sets::parse(&sets, 0).unwrap();
        assert_eq!((root.kept.effective, root.kept.permitted), (33, 33));
        let user = Sets::parse(&sets, 1000).unwrap();
        assert_eq!((user.kept.effective, user.kept.permitted, user.kept.inheritable), (32, 32, 32));
        assert_eq!((user.bounding, user.ambient), (33, 32));
    }
}
