//! What reaches a published port's socket because the firewall does not translate it is passed on by the monitor, as
//! Docker's proxy does it: what comes from ::1, what comes over IPv6 to a container that has none, and, over TCP, what
//! comes after the firewall was flushed. The container then sees the host's address.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;

use super::relay_udp;
use moat_network::attach::Attached;
use moat_network::port::Protocol;
use moat_network::publish::{HeldPort, RESERVED_DESCRIPTORS};

/// How many connections are passed on at once for one port. Further ones wait; beyond the bound of all ports they are
/// hung up on.
const MAX_CONNECTIONS: usize = 512;

/// How many descriptors all connections and flows of a monitor may have, however many it may open: each connection takes
/// 16 KiB, too.
const MAX_DESCRIPTORS: usize = 2048;

/// How many descriptors a connection takes. The number of places is that of descriptors.
const PER_CONNECTION: u32 = 2;

/// How long the relay rests when the host is out of descriptors.
const REST: Duration = Duration::from_millis(100);

/// Begins to pass on what arrives at the ports that are held; that ends with the process. The relay takes their sockets
/// over, but for those of UDP at IPv4 addresses, which nothing is meant to reach.
pub fn serve(attached: &mut Attached) {
    let is_relayed = |held: &HeldPort| held.port.protocol == Protocol::Tcp || held.port.host_ip.is_ipv6();
    let (relayed, held): (Vec<_>, Vec<_>) =
        std::mem::take(&mut attached.held).into_iter().partition(is_relayed);
    attached.held = held;
    for held in relayed {
        let (port, container) = (held.port.container_port, attached.reached_at.subscribe());
        let target = move || container.borrow().map(|address| SocketAddr::new(IpAddr::V4(address), port));
        let task = spawn_local(async move {
            let passed_on = match held.port.protocol {
                Protocol::Tcp => accept(StdTcpListener::from(held.socket), target, places()).await,
                Protocol::Udp => relay_udp::serve(StdUdpSocket::from(held.socket), target, places()).await,
            };
            if let Err(e) = passed_on {
                tracing::warn!("nothing is passed on to port {port} any more: {e}");
            }
        });
        attached.relays.push(task.abort_handle());
    }
}

/// The places of all connections and flows of this process. Clients from outside can take them all, and no more: the
/// descriptors that are left are for the commands that stop the container, or look what is wrong.
fn places() -> Arc<Semaphore> {
    static PLACES: OnceLock<Arc<Semaphore>> = OnceLock::new();
    let places = PLACES.get_or_init(|| {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Arc::new(Semaphore::new(number_of_places(usize::try_from(limit).unwrap_or(usize::MAX), open)))
    });
    Arc::clone(places)
}

fn number_of_places(limit: usize, open: usize) -> usize {
    // One connection there must be, or nothing would ever be passed on.
    limit.saturating_sub(open + RESERVED_DESCRIPTORS).clamp(PER_CONNECTION as usize, MAX_DESCRIPTORS)
}

/// `target` is nowhere while no network of the container leads out.
async fn accept(
    listener: StdTcpListener,
    target: impl Fn() -> Option<SocketAddr>,
    places: Arc<Semaphore>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let own = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // It is never closed.
        let Ok(own) = Arc::clone(&own).acquire_owned().await else { return Ok(()) };
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let Some(target) = target() else { continue };
        // A port that waited for a place with its client in hand would have a descriptor for nothing.
        let Ok(place) = Arc::clone(&places).try_acquire_many_owned(PER_CONNECTION) else { continue };
        spawn_local(async move {
            pass_on(client, target).await;
            drop((own, place));
        });
    }
}

/// A connection that breaks breaks for both sides. One whose other side has vanished is noticed by the kernel in a
/// while.
async fn pass_on(mut client: TcpStream, target: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    for side in [client.as_fd(), server.as_fd()] {
        // Without it the connection only lasts longer.
        let _ = setsockopt(&side, sockopt::KeepAlive, &true);
    }
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    #[test]
    fn clients_of_the_monitor_keep_their_room() {
        assert_eq!(number_of_places(1024, 100), 1024 - 100 - RESERVED_DESCRIPTORS);
        assert_eq!(number_of_places(1 << 20, 100), MAX_DESCRIPTORS);
        assert_eq!(number_of_places(256, 100), PER_CONNECTION as usize);
    }

    #[tokio::test]
    async fn all_ports_together_have_so_many_connections() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = server.local_addr().unwrap();
        let places = Arc::new(Semaphore::new(4));
        let local = tokio::task::LocalSet::new();
        let bind = || {
            let listener = StdTcpListener::bind("[::1]:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let address = listener.local_addr().unwrap();
            local.spawn_local(accept(listener, move || Some(target), Arc::clone(&places)));
            address
        };
        let ports = [bind(), bind()];
        let connect = async |at: usize| {
            let mut client = TcpStream::connect(ports[at]).await.unwrap();
            client.write_all(b"x").await.unwrap();
            client
        };
        let test = async {
            let (first, _second) = (connect(0).await, connect(1).await);
            let mut served = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = server.accept().await.unwrap();
                assert_eq!(stream.read_u8().await.unwrap(), b'x');
                served.push(stream);
            }
            // There is no place for a third one until another one has ended.
            assert!(connect(0).await.read_u8().await.is_err());
            drop((first, served));
            while places.available_permits() == 0 {
                tokio::task::yield_now().await;
            }
            let _fourth = connect(1).await;
            server.accept().await.unwrap();
        };
        timeout(Duration::from_secs(20), local.run_until(test)).await.unwrap();
    }
}
