//! The table of devices: one line for each kind that a VM can have. The line leads to the device's folder, and from there
//! comes all else: the shape of its configuration, the descriptors that it takes, its system calls, and how it is built.
//! Addresses, interrupts and the words on the kernel's command line follow from a device's number.

use serde::{Deserialize, Serialize};

use crate::fds::{FdError, InheritedFds};
use crate::layout::MAX_VIRTIO_DEVICES;
use crate::range::{self, OutOfRange};
use crate::syscalls::Syscalls;
use crate::virtio::plan::{Claims, Name, Plan};
use crate::virtio::{balloon, block, net, rng, vsock};

/// A line of the table, apart from the shape of the configuration, which is a variant of [`DeviceConfig`].
#[derive(Debug)]
pub struct Row {
    /// What messages call one device of this kind.
    pub name: &'static str,
    /// How many there can be.
    pub count: Count,
    /// What the device asks of the kernel.
    pub syscalls: &'static Syscalls,
}

/// How many devices of a kind a VM has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Exactly one.
    One,
    /// One or none.
    Optional,
    /// As many as there are places; with the name of many.
    Many(&'static str),
}

/// A line has the device's variant with its configuration, the folder, and the other fields of [`Row`]. The folder exports
/// the configuration, which implements [`Plan`], and the system calls as `SYSCALLS`.
macro_rules! table {
    ($($(#[$doc:meta])* $variant:ident($config:ident): $folder:ident, $name:literal, $count:expr;)+) => {
        /// One device of a VM, as its configuration has it.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub enum DeviceConfig {
            $($(#[$doc])* $variant($folder::$config),)+
        }

        /// The configurations of all devices, for [`crate::config`] to hand on.
        pub(crate) mod configs {
            $(pub use crate::virtio::$folder::$config;)+
        }

        $(impl From<$folder::$config> for DeviceConfig {
            fn from(config: $folder::$config) -> Self {
                Self::$variant(config)
            }
        })+

        impl DeviceConfig {
            /// The device's own part, and its line of the table.
            fn parts(&self) -> (&dyn Plan, usize) {
                enum Line {
                    $($variant,)+
                }
                match self {
                    $(Self::$variant(config) => (config, Line::$variant as usize),)+
                }
            }
        }

        /// The table.
        pub const TABLE: &[Row] = &[
            $(Row { name: $name, count: $count, syscalls: &$folder::SYSCALLS },)+
        ];
    };
}

table! {
    /// A disk: `vda`, `vdb`, and so on, in the order of the configuration.
    Disk(DiskConfig): block, "disk", Count::Many("disks");
    /// A network card, or a place for one: `eth0`, `eth1`, and so on.
    Network(NetworkPlace): net, "network", Count::Many("networks and spare networks");
    /// The vsock device.
    Vsock(VsockConfig): vsock, "vsock", Count::One;
    /// The entropy device.
    Rng(RngConfig): rng, "rng", Count::Optional;
    /// The balloon, with free page reporting.
    Balloon(BalloonConfig): balloon, "balloon", Count::Optional;
}

/// How many kinds of device there are that a VM has at most one of: as many places are not left for disks and networks in
/// a VM that has them all.
pub const FIXED_VIRTIO_DEVICES: usize = {
    let (mut fixed, mut line) = (0, 0);
    while line < TABLE.len() {
        if !matches!(TABLE[line].count, Count::Many(_)) {
            fixed += 1;
        }
        line += 1;
    }
    fixed
};

/// The devices of a configuration, each with its name.
fn named(devices: &[DeviceConfig]) -> Vec<(Name, &dyn Plan)> {
    let mut counts = vec![0; TABLE.len()];
    let name = |device: &'_ DeviceConfig| {
        let (_, line) = device.parts();
        counts[line] += 1;
        Name { kind: TABLE[line].name, number: counts[line] - 1 }
    };
    let names: Vec<Name> = devices.iter().map(name).collect();
    names.into_iter().zip(devices.iter().map(|device| device.parts().0)).collect()
}

/// Checks how many devices of each kind there are, and each of them.
///
/// # Errors
/// The first number that lies outside its bounds.
pub fn check(devices: &[DeviceConfig]) -> Result<(), OutOfRange> {
    for (name, plan) in named(devices) {
        plan.check(&name)?;
    }
    let (mut many, mut names) = (0, Vec::new());
    for (line, Row { name, count, .. }) in TABLE.iter().enumerate() {
        let found = devices.iter().filter(|device| device.parts().1 == line).count();
        let what = format!("the number of {name} devices");
        match count {
            Count::One => range::check(&what, found as u64, 1..=1)?,
            Count::Optional => range::check(&what, found as u64, 0..=1)?,
            Count::Many(name) => {
                many += found;
                names.push(*name);
            }
        }
    }
    let room = MAX_VIRTIO_DEVICES.saturating_sub(devices.len() - many);
    range::check(&format!("the number of {}", names.join(", ")), many as u64, 0..=room as u64)
}

/// Takes over the descriptors of all devices.
///
/// # Errors
/// The first that cannot be taken.
pub fn claim(devices: &[DeviceConfig], fds: &mut InheritedFds) -> Result<Claims, FdError> {
    let claim = |(name, plan): (Name, &dyn Plan)| {
        let claimed = plan.claim(&name, fds)?;
        Ok((name, claimed))
    };
    named(devices).into_iter().map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BalloonConfig, Fd, RngConfig, VsockConfig};

    fn vsock() -> DeviceConfig {
        VsockConfig { guest_cid: 3, dial: Fd(9) }.into()
    }

    fn refused(devices: &[DeviceConfig]) -> String {
        check(devices).unwrap_err().to_string()
    }

    #[test]
    fn each_kind_has_its_number_of_devices() {
        check(&[vsock()]).unwrap();
        check(&[vsock(), RngConfig {}.into(), BalloonConfig {}.into()]).unwrap();
        assert_eq!(refused(&[]), "the number of vsock devices is 0, but must be from 1 to 1");
        assert!(refused(&[vsock(), vsock()]).starts_with("the number of vsock devices is 2"));
        assert!(refused(&[vsock(), RngConfig {}.into(), RngConfig {}.into()]).contains("rng devices is 2"));
        let mut many = vec![vsock(), RngConfig {}.into(), BalloonConfig {}.into()];
        many.resize(3 + 17, DeviceConfig::Network(net::NetworkPlace::Spare {}));
        assert_eq!(
            refused(&many),
            "the number of disks, networks and spare networks is 17, but must be from 0 to 16"
        );
        check(&many[..3 + 16]).unwrap();
    }

    #[test]
    fn a_configuration_says_what_each_device_is_and_nothing_else() {
        let text = r#"[{"vsock":{"guest_cid":3,"dial":9}},{"rng":{}}]"#;
        let devices: Vec<DeviceConfig> = serde_json::from_str(text).unwrap();
        assert_eq!(devices, [vsock(), RngConfig {}.into()]);
        for wrong in [r#"[{"sound":{}}]"#, r#"[{"rng":{"rate":1}}]"#, r#"[{"rng":{},"vsock":{}}]"#] {
            assert!(serde_json::from_str::<Vec<DeviceConfig>>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_device_has_a_folder_and_calls_of_its_own() {
        for (line, row) in TABLE.iter().enumerate() {
            assert!(
                std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("src/virtio")
                    .join(row.syscalls.device)
                    .is_dir()
            );
            assert!(TABLE[..line].iter().all(|other| other.syscalls.device != row.syscalls.device));
        }
    }
}
