//! The sockets that hold published ports. No packet is meant to reach them but for those that the firewall cannot
//! translate: they keep other programs from a port, and they end with the process that has them, however it ends.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind, getsockname,
    listen, setsockopt, socket, sockopt,
};

use super::endpoint::Attachment;
use super::port::{ContainerPort, PortRequest, Protocol, PublishedPort};
use super::{NetworkError, holder};

/// How often another port is tried when the kernel's choice is free at one address and taken at the other.
const ATTEMPTS: usize = 64;

/// How many descriptors a monitor keeps for everything else: its VM, its clients, its guest's connections.
pub const RESERVED_DESCRIPTORS: usize = 512;

/// How many connections may wait for the relay.
const BACKLOG: i32 = 128;

/// A port that is held.
#[derive(Debug)]
pub struct HeldPort {
    /// The port.
    pub port: PublishedPort,
    /// What holds it. That of a TCP port listens.
    pub socket: OwnedFd,
}

/// Takes every port that was asked for. `others` are the containers that run, to tell whose a taken port is.
///
/// # Errors
/// When a port is taken, or this process may not open so many files; then none is held.
pub fn publish(requests: &[PortRequest], others: &[Attachment]) -> Result<Vec<HeldPort>, NetworkError> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|e| NetworkError::host("ask how many files may be open")(e.into()))?;
    check_number(requests, usize::try_from(limit).unwrap_or(usize::MAX))?;
    let mut held = Vec::new();
    for request in requests {
        held.extend(take(request, others)?);
    }
    Ok(held)
}

/// A monitor that has spent all its descriptors on ports could not be asked to stop.
fn check_number(requests: &[PortRequest], limit: usize) -> Result<(), NetworkError> {
    let needed: usize = requests.iter().map(|request| request.addresses().len()).sum();
    let room = limit.saturating_sub(RESERVED_DESCRIPTORS);
    if needed <= room {
        return Ok(());
    }
    Err(NetworkError::Invalid(format!(
        "cannot publish {} ports: they take {needed} open files and there is room for {room}; publish fewer, or raise \
         the limit (ulimit -Hn, LimitNOFILE= of the service)",
        requests.len()
    )))
}

/// Takes the first port that is free at all addresses of a request.
fn take(request: &PortRequest, others: &[Attachment]) -> Result<Vec<HeldPort>, NetworkError> {
    let candidates: Box<dyn Iterator<Item = u16>> = match request.host_ports {
        Some((first, last)) => Box::new(first..=last),
        None => Box::new(std::iter::repeat_n(0, ATTEMPTS)),
    };
    let mut last = None;
    for port in candidates {
        match take_at(request, port) {
            Ok(held) => return Ok(held),
            Err((address, Errno::EADDRINUSE)) => last = Some(address),
            Err((address, Errno::EADDRNOTAVAIL)) => {
                return Err(NetworkError::Invalid(format!(
                    "cannot publish a port at {}: the host does not have this address",
                    address.ip()
                )));
            }
            Err((_, e)) => return Err(NetworkError::host("hold a published port")(e.into())),
        }
    }
    let address = last.unwrap_or_else(|| SocketAddr::new(request.addresses()[0], 0));
    let protocol = request.container.protocol;
    let holder = holder::find(address, protocol, others);
    Err(NetworkError::PortTaken { address: address.to_string(), holder })
}

fn take_at(request: &PortRequest, mut port: u16) -> Result<Vec<HeldPort>, (SocketAddr, Errno)> {
    let mut held: Vec<HeldPort> = Vec::new();
    for ip in request.addresses() {
        let wanted = SocketAddr::new(ip, port);
        match hold(wanted, request.container) {
            Ok(one) => {
                port = one.port.host_port;
                held.push(one);
            }
            // IPv6 was not asked for, and the host has none.
            Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) if request.host_ip.is_none() && ip.is_ipv6() => {}
            Err(e) => return Err((wanted, e)),
        }
    }
    Ok(held)
}

