//! Containers need a host that passes packets on between its interfaces. One that did not before goes on to pass
//! nothing on that is not a container's ([`Closed`]), which is remembered for as long as the host runs.

use std::fs;
use std::io;

use moat_records::format::{Format, Record};
use serde::{Deserialize, Serialize};

use super::firewall::Closed;
use super::{NetworkError, Networks};
use moat_records::record::{read, write};

const V4: &str = "/proc/sys/net/ipv4/ip_forward";
const V6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// A number that the host has until it is booted again, and is then set up anew by its administrator.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What Moat has turned on since the host was booted.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TurnedOn {
    /// The format of this record.
    #[serde(default)]
    format: Format<1>,
    boot: String,
    v4: bool,
    v6: bool,
}

impl Record for TurnedOn {
    const FORMAT: u32 = 1;
}

impl Networks {
    /// What is closed once the host passes packets on, which is recorded before it does. The caller holds the lock.
    ///
    /// # Errors
    /// When the record cannot be read or written.
    pub(super) fn closed(&self, with_v6: bool) -> Result<Closed, NetworkError> {
        let path = self.directory.join("forwarding");
        let look = |path| fs::read_to_string(path).map_err(failed);
        let boot = look(BOOT_ID)?.trim().to_owned();
        let before = match read::<TurnedOn>(&path) {
            Err(e) if e.is_not_found() => TurnedOn::default(),
            other => other?,
        };
        let known = if before.boot == boot { (before.v4, before.v6) } else { (false, false) };
        let v4 = known.0 || look(V4)?.trim() == "0";
        let v6 = known.1 || with_v6 && look(V6)?.trim() == "0";
        let now = TurnedOn { format: Format, boot, v4, v6 };
        if (v4 || v6) && now != before {
            write(&path, &now)?;
        }
        Ok(Closed { v4, v6 })
    }
}

/// Has the host pass packets on. Before that the firewall has to be there, or packets of all senders would pass.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn enable(with_v6: bool) -> Result<(), NetworkError> {
    let enable = || {
        if fs::read_to_string(V4)?.trim() == "0" {
            fs::write(V4, "1")?;
        }
        if with_v6 { enable_v6() } else { Ok(()) }
    };
    enable().map_err(failed)
}

/// A host that forwards IPv6 ignores router advertisements, also those that it lives by, unless told otherwise.
fn enable_v6() -> io::Result<()> {
    if fs::read_to_string(V6)?.trim() == "1" {
        return Ok(());
    }
    for entry in fs::read_dir("/proc/sys/net/ipv6/conf")?.flatten() {
        let option = entry.path().join("accept_ra");
        if fs::read_to_string(&option).is_ok_and(|value| value.trim() == "1") {
            fs::write(option, "2")?;
        }
    }
    fs::write(V6, "1")
}

fn failed(source: io::Error) -> NetworkError {
    NetworkError::Host { action: "let the host pass packets on (net.ipv4.ip_forward)", source }
}
