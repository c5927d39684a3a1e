//! What reaches a published port at an IPv6 address and the firewall cannot translate, because it comes from ::1 or the
//! container has no IPv6, is passed on connection by connection, as Docker's proxy does. The container then sees the
//! host's address.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;

use crate::network::attach::Attached;
use crate::network::port::Protocol;

/// How many connections are passed on at once for one port. Further ones wait.
const MAX_CONNECTIONS: usize = 512;

/// How long the relay rests when the host is out of descriptors.
const REST: Duration = Duration::from_millis(100);

/// Begins to pass on what arrives at the TCP ports that are held at IPv6 addresses; that ends with the process. The relay
/// takes their sockets over.
pub fn serve(attached: &mut Attached) {
    let (relayed, held): (Vec<_>, Vec<_>) = std::mem::take(&mut attached.held)
        .into_iter()
        .partition(|held| held.port.host_ip.is_ipv6() && held.port.protocol == Protocol::Tcp);
    attached.held = held;
    for held in relayed {
        let (port, container) = (held.port.container_port, attached.reached_at.subscribe());
        let target = move || container.borrow().map(|address| SocketAddr::new(address.into(), port));
        let listener = StdTcpListener::from(held.socket);
        let task = spawn_local(async move {
            if let Err(e) = accept(listener, target).await {
                tracing::warn!("nothing is passed on to port {port} any more: {e}");
            }
        });
        attached.relays.push(task.abort_handle());
    }
}

/// `target` is nowhere while no network of the container leads out.
async fn accept(listener: StdTcpListener, target: impl Fn() -> Option<SocketAddr>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // It is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let Some(target) = target() else { continue };
        spawn_local(async move {
            let _place = place;
            pass_on(client, target).await;
        });
    }
}

/// A connection that breaks breaks for both sides.
async fn pass_on(mut client: TcpStream, target: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
