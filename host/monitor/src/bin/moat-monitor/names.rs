//! A container's DNS queries: they come from the agent on one connection, and each is answered once.
//!
//! A guest that asks much is slowed down: so many queries are under way and no more, and none is read before an answer has
//! been written.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::sync::Arc;

use moat_protocol::names::{MAX_PENDING, MAX_QUERY, NAMES_HEADER, NamesHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinSet, spawn_local};

use moat_containers::config::ContainerConfig;
use moat_network::dns::{DNS_PORT, Directory, HOST_RESOLV_CONF, Resolver, Servers};
use moat_network::{Neighbours, Networks};
use moat_records::root::Root;

/// An answer on its way, and the place that it holds among those that are pending.
type Answered = (NamesHeader, Vec<u8>, OwnedSemaphorePermit);

/// Has a task answer what arrives on `connection` for as long as the VM of the container runs.
pub fn spawn(connection: StdUnixStream, root: &Root, config: &ContainerConfig) {
    let own: Vec<_> = config.network.dns.iter().map(|server| SocketAddr::new(*server, DNS_PORT)).collect();
    let servers = if own.is_empty() { Servers::File(HOST_RESOLV_CONF.into()) } else { Servers::Fixed(own) };
    let neighbours = Neighbours::new(Networks::of(root), config.id.clone());
    let resolver = Rc::new(Resolver::new(neighbours, servers));
    spawn_local(async move {
        if let Err(e) = serve(connection, resolver).await {
            tracing::warn!("the container cannot look names up any more: {e}");
        }
    });
}

/// Answers what arrives on `connection` until it is closed. What is under way then is given up.
///
/// # Errors
/// When the connection breaks, or what arrives on it is no query.
pub async fn serve<D: Directory + 'static>(
    connection: StdUnixStream,
    resolver: Rc<Resolver<D>>,
) -> io::Result<()> {
    connection.set_nonblocking(true)?;
    let (mut reader, writer) = UnixStream::from_std(connection)?.into_split();
    let places = Arc::new(Semaphore::new(MAX_PENDING));
    let (answers, answered) = mpsc::channel(MAX_PENDING);
    let writing = spawn_local(write_all(writer, answered));
    let mut asking = JoinSet::new();
    let end = loop {
        // It is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break Ok(()) };
        while asking.try_join_next().is_some() {}
        let (header, query) = match read(&mut reader).await {
            Ok(Some(query)) => query,
            Ok(None) => break Ok(()),
            Err(e) => break Err(e),
        };
        let (resolver, answers) = (Rc::clone(&resolver), answers.clone());
        asking.spawn_local(async move {
            let answer = resolver.answer(&query, header.transport).await;
            // This fails when the connection has broken, which the reader learns by itself.
            let _ = answers.send((header, answer, place)).await;
        });
    };
    writing.abort();
    end
}

/// The next query; nothing at the end.
async fn read(reader: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Option<(NamesHeader, Vec<u8>)>> {
    let mut header = [0; NAMES_HEADER];
    let first = reader.read(&mut header).await?;
    if first == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut header[first..]).await?;
    let header = NamesHeader::parse(header).filter(|header| usize::from(header.length) <= MAX_QUERY);
    let header =
        header.ok_or_else(|| io::Error::other("the guest's agent broke the protocol: no DNS query"))?;
    let mut query = vec![0; header.length.into()];
    reader.read_exact(&mut query).await?;
    Ok(Some((header, query)))
}

async fn write_all(mut writer: OwnedWriteHalf, mut answers: mpsc::Receiver<Answered>) {
    while let Some((query, answer, _place)) = answers.recv().await {
        // The resolver's answers fit, by `Request::fit` and the length of a TCP message.
        let header = NamesHeader { length: answer.len() as u16, ..query };
        let message = [&header.encode(), answer.as_slice()].concat();
        if writer.write_all(&message).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use moat_protocol::names::{MIN_MESSAGE, Transport};
    use tokio::time::timeout;

    use super::*;
    use moat_network::dns::{Endpoint, Network};

    const PATIENCE: Duration = Duration::from_secs(60);

    struct Lonely;

    impl Directory for Lonely {
        fn networks(&self) -> Vec<Network> {
            let endpoint = Endpoint { names: vec!["box".to_owned()], addresses: vec![[10, 0, 0, 1].into()] };
            vec![Network { name: "net".to_owned(), internal: true, endpoints: vec![endpoint] }]
        }
    }

    /// Serves what `guest` says; returns what came of both.
    fn serving<T>(guest: impl AsyncFnOnce(UnixStream) -> T) -> (io::Result<()>, T) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let resolver = Rc::new(Resolver::new(Lonely, Servers::Fixed(Vec::new())));
        let both = async {
            let theirs = UnixStream::from_std(theirs).unwrap();
            tokio::join!(serve(ours, resolver), guest(theirs))
        };
        tokio::task::LocalSet::new().block_on(&runtime, async { timeout(PATIENCE, both).await.unwrap() })
    }

    /// Asks for the address of `box`.
    fn query(tag: u32) -> Vec<u8> {
        let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3];
        query.extend(b"box\0\0\x01\0\x01");
        let header = NamesHeader { tag, length: query.len() as u16, transport: Transport::Udp };
        [&header.encode(), query.as_slice()].concat()
    }

    async fn answer(guest: &mut UnixStream) -> (u32, Vec<u8>) {
        let (header, answer) = super::read(guest).await.unwrap().unwrap();
        (header.tag, answer)
    }

    #[test]
    fn each_query_is_answered_with_its_tag() {
        let (end, ()) = serving(async |mut guest: UnixStream| {
            for tag in [9, 4] {
                guest.write_all(&query(tag)).await.unwrap();
                let (of, answer) = answer(&mut guest).await;
                assert_eq!(of, tag);
                assert!(answer.ends_with(&[10, 0, 0, 1]));
            }
        });
        end.unwrap();
    }

    #[test]
    fn a_guest_that_does_not_read_is_read_no_further() {
        let (end, ()) = serving(async |mut guest: UnixStream| {
            let flood: Vec<u8> = (0..1000).flat_map(query).collect();
            let (mut reader, mut writer) = guest.split();
            let mut sent = 0;
            // Some of it stays in the socket: the monitor does not take it.
            while let Ok(count) =
                timeout(Duration::from_millis(200), writer.write(&flood[sent % flood.len()..])).await
            {
                sent += count.unwrap();
            }
            let whole = sent / query(0).len();
            for _ in 0..whole {
                super::read(&mut reader).await.unwrap().unwrap();
            }
        });
        end.unwrap();
    }

    #[test]
    fn what_is_no_query_ends_the_connection() {
        let too_long = NamesHeader { tag: 1, length: MAX_QUERY as u16 + 1, transport: Transport::Udp };
        let too_short = NamesHeader { tag: 1, length: MIN_MESSAGE as u16 - 1, transport: Transport::Udp };
        for nonsense in [too_long.encode(), too_short.encode(), [255; NAMES_HEADER]] {
            let (end, rest) = serving(async |mut guest: UnixStream| {
                guest.write_all(&nonsense).await.unwrap();
                guest.read(&mut [0; 1]).await.unwrap()
            });
            assert_eq!(rest, 0);
            assert!(end.unwrap_err().to_string().contains("broke the protocol"));
        }
        // Half a query and the end.
        let (end, ()) =
            serving(async |mut guest: UnixStream| guest.write_all(&query(1)[..20]).await.unwrap());
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
