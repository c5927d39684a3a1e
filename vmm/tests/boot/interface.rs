//! Network interfaces by ioctl, for both halves: there is no `ip` in the guest.

use std::fs::{File, OpenOptions};
use std::io::Error;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Where the host's end of each network is.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// Where the guest is.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// The broadcast address of that network.
pub const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 255);

fn request(name: &str) -> libc::ifreq {
    // SAFETY: all zeros are valid for this structure of numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn ask(socket: &impl AsRawFd, what: libc::Ioctl, request: &mut libc::ifreq) {
    // SAFETY: each of these reads and writes a live `ifreq`.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), what, std::ptr::from_mut(request)) };
    assert_eq!(outcome, 0, "{what:#x}: {}", Error::last_os_error());
}

/// A socket to ask by.
fn socket() -> OwnedFd {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0);
    // SAFETY: the line before has made it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Gives an interface an address of a network of 256 and brings it up.
pub fn bring_up(name: &str, address: Ipv4Addr) {
    let socket = socket();
    for (what, address) in
        [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, Ipv4Addr::new(255, 255, 255, 0))]
    {
        let mut request = request(name);
        let internet = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: 0,
            sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
            sin_zero: [0; 8],
        };
        // SAFETY: both kinds of address have the same size, and neither has bits without meaning.
        request.ifr_ifru.ifru_addr =
            unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(internet) };
        ask(&socket, what, &mut request);
    }
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    ask(&socket, libc::SIOCSIFFLAGS, &mut request);
}

/// A new tap device with so many queues.
pub fn tap(name: &str, queues: usize) -> Vec<OwnedFd> {
    let several = if queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    (0..queues)
        .map(|_| {
            let mut options = OpenOptions::new();
            let file: File =
                options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun").unwrap();
            let mut request = request(name);
            let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | several;
            request.ifr_ifru.ifru_flags = flags as i16;
            ask(&file, libc::TUNSETIFF, &mut request);
            file.into()
        })
        .collect()
}

/// One of an interface's counters.
pub fn counter(interface: &str, name: &str) -> u64 {
    let path = format!("/sys/class/net/{interface}/statistics/{name}");
    std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
}
