//! Datagrams that are passed on, see [`super::relay`]. What comes from one address to one address of the host is a
//! flow; each has a socket, so that the container can tell them apart and its answers find back.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket as StdUdpSocket};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, send, sendmsg, setsockopt, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

/// How many flows one port has at once. Datagrams of further ones are lost, which is what datagrams may be.
const MAX_FLOWS: usize = 256;

/// How long a flow is remembered in which nothing moves.
const IDLE: Duration = Duration::from_secs(30);

/// Room for the largest datagram.
const LARGEST: usize = 65_535;

/// How long the relay rests when the host has no memory for it.
const REST: Duration = Duration::from_millis(100);

/// The sender's address, and the host's address that it sends to: answers come from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Client {
    address: SocketAddrV6,
    at: Ipv6Addr,
    interface: u32,
}

/// A flow to the container.
struct Flow {
    socket: Rc<UdpSocket>,
    target: SocketAddr,
    /// When something moved last.
    moved: Rc<Cell<Instant>>,
    /// Which flow of its client.
    number: u64,
    answers: AbortHandle,
}

/// Passes on what arrives at an IPv6 socket. `target` is nowhere while no network of the container leads out.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(
    socket: StdUdpSocket,
    target: impl Fn() -> Option<SocketAddr>,
    places: Arc<Semaphore>,
) -> io::Result<()> {
    setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    let mut relay = Relay {
        socket: Rc::new(UdpSocket::from_std(socket)?),
        flows: HashMap::new(),
        answers: JoinSet::new(),
        number: 0,
        places,
    };
    loop {
        tokio::select! {
            biased;
            Some(ended) = relay.answers.join_next() => {
                if let Ok((client, number)) = ended {
                    relay.forget(&client, number);
                }
                continue;
            }
            readable = relay.socket.readable() => readable?,
        }
        // Only while there is something to read does a port need memory.
        let mut buffer = vec![0; LARGEST];
        let received = relay.socket.try_io(Interest::READABLE, || receive(&relay.socket, &mut buffer));
        match (received, target()) {
            (Ok((length, client)), Some(target)) => relay.pass_on(&buffer[..length], client, target),
            (Ok(_), None) => {}
            (Err(e), _) if e.kind() == io::ErrorKind::WouldBlock => {}
            // What a client's host said about an answer, or no memory for the moment.
            (Err(_), _) => sleep(REST).await,
        }
    }
}

/// The flows of one port.
struct Relay {
    socket: Rc<UdpSocket>,
    flows: HashMap<Client, Flow>,
    /// A task for each flow, which takes the answers back; all end with this.
    answers: JoinSet<(Client, u64)>,
    number: u64,
    places: Arc<Semaphore>,
}

impl Relay {
    fn pass_on(&mut self, datagram: &[u8], client: Client, target: SocketAddr) {
        let known = self.flows.get(&client);
        if known.is_none_or(|flow| flow.target != target) {
            if let Some(flow) = known {
                flow.answers.abort();
                self.flows.remove(&client);
            }
            self.begin(client, target);
        }
        if let Some(flow) = self.flows.get(&client) {
            flow.moved.set(Instant::now());
            // One that does not fit is lost. The runtime does not know yet that a new socket can be written to.
            let _ = send(flow.socket.as_raw_fd(), datagram, MsgFlags::MSG_DONTWAIT);
        }
    }

