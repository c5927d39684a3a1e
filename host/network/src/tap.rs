//! Taps: the host's ends of the containers' network interfaces. A tap lives as long as one of its descriptors.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// linux/if_tun.h. The clone device through which taps are made.
const CLONE_DEVICE: &str = "/dev/net/tun";

/// The length of an interface's name in the kernel's structures, with its terminating zero.
pub const NAME_LENGTH: usize = 16;

mod request {
    // The kernel declares an int and reads a struct ifreq.
    nix::ioctl_write_ptr_bad!(set_interface, libc::TUNSETIFF, libc::ifreq);
}

/// Makes the tap `name` and opens it once for each of `queues` queues. Each frame begins with a virtio-net header.
///
/// # Errors
/// When the kernel has no taps, or a process holds one of this name.
pub fn open(name: &str, queues: u8) -> io::Result<Vec<OwnedFd>> {
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if queues > 1 {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    (0..queues.max(1)).map(|_| open_queue(name, flags)).collect()
}

fn open_queue(name: &str, flags: libc::c_int) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(CLONE_DEVICE)?;
    let mut ifr_name = [0; NAME_LENGTH];
    if name.len() >= NAME_LENGTH {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an interface's name is too long"));
    }
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_flags: flags as libc::c_short };
    let request = libc::ifreq { ifr_name, ifr_ifru };
    // SAFETY: the descriptor is open, and the kernel reads one ifreq, which outlives the call.
    unsafe { request::set_interface(file.as_raw_fd(), &raw const request) }?;
    Ok(file.into())
}
