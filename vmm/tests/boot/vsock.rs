//! Vsock with a real driver: the host's half and the guest's half of each test.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSliceMut, Read, Write};
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use moat_vmm::report::StopReason;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::vm::{Bench, Vm};

/// Enough to go round every buffer on the way many times.
const BULK: usize = 3 << 20;
const CONNECTIONS: u32 = 40;

/// All cases, as in [`crate::cases`].
pub const CASES: &[(&str, crate::cases::Case)] = &[
    ("vsock_carries_bytes_both_ways_and_half_closes", streams),
    ("vsock_has_many_connections", many),
    ("vsock_loses_nothing_at_a_close", closes),
];

/// The connection that the guest opens next, to the port `wanted`.
pub fn dialled(vm: &Vm, wanted: u32) -> UnixStream {
    let mut port = [0; 4];
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut parts = [IoSliceMut::new(&mut port)];
    let dial = vm.launcher.as_ref().unwrap().as_raw_fd();
    let message = recvmsg::<()>(dial, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
    let Some(ControlMessageOwned::ScmRights(fds)) = message.cmsgs().unwrap().next() else {
        panic!("no descriptor")
    };
    // SAFETY: recvmsg has just made it.
    let host = UnixStream::from(unsafe { OwnedFd::from_raw_fd(fds[0]) });
    host.set_nonblocking(false).unwrap();
    assert_eq!(u32::from_le_bytes(port), wanted);
    host
}

/// Bytes that do not repeat soon.
pub fn noise(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn streams(bench: &Bench) {
    let vm = bench.plan("vsock-streams").launch(true);
    let mut host = dialled(&vm, 1000);
    let mut seen = Vec::new();
    host.read_to_end(&mut seen).unwrap();
    assert!(seen == noise(BULK), "bytes from the guest were lost or changed");
    // The guest has ended its direction; this one goes on.
    host.write_all(&noise(BULK)).unwrap();
    drop(host);
    vm.end().expect(StopReason::PowerOff).said("streams are right");
}

fn many(bench: &Bench) {
    let vm = bench.plan("vsock-many").launch(true);
    let mut hosts: Vec<_> = (0..CONNECTIONS).map(|port| dialled(&vm, port)).collect();
    for (port, host) in hosts.iter_mut().enumerate() {
        writeln!(host, "{port}").unwrap();
    }
    for (port, mut host) in hosts.into_iter().enumerate() {
        assert_eq!(std::io::read_to_string(&mut host).unwrap(), format!("got {port}"));
    }
    vm.end().expect(StopReason::PowerOff).said("all connections answered");
}

fn closes(bench: &Bench) {
    let vm = bench.plan("vsock-closes").launch(true);
    // The guest writes as much as it can and closes; only then is it read.
    let mut host = dialled(&vm, 1);
    vm.line("closed");
    let mut seen = Vec::new();
    host.read_to_end(&mut seen).unwrap();
    assert!(!seen.is_empty() && seen == noise(seen.len()));
    writeln!(dialled(&vm, 2), "{}", seen.len()).unwrap();
    // The host writes and closes at once, with something of the guest unread.
    let mut host = dialled(&vm, 3);
    host.read_exact(&mut [0]).unwrap();
    host.write_all(&noise(100_000)).unwrap();
    drop(host);
    vm.end().expect(StopReason::PowerOff).said("nothing was lost");
}

/// A connection to the host.
fn connect(port: u32) -> File {
    const HOST: u32 = 2;
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0);
    // SAFETY: the line before has made it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeros are valid for this structure of numbers.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as u16;
    address.svm_cid = HOST;
    address.svm_port = port;
    let length = size_of::<libc::sockaddr_vm>() as u32;
    // SAFETY: a pointer to an address and its length.
    let connected = unsafe { libc::connect(fd, (&raw const address).cast(), length) };
    assert_eq!(connected, 0, "{}", std::io::Error::last_os_error());
    socket.into()
}

fn stop_sending(socket: &File) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) }, 0);
}

/// Waits until the host hangs up.
pub fn guest_waits() {
    guest_waits_at(1);
}

/// Tells the host by the port's number where it is, and waits until it hangs up.
pub fn guest_waits_at(port: u32) {
    assert_eq!(connect(port).read_to_end(&mut Vec::new()).unwrap(), 0);
}

/// The guest's half of [`streams`].
pub fn guest_streams() {
    let mut socket = connect(1000);
    socket.write_all(&noise(BULK)).unwrap();
    stop_sending(&socket);
    let mut seen = Vec::new();
    socket.read_to_end(&mut seen).unwrap();
    assert!(seen == noise(BULK));
    println!("streams are right");
}

/// The guest's half of [`many`].
pub fn guest_many() {
    let sockets: Vec<_> = (0..CONNECTIONS).map(|port| BufReader::new(connect(port))).collect();
    for mut socket in sockets {
        let mut line = String::new();
        socket.read_line(&mut line).unwrap();
        write!(socket.get_ref(), "got {}", line.trim()).unwrap();
        // The host closes when it has read that: without waiting, the power might be off before.
        stop_sending(socket.get_ref());
        assert_eq!(socket.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
    println!("all connections answered");
}

/// The guest's half of [`closes`].
pub fn guest_closes() {
    let mut socket = connect(1);
    let data = noise(8 << 20);
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }, 0);
    let mut sent = 0;
    let mut stuck = 0;
    // Full for a second: nothing moves any more.
    while stuck < 10 {
        match socket.write(&data[sent..]) {
            Ok(count) => (sent, stuck) = (sent + count, 0),
            Err(_) => {
                stuck += 1;
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    }
    drop(socket);
    println!("closed");
    assert_eq!(std::io::read_to_string(connect(2)).unwrap().trim(), sent.to_string());
    let mut socket = connect(3);
    socket.write_all(b"never read").unwrap();
    let mut seen = Vec::new();
    socket.read_to_end(&mut seen).unwrap();
    assert!(seen == noise(100_000));
    println!("nothing was lost");
}
