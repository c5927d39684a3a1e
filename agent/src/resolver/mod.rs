//! The container's name server: programs ask 127.0.0.11, and the host answers. The agent passes messages on and reads
//! no DNS.
//!
//! Its memory is bounded. With [`MAX_PENDING`] queries pending no other is read until one is answered, and the kernel
//! drops what does not fit in the sockets' buffers. The host answers every query within a bounded time, so there are no
//! timers here. When too many connections are open, the oldest is closed.

mod client;
mod link;
mod redirect;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use moat_netlink::Socket;
use moat_protocol::names::{MAX_PENDING, MAX_QUERY, MIN_MESSAGE, NamesHeader, Transport};
use moat_protocol::{RESOLVER, Stream, StreamToken};

use crate::dial::Dial;
use crate::failure::{Context, Failure};
use crate::kmsg;
use crate::process::connect;
use crate::sys::poll::{self, Events};
use client::Client;
use link::Link;

/// How many programs may be connected over TCP.
const MAX_CLIENTS: usize = 16;

/// The program that waits for an answer.
#[derive(Debug, Clone, Copy)]
enum Asker {
    Udp(SocketAddr),
    /// The client with this number.
    Tcp(u32),
}

/// The name server.
pub struct Resolver {
    host: Link,
    udp: UdpSocket,
    tcp: TcpListener,
    /// The oldest first.
    clients: Vec<Client>,
    /// At most [`MAX_PENDING`], by tag.
    pending: Vec<(u32, Asker)>,
    last_tag: u32,
    last_client: u32,
    /// The rules that redirect port 53 live as long as this socket.
    _rules: Socket,
}

/// The parts of it that can be waited on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The connection to the host.
    Host,
    /// The datagram socket.
    Udp,
    /// The listening socket.
    Tcp,
    /// The client with this number.
    Client(u32),
}

impl Resolver {
    /// Connects to the host and begins to listen in the network namespace of the caller.
    ///
    /// # Errors
    /// When the host does not answer, or the kernel refuses.
    pub fn start(dialer: &dyn Dial, token: &StreamToken) -> Result<Self, Failure> {
        let what = format!("cannot listen for DNS queries on {RESOLVER}");
        // Any port, because 53 is left to the container, see `redirect`.
        let udp = UdpSocket::bind((RESOLVER, 0)).context(&what)?;
        let tcp = TcpListener::bind((RESOLVER, 0)).context(&what)?;
        udp.set_nonblocking(true).context(&what)?;
        tcp.set_nonblocking(true).context(&what)?;
        let port = |address: io::Result<SocketAddr>| address.map(|it| it.port()).context(&what);
        let rules = redirect::install(port(udp.local_addr())?, port(tcp.local_addr())?)
            .context("cannot redirect DNS queries to the agent")?;
        let host = Link::new(connect(dialer, Stream::Names, token)?).context(&what)?;
        Ok(Self {
            host,
            udp,
            tcp,
            clients: Vec::new(),
            pending: Vec::new(),
            last_tag: 0,
            last_client: 0,
            _rules: rules,
        })
    }

    /// The descriptors to wait on.
    pub fn interests(&self) -> impl Iterator<Item = (Part, BorrowedFd<'_>, Events)> {
        let takes_more = self.takes_more();
        let udp = takes_more.then(|| (Part::Udp, self.udp.as_fd(), poll::IN));
        let clients = self
            .clients
            .iter()
            .map(move |client| (Part::Client(client.id), client.as_fd(), client.interest(takes_more)));
        [(Part::Host, self.host.as_fd(), self.host.interest()), (Part::Tcp, self.tcp.as_fd(), poll::IN)]
            .into_iter()
            .chain(udp)
            .chain(clients)
    }

    /// Reads and writes what is possible after `events` at a part. Returns whether the name server still works.
    pub fn pump(&mut self, part: Part, events: Events, buffer: &mut [u8]) -> bool {
        let done = match part {
            Part::Host => self.host.flush().and_then(|()| self.take_answers()),
            Part::Udp => self.take_datagram(buffer),
            Part::Tcp => self.take_client(),
            Part::Client(id) => self.serve(id, events),
        };
        if let Err(error) = &done {
            kmsg::log(format_args!("the container cannot look names up any more: {error}"));
        }
        done.is_ok()
    }

    fn takes_more(&self) -> bool {
        self.pending.len() < MAX_PENDING && self.host.has_room()
    }

    fn take_datagram(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        // A query that is too large arrives with one byte too many, and is dropped.
        let room = buffer.len().min(MAX_QUERY + 1);
        match self.udp.recv_from(&mut buffer[..room]) {
            Ok((length, from)) if self.takes_more() => self.ask(Asker::Udp(from), &buffer[..length]),
            // The error of an earlier answer whose program was gone, or no datagram after all.
            _ => Ok(()),
        }
    }

    fn take_client(&mut self) -> io::Result<()> {
        let Ok((stream, _)) = self.tcp.accept() else { return Ok(()) };
        if stream.set_nonblocking(true).is_err() {
            return Ok(());
        }
        if self.clients.len() >= MAX_CLIENTS {
            self.clients.remove(0);
        }
        self.last_client = self.last_client.wrapping_add(1);
        self.clients.push(Client::new(self.last_client, stream));
        Ok(())
    }

    fn serve(&mut self, id: u32, events: Events) -> io::Result<()> {
        let takes_more = self.takes_more();
        let Some(at) = self.clients.iter().position(|client| client.id == id) else { return Ok(()) };
        match self.clients[at].advance(events, takes_more) {
            Ok(Some(query)) => self.ask(Asker::Tcp(id), &query),
            Ok(None) => Ok(()),
            Err(_) => {
                self.clients.remove(at);
                Ok(())
            }
        }
    }

    fn ask(&mut self, asker: Asker, query: &[u8]) -> io::Result<()> {
        if !(MIN_MESSAGE..=MAX_QUERY).contains(&query.len()) {
            return Ok(());
        }
        let transport = match asker {
            Asker::Udp(_) => Transport::Udp,
            Asker::Tcp(_) => Transport::Tcp,
        };
        self.last_tag = self.last_tag.wrapping_add(1);
        self.pending.push((self.last_tag, asker));
        // MAX_QUERY fits.
        let header = NamesHeader { tag: self.last_tag, length: query.len() as u16, transport };
        self.host.send(header, query)
    }

    fn take_answers(&mut self) -> io::Result<()> {
        while let Some((header, answer)) = self.host.receive()? {
            let Some(at) = self.pending.iter().position(|(tag, _)| *tag == header.tag) else { continue };
            match self.pending.swap_remove(at).1 {
                // If the answer is lost, the program asks again, as over any network.
                Asker::Udp(to) => drop(self.udp.send_to(&answer, to)),
                Asker::Tcp(id) => {
                    if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
                        client.answer(&answer);
                    }
                }
            }
        }
        Ok(())
    }
}
