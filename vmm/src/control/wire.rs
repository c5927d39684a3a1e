//! The commands and answers, as they cross the socket.

use serde::{Deserialize, Serialize};

use crate::config::NetworkCard;

/// The most a command or an answer can have, in bytes: the size of the buffer to receive it into.
pub const MAX_PACKET: usize = 1024;

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Sets how much memory the guest is to be left with. The balloon takes the rest away from it, or gives back what it
    /// took before. Answered at once, with [`Answer::Memory`]. The guest gets there in its own time, or never: it takes
    /// memory back before it kills a process, and a hostile one keeps all that it has. The cgroup limits it.
    Balloon {
        /// In MiB, from [`crate::config::MIN_MEMORY_MIB`] to all that the VM has.
        target_mib: u32,
    },
    /// Asks how much memory the guest has. Answered with [`Answer::Memory`].
    Memory {},
    /// Puts a network card into a free place. Descriptors of its tap, opened as those of
    /// [`crate::config::NetworkConfig::taps`], come along with the packet (`SCM_RIGHTS`): one, or up to as many as the VM
    /// has virtual CPUs and at most [`crate::config::MAX_QUEUE_PAIRS`]. Answered with [`Answer::Network`]; the guest finds the card when
    /// it binds its driver to that device.
    AttachNetwork {
        /// Which place: counted from 0 among the [`crate::config::NetworkPlace`]s of the configuration.
        slot: u8,
        /// What the guest sees.
        card: NetworkCard,
    },
    /// Takes a card out again and closes its taps. The guest should have unbound its driver: a driver that is still bound
    /// finds a device that does nothing any more. Answered with [`Answer::Network`].
    DetachNetwork {
        /// Which place.
        slot: u8,
    },
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// The guest's memory.
    Memory {
        /// What the VM was made with.
        total_mib: u32,
        /// What the guest was last told to be left with; at first all.
        target_mib: u32,
        /// What the guest says it is left with now. It may lie.
        actual_mib: u32,
    },
    /// A network card was attached or detached.
    Network {
        /// The guest's name for the device, in `/sys/bus/platform/devices`: `virtio-mmio.6`.
        device: String,
    },
    /// The command cannot be carried out; nothing has happened.
    Refused {
        /// What was asked and what was wrong.
        message: String,
    },
}
