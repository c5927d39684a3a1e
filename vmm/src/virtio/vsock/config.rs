//! The configuration of the vsock device.

use serde::{Deserialize, Serialize};

use crate::fds::Fd;

/// The vsock device. Only the guest dials: for each connection that it opens to a port of the host (CID 2), the VMM
/// makes a pair of stream sockets and hands one end over on `dial`, as one message of four bytes (the port,
/// little-endian) with the descriptor attached. When the other end of `dial` closes, the VM stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VsockConfig {
    /// The guest's context id, 3 or more.
    pub guest_cid: u32,
    /// One end of a `SOCK_SEQPACKET` unix socket pair.
    pub dial: Fd,
}
