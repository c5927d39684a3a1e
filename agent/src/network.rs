//! The guest's network is the container's: there is only one, and its namespace is the VM's.

use std::fs;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sendto, socket,
};
use std::os::fd::AsRawFd;

use crate::kmsg;

/// What Docker sets in a container's network namespace: ports below 1024 need no privilege, and everyone may ping.
const SYSCTLS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

/// Brings the loopback interface up and makes the namespace what programs expect. A failure is logged only: most
/// programs need none of it.
pub fn prepare() {
    if let Err(error) = loopback_up() {
        kmsg::log(format_args!("cannot bring the loopback interface up: {error}"));
    }
    for (path, value) in SYSCTLS {
        if let Err(error) = fs::write(path, value) {
            kmsg::log(format_args!("cannot write {path}: {error}"));
        }
    }
}

/// One RTM_NEWLINK message that sets IFF_UP on interface 1, which is `lo` in every network namespace.
fn loopback_up() -> nix::Result<()> {
    let length = size_of::<libc::nlmsghdr>() + IFINFO_SIZE;
    let up = (libc::IFF_UP as u32).to_ne_bytes();
    let mut message = Vec::with_capacity(length);
    // struct nlmsghdr: length, type, flags, sequence, port.
    message.extend((length as u32).to_ne_bytes());
    message.extend(libc::RTM_NEWLINK.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message.extend([0; 8]);
    // struct ifinfomsg: family, padding, device type, index, flags, mask of flags to change.
    message.extend([0; 4]);
    message.extend(1i32.to_ne_bytes());
    message.extend(up);
    message.extend(up);
    let netlink =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    sendto(netlink.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    Ok(())
}

/// The size of struct ifinfomsg in bytes.
const IFINFO_SIZE: usize = 16;