    /// Nothing begins when there is no room for it.
    fn begin(&mut self, client: Client, target: SocketAddr) {
        if self.flows.len() >= MAX_FLOWS {
            return;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let Ok(socket) = connect(target) else { return };
        let (socket, moved) = (Rc::new(socket), Rc::new(Cell::new(Instant::now())));
        self.number += 1;
        let number = self.number;
        let (outside, inside, clock) = (Rc::clone(&self.socket), Rc::clone(&socket), Rc::clone(&moved));
        let answers = self.answers.spawn_local(async move {
            take_back(&outside, &inside, client, &clock, place).await;
            (client, number)
        });
        self.flows.insert(client, Flow { socket, target, moved, number, answers });
    }

    /// Unless its client has begun another one meanwhile.
    fn forget(&mut self, client: &Client, number: u64) {
        if self.flows.get(client).is_some_and(|flow| flow.number == number) {
            self.flows.remove(client);
        }
    }
}

fn connect(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = StdUdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(target)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Passes on the container's answers until nothing has moved for a while, or no program serves the port.
async fn take_back(
    outside: &UdpSocket,
    inside: &UdpSocket,
    client: Client,
    moved: &Cell<Instant>,
    _place: OwnedSemaphorePermit,
) {
    loop {
        match timeout_at(moved.get() + IDLE, inside.readable()).await {
            Err(_) if moved.get().elapsed() < IDLE => continue,
            Err(_) | Ok(Err(_)) => return,
            Ok(Ok(())) => {}
        }
        let mut buffer = vec![0; LARGEST];
        match inside.try_recv(&mut buffer) {
            Ok(length) => {
                moved.set(Instant::now());
                let _ = answer(outside, &buffer[..length], client);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// One datagram, with the address that it was sent to.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Client)> {
    let mut space = nix::cmsg_space!(libc::in6_pktinfo);
    let mut slices = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::empty())?;
    let to = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(info),
        _ => None,
    });
    let (Some(from), Some(to)) = (message.address, to) else {
        return Err(io::Error::other("the kernel does not say where a datagram comes from"));
    };
    let at = Ipv6Addr::from(to.ipi6_addr.s6_addr);
    // Which cable an answer takes is for the routes to say, unless the address means another machine on each.
    let interface = if at.is_unicast_link_local() { to.ipi6_ifindex } else { 0 };
    Ok((message.bytes, Client { address: from.into(), at, interface }))
}

fn answer(socket: &UdpSocket, datagram: &[u8], client: Client) -> nix::Result<usize> {
    let from = libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr { s6_addr: client.at.octets() },
        ipi6_ifindex: client.interface,
    };
    let control = [ControlMessage::Ipv6PacketInfo(&from)];
    let to = SockaddrIn6::from(client.address);
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(datagram)], &control, MsgFlags::MSG_DONTWAIT, Some(&to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use tokio::time::timeout;

    /// A relay at ::1 with so many places, a server behind it, and what is done with both.
    fn relayed(places: usize, test: impl AsyncFnOnce(SocketAddr, UdpSocket)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        let test = local.run_until(async {
            let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let target = server.local_addr().unwrap();
            let socket = StdUdpSocket::bind("[::]:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            let port = socket.local_addr().unwrap().port();
            let places = Arc::new(Semaphore::new(places));
            tokio::task::spawn_local(serve(socket, move || Some(target), places));
            test(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port), server).await;
        });
        runtime.block_on(async { timeout(Duration::from_secs(20), test).await.unwrap() });
    }

    async fn client(relay: SocketAddr) -> UdpSocket {
        let socket = UdpSocket::bind("[::1]:0").await.unwrap();
        // Only what comes from that address is received.
        socket.connect(relay).await.unwrap();
        socket
    }

    #[test]
    fn questions_and_answers_find_their_way() {
        relayed(10, async |relay, server| {
            let clients = [client(relay).await, client(relay).await];
            let mut buffer = vec![0; LARGEST];
            for (at, client) in clients.iter().enumerate() {
                client.send(format!("from {at}").as_bytes()).await.unwrap();
                let (length, from) = server.recv_from(&mut buffer).await.unwrap();
                assert_eq!(&buffer[..length], format!("from {at}").as_bytes());
                server.send_to(&buffer[..length], from).await.unwrap();
            }
            for (at, client) in clients.iter().enumerate() {
                let length = client.recv(&mut buffer).await.unwrap();
                assert_eq!(&buffer[..length], format!("from {at}").as_bytes());
            }
            // The next datagram of a flow comes from where the first one came from.
            clients[0].send(b"again").await.unwrap();
            clients[1].send(b"again").await.unwrap();
            let (_, first) = server.recv_from(&mut buffer).await.unwrap();
            let (_, second) = server.recv_from(&mut buffer).await.unwrap();
            assert_ne!(first, second);
        });
    }

    #[test]
    fn flows_beyond_the_bound_are_lost_and_others_go_on() {
        relayed(1, async |relay, server| {
            let (known, stranger) = (client(relay).await, client(relay).await);
            let mut buffer = [0; 100];
            known.send(b"one").await.unwrap();
            server.recv_from(&mut buffer).await.unwrap();
            stranger.send(b"lost").await.unwrap();
            known.send(b"two").await.unwrap();
            let (length, _) = server.recv_from(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], b"two");
        });
    }
}
