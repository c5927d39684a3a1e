//! One queue of a tap device: frames between the host's network and guest memory, without a buffer in between. Each has
//! a `virtio_net_hdr` in front, which the kernel writes, or reads and checks.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use vm_memory::VolatileSlice;

use super::frame::HEADER_BYTES;

/// What `readv` and `writev` take at once (`IOV_MAX`).
const MAX_PIECES: usize = 1024;

/// How the launcher has to have set it up.
const NEEDED: [(libc::c_int, &str); 3] =
    [(libc::IFF_TAP, "IFF_TAP"), (libc::IFF_NO_PI, "IFF_NO_PI"), (libc::IFF_VNET_HDR, "IFF_VNET_HDR")];

/// Why a descriptor cannot be a queue of a tap.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// It is something else.
    #[error("it is not a tap device: {0}")]
    Other(io::Error),
    /// It is set up in another way.
    #[error("it is a tap device without {0}")]
    Without(&'static str),
}

/// One queue of a tap device.
pub struct Tap {
    file: File,
}

impl Tap {
    /// Takes a descriptor over.
    ///
    /// # Errors
    /// When it is not what [`crate::config::NetworkConfig::taps`] asks for.
    pub fn new(fd: OwnedFd) -> Result<Self, TapError> {
        // SAFETY: all zeros are valid for this structure of numbers.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        control(fd.as_fd(), libc::TUNGETIFF, &mut request).map_err(TapError::Other)?;
        // SAFETY: the kernel filled in the flags.
        let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        match NEEDED.iter().find(|(flag, _)| flags & flag == 0) {
            Some((_, name)) => Err(TapError::Without(name)),
            None => Ok(Self { file: fd.into() }),
        }
    }

    /// A socket of packets in place of a tap.
    #[cfg(test)]
    pub fn stand_in(socket: OwnedFd) -> Self {
        Self { file: socket.into() }
    }

    /// Sets the length of the header to [`HEADER_BYTES`], and makes reading and writing not wait.
    ///
    /// # Errors
    /// When the kernel refuses, as it does for a device that is gone.
    pub fn prepare(&self) -> io::Result<()> {
        // SAFETY: no pointers; the descriptor is open as long as `self.file`.
        if unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut size = HEADER_BYTES as libc::c_int;
        control(self.as_fd(), libc::TUNSETVNETHDRSZ, &mut size)
    }

    /// Which of `TUN_F_*` the frames for the guest may make use of. Counts for all queues of the device.
    ///
    /// # Errors
    /// As [`Tap::prepare`].
    pub fn offload(&self, flags: libc::c_uint) -> io::Result<()> {
        if cfg!(test) {
            return Ok(());
        }
        // SAFETY: this request takes a number and no pointer; the descriptor is open as long as `self.file`.
        let outcome =
            unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags)) };
        if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Whether this queue gets a share of the device's frames. Only for devices of several queues.
    ///
    /// # Errors
    /// As [`Tap::prepare`].
    pub fn join(&self, join: bool) -> io::Result<()> {
        // SAFETY: all zeros are valid for this structure of numbers.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        let flag = if join { libc::IFF_ATTACH_QUEUE } else { libc::IFF_DETACH_QUEUE };
        request.ifr_ifru.ifru_flags = flag as libc::c_short;
        match control(self.as_fd(), libc::TUNSETQUEUE, &mut request) {
            // The queue is in that state already.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            other => other,
        }
    }

    /// Reads one frame into the pieces. What does not fit is lost.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; else when the kernel cannot read the device.
    pub fn read<'a>(&self, pieces: impl Iterator<Item = &'a VolatileSlice<'a>>) -> io::Result<usize> {
        let pieces = vectors(pieces);
        // SAFETY: `pieces` points to that many entries, each a live piece of guest memory, which nothing on the host
        // holds a reference to; the kernel writes within them.
        let count = unsafe { libc::readv(self.file.as_raw_fd(), pieces.as_ptr(), pieces.len() as i32) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// `WouldBlock` when the device takes no more; else when the kernel refuses the frame.
    pub fn write<'a>(&self, pieces: impl Iterator<Item = &'a VolatileSlice<'a>>) -> io::Result<()> {
        let pieces = vectors(pieces);
        // SAFETY: `pieces` points to that many entries, each a live piece of guest memory, which the kernel reads.
        let count = unsafe { libc::writev(self.file.as_raw_fd(), pieces.as_ptr(), pieces.len() as i32) };
        if count < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn vectors<'a>(pieces: impl Iterator<Item = &'a VolatileSlice<'a>>) -> Vec<libc::iovec> {
    pieces
        .take(MAX_PIECES)
        .map(|piece| libc::iovec { iov_base: piece.ptr_guard_mut().as_ptr().cast(), iov_len: piece.len() })
        .collect()
}

/// A request about the device whose argument the kernel reads or fills in: an `ifreq` or an `int`, as `request` wants.
fn control<T>(fd: BorrowedFd<'_>, request: libc::Ioctl, argument: &mut T) -> io::Result<()> {
    if cfg!(test) {
        // A stand-in is a socket and knows none of these requests.
        return Ok(());
    }
    // SAFETY: the argument is a live structure of the type that the request has; the callers here see to that.
    match unsafe { libc::ioctl(fd.as_raw_fd(), request, std::ptr::from_mut(argument)) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn ioctls_are_what_the_filter_lets_through() {
        // `linux/if_tun.h`, computed by hand: direction, size, 'T', number.
        assert_eq!(libc::TUNGETIFF as u32, 0x8004_54d2);
        assert_eq!(libc::TUNSETVNETHDRSZ as u32, 0x4004_54d8);
        assert_eq!(libc::TUNSETOFFLOAD as u32, 0x4004_54d0);
        assert_eq!(libc::TUNSETQUEUE as u32, 0x4004_54d9);
    }
}
