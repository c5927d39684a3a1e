//! The name servers outside: the host's, or those of `--dns`.
//!
//! Each question goes out from a socket of its own, so that its port is as hard to guess as its id, and what comes back is
//! taken only from the server that was asked and only with the question that it answers. Over UDP first, over TCP when
//! the answer does not fit. The host's /etc/resolv.conf is read again when it changes.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message::{Answer, Request};
use super::resolv_conf::{ResolvConf, fallback};

/// How long one server may take for one answer.
const ATTEMPT: Duration = Duration::from_secs(3);

/// How long the whole of it may take. A program's C library asks again after five seconds and gives up after ten.
const LIMIT: Duration = Duration::from_secs(10);

/// How often each server is asked.
const ROUNDS: usize = 2;

/// The largest datagram that is received, in bytes.
const DATAGRAM: usize = 4096;

/// Whom to ask.
#[derive(Debug, Clone)]
pub enum Servers {
    /// These, as `--dns` has it.
    Fixed(Vec<SocketAddr>),
    /// Those of a file such as the host's /etc/resolv.conf, as it is at the moment.
    File(PathBuf),
}

/// What tells one state of a file from another.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Asks name servers.
pub struct Upstream {
    servers: Servers,
    read: RefCell<Option<(Stamp, Vec<SocketAddr>)>>,
}

impl Upstream {
    /// Asks `servers`.
    pub fn new(servers: Servers) -> Self {
        Self { servers, read: RefCell::new(None) }
    }

    /// The answer to a request, unless no server has one within the limits.
    pub async fn ask(&self, request: &Request) -> Option<Vec<u8>> {
        let mut second_best = None;
        let asked = timeout(LIMIT, self.ask_all(request, &mut second_best)).await;
        asked.ok().flatten().or(second_best)
    }

    async fn ask_all(&self, request: &Request, second_best: &mut Option<Vec<u8>>) -> Option<Vec<u8>> {
        let servers = self.servers();
        for _ in 0..ROUNDS {
            for server in &servers {
                let Ok(Ok((answer, bytes))) = timeout(ATTEMPT, attempt(*server, request)).await else {
                    continue;
                };
                match answer.code {
                    ResponseCode::NoError | ResponseCode::NXDomain => return Some(bytes),
                    // Another one may know better.
                    _ => *second_best = Some(bytes),
                }
            }
            if second_best.is_some() {
                break;
            }
        }
        None
    }

    /// Whom to ask now.
    pub(super) fn servers(&self) -> Vec<SocketAddr> {
        let path = match &self.servers {
            Servers::Fixed(servers) => return servers.clone(),
            Servers::File(path) => path,
        };
        let stamp = fs::metadata(path).ok().map(|it| (it.ino(), it.size(), it.mtime(), it.mtime_nsec()));
        let mut read = self.read.borrow_mut();
        if let Some((of, servers)) = &*read
            && *of == stamp
        {
            return servers.clone();
        }
        let mut servers = ResolvConf::read(path).unwrap_or_default().servers;
        if servers.is_empty() {
            servers.push(fallback());
        }
        *read = Some((stamp, servers.clone()));
        servers
    }
}

async fn attempt(server: SocketAddr, request: &Request) -> io::Result<(Answer, Vec<u8>)> {
    let found = ask_by_datagram(server, request).await?;
    if !found.0.truncated {
        return Ok(found);
    }
    // A server without TCP leaves the program with what it said first.
    Ok(ask_by_stream(server, request).await.unwrap_or(found))
}

async fn ask_by_datagram(server: SocketAddr, request: &Request) -> io::Result<(Answer, Vec<u8>)> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // The kernel picks the port at random, and lets nothing in that the server has not sent.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id = random_id()?;
    socket.send(&request.for_upstream(id)).await?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = request.check(&buffer[..length], id) {
            buffer.truncate(length);
            return Ok((answer, buffer));
        }
    }
}

async fn ask_by_stream(server: SocketAddr, request: &Request) -> io::Result<(Answer, Vec<u8>)> {
    let mut stream = TcpStream::connect(server).await?;
    let id = random_id()?;
    let query = request.for_upstream(id);
    // A question is never that long.
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query.as_slice()].concat()).await?;
    let mut buffer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut buffer).await?;
    let answer = request.check(&buffer, id).ok_or(io::ErrorKind::InvalidData)?;
    Ok((answer, buffer))
}

fn random_id() -> io::Result<u16> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    Ok(u16::from_ne_bytes(id))
}