fn hold(wanted: SocketAddr, container: ContainerPort) -> Result<HeldPort, Errno> {
    let family = if wanted.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = match container.protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, kind, flags, None)?;
    // Connections that a server had here which is gone, or the relay of a monitor that was killed, are remembered for a
    // minute. Another socket that listens is in the way all the same, and so is this one, if it listens.
    let listens = container.protocol == Protocol::Tcp;
    setsockopt(&socket, sockopt::ReuseAddr, &listens)?;
    match wanted {
        SocketAddr::V4(v4) => bind(socket.as_raw_fd(), &SockaddrIn::from(v4))?,
        SocketAddr::V6(v6) => {
            setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
            bind(socket.as_raw_fd(), &SockaddrIn6::from(v6))?;
        }
    }
    if listens {
        listen(&socket, Backlog::new(BACKLOG)?)?;
    }
    let host_port = bound_port(&socket)?;
    let port = PublishedPort {
        protocol: container.protocol,
        host_ip: wanted.ip(),
        host_port,
        container_port: container.port,
    };
    Ok(HeldPort { port, socket })
}

fn bound_port(socket: &OwnedFd) -> Result<u16, Errno> {
    let address: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    let v4 = address.as_sockaddr_in().map(SockaddrIn::port);
    v4.or_else(|| address.as_sockaddr_in6().map(SockaddrIn6::port)).ok_or(Errno::EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn request(text: &str) -> PortRequest {
        PortRequest::parse(text).unwrap().remove(0)
    }

    #[test]
    fn a_port_is_held_until_it_is_let_go() {
        let held = publish(&[request("127.0.0.1::80"), request("127.0.0.1::80/udp")], &[]).unwrap();
        let port = held[0].port;
        assert!(port.host_port != 0 && port.container_port == 80 && port.protocol == Protocol::Tcp);
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.host_port);
        assert!(std::net::TcpListener::bind(address).is_err());
        let again = request(&format!("127.0.0.1:{}:81", port.host_port));
        let error = publish(std::slice::from_ref(&again), &[]).unwrap_err().to_string();
        let wanted = format!("Bind for {address} failed: port is already allocated");
        assert!(error.starts_with(&wanted), "{error}");
        drop(held);
        // A program that listens is named; it is this one.
        let listener = std::net::TcpListener::bind(address).unwrap();
        let error = publish(std::slice::from_ref(&again), &[]).unwrap_err().to_string();
        assert!(error.contains(&format!("by process {}", std::process::id())), "{error}");
        drop(listener);
        assert_eq!(publish(&[again], &[]).unwrap()[0].port.host_port, port.host_port);
    }

    #[test]
    fn connections_that_were_do_not_hold_a_port() {
        for host in ["127.0.0.1", "[::1]"] {
            let held = publish(&[request(&format!("{host}::80"))], &[]).unwrap();
            let address = SocketAddr::new(held[0].port.host_ip, held[0].port.host_port);
            let listener = std::net::TcpListener::from(held.into_iter().next().unwrap().socket);
            let client = std::net::TcpStream::connect(address).unwrap();
            listener.set_nonblocking(false).unwrap();
            // The side that closes first is the one that remembers.
            drop(listener.accept().unwrap());
            drop(listener);
            drop(client);
            let again = request(&format!("{host}:{}:80", address.port()));
            let held = publish(std::slice::from_ref(&again), &[]).unwrap();
            assert!(publish(&[again], &[]).unwrap_err().to_string().contains("already allocated"));
            drop(held);
        }
    }

    #[test]
    fn more_ports_than_descriptors_are_refused_in_words() {
        let limit = RESERVED_DESCRIPTORS + 20;
        // Each is held at all addresses of IPv4 and of IPv6.
        assert!(check_number(&vec![request("80"); 10], limit).is_ok());
        let error = check_number(&vec![request("80"); 11], limit).unwrap_err().to_string();
        let words = "cannot publish 11 ports: they take 22 open files and there is room for 20";
        assert!(error.starts_with(words), "{error}");
    }

    #[test]
    fn the_first_free_port_of_a_range_is_taken() {
        let first = publish(&[request("127.0.0.1::80")], &[]).unwrap();
        let taken = first[0].port.host_port;
        let range = request(&format!("127.0.0.1:{taken}-{}:80", taken.saturating_add(20)));
        let held = publish(&[range], &[]).unwrap();
        assert!(held[0].port.host_port > taken);
    }
}
