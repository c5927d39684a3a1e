//! The contract between the monitor on the host and the agent in the guest.
//!
//! The guest dials, so neither end polls. Over vsock the agent opens
//! - one *control* connection to [`CONTROL_PORT`], which carries [`GuestMessage`] and [`HostMessage`]
//!   frames in both directions for as long as the guest lives, and
//! - one *stream* connection to [`STREAM_PORT`] for each stream of a request, such as a process's input and its
//!   output: a single [`StreamHello`] frame, then bytes until either side closes. vsock's credit is the back-pressure.
//!
//! Each end treats the other as hostile. A frame has a fixed header and a maximum size ([`frame`]), and a message has
//! no unknown fields. A stream is taken only once, and only with the token that was sent for it, so that a container's
//! own process cannot pose as the agent.

mod archive;
pub mod defaults;
pub mod frame;
pub mod guest;
mod message;
pub mod names;
mod network;
pub mod output;
mod spec;
mod stats;
pub mod tar;
pub mod text;

use std::time::Duration;

pub use archive::{ArchiveFailure, ArchiveTask, PathStat};
pub use message::{
    BootPhase, ExitStatus, GuestMessage, HostMessage, HostMessageOf, ProcessId, RequestId, StartFailure,
    Stream, StreamHello, StreamToken, TerminalSize, VERSION,
};
pub use network::{
    Dns, Interface, InterfaceAddress, MAX_ADDRESSES, MAX_DNS_ENTRIES, MAX_INTERFACE_NAME, MAX_INTERFACES,
    MacAddress, NetworkSpec, NotAMacAddress, RESOLVER,
};
pub use spec::{ContainerSpec, ContainerSpecOf, ExecSpec, ExecSpecOf, HostsEntry};
pub use stats::{MAX_COMMAND, MAX_PROCESSES, ProcessInfo, Stats};

/// The vsock port (of the host, CID 2) for the control connection.
pub const CONTROL_PORT: u32 = 1024;

/// The vsock port (of the host, CID 2) for streams.
pub const STREAM_PORT: u32 = 1025;

/// The I/O port of the VM that the agent writes a byte to when it is done. It is `moat_vmm::layout::POWER_OFF_PORT`,
/// repeated because the agent does not depend on the VMM.
pub const POWER_OFF_PORT: u16 = 0x604;

/// How long a guest that could not boot waits for the host to read its last message and close the connection.
pub const LAST_WORDS: Duration = Duration::from_secs(10);
