//! The table of connections. A packet from the guest goes to its connection, and each connection gets its turn to send to
//! the guest.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use vmm_sys_util::epoll::EventSet;

use super::connection::{Connection, Packet, Violation};
use super::dial;
use super::header::{HEADER_SIZE, HOST_CID, Header, TYPE_STREAM, op};
use crate::log;
use crate::virtio::buffers::Span;
use crate::virtio::error::Fault;
use crate::virtio::worker::Events;

/// Connections at a time, those included whose last bytes the host has not read. A container needs one per stream of
/// its processes. Times [`super::connection::BUFFER_SIZE`] this bounds what a guest can make the VMM keep, 32 MiB,
/// and it bounds the descriptors.
pub const MAX_CONNECTIONS: usize = 512;

/// RST packets that wait for room in the receive queue. A driver keeps that queue filled; a driver that does not, and goes
/// on causing them, loses the rest.
pub const MAX_RESETS: usize = 1024;

/// Tokens below belong to the queues.
pub const FIRST_CONNECTION: u64 = 16;

/// A socket is reported once per change; [`Connection`] remembers what it has not acted on. Waiting for room to write
/// comes on top only while there is a backlog.
const ALWAYS: EventSet = EventSet::IN.union(EventSet::READ_HANG_UP).union(EventSet::EDGE_TRIGGERED);

struct Entry {
    connection: Connection,
    /// In [`Switch::turns`].
    queued: bool,
    /// Waits for room to write.
    writing: bool,
}

/// The table of connections.
pub struct Switch {
    guest_cid: u64,
    dial: Arc<OwnedFd>,
    /// By token; tokens are not used twice, so that a late event finds nothing.
    entries: BTreeMap<u64, Entry>,
    /// By guest port and host port, except those that the guest has forgotten.
    ports: BTreeMap<(u32, u32), u64>,
    next: u64,
    /// The connections that have something for the guest, each once, in the order of their turns.
    turns: VecDeque<u64>,
    /// RST packets that the guest has to get.
    resets: VecDeque<Header>,
}

impl Switch {
    /// No connections.
    pub fn new(guest_cid: u64, dial: Arc<OwnedFd>) -> Self {
        Self {
            guest_cid,
            dial,
            entries: BTreeMap::new(),
            ports: BTreeMap::new(),
            next: FIRST_CONNECTION,
            turns: VecDeque::new(),
            resets: VecDeque::new(),
        }
    }

    /// Whether there is something for the guest.
    pub fn has_work(&self) -> bool {
        !self.turns.is_empty() || !self.resets.is_empty()
    }

    /// A packet from the guest.
    ///
    /// # Errors
    /// When it is no packet at all, or the host's event machinery fails.
    pub fn packet(&mut self, mut bytes: Span<'_>, events: &Events) -> Result<(), Fault> {
        let mut header = [0; HEADER_SIZE];
        if bytes.read(&mut header) < HEADER_SIZE {
            return Err(Fault::Guest("a vsock packet shorter than its header"));
        }
        let header = Header::decode(&header);
        let mut payload = bytes.take(header.len.into());
        if header.src_cid != self.guest_cid {
            log::guest(format_args!(
                "vsock: dropped a packet from CID {}, which is not the guest's",
                header.src_cid
            ));
            return Ok(());
        }
        if header.dst_cid != HOST_CID || header.kind != TYPE_STREAM {
            return self.refuse(&header, events, Violation::Address);
        }
        if payload.len() != u64::from(header.len) {
            return self.refuse(&header, events, Violation::Payload);
        }
        match self.ports.get(&(header.src_port, header.dst_port)).copied() {
            Some(id) => self.known(id, &header, &mut payload, events),
            None => self.unknown(&header, events),
        }
    }

    fn unknown(&mut self, header: &Header, events: &Events) -> Result<(), Fault> {
        match header.op {
            op::REQUEST => self.connect(header, events),
            op::RST => {
                // The guest gave up: an RST that still waits would end the next connection from that port.
                self.resets
                    .retain(|reset| (reset.dst_port, reset.src_port) != (header.src_port, header.dst_port));
                Ok(())
            }
            _ => {
                self.reset(header);
                Ok(())
            }
        }
    }

    fn connect(&mut self, header: &Header, events: &Events) -> Result<(), Fault> {
        if self.entries.len() >= MAX_CONNECTIONS {
            log::guest(format_args!("vsock: refused a connection: {MAX_CONNECTIONS} are open"));
            self.reset(header);
            return Ok(());
        }
        let socket = match dial::open(self.dial.as_fd(), header.dst_port) {
            Ok(socket) => socket,
            Err(error) => {
                log::guest(format_args!("vsock: refused a connection to port {}: {error}", header.dst_port));
                self.reset(header);
                return Ok(());
            }
        };
        let id = self.next;
        self.next += 1;
        events.add(socket.as_fd(), id, ALWAYS)?;
        let connection = Connection::new(socket, header);
        self.ports.insert(connection.ports(), id);
        self.entries.insert(id, Entry { connection, queued: false, writing: false });
        self.settle(id, events)
    }

    fn known(
        &mut self,
        id: u64,
        header: &Header,
        payload: &mut Span<'_>,
        events: &Events,
    ) -> Result<(), Fault> {
        let Some(Entry { connection, .. }) = self.entries.get_mut(&id) else { return Ok(()) };
        connection.hear(header);
        let outcome = match header.op {
            op::RW => connection.take(payload),
            op::SHUTDOWN => {
                connection.shut_down(header.flags);
                Ok(())
            }
            op::CREDIT_REQUEST => {
                connection.credit_requested();
                Ok(())
            }
            op::CREDIT_UPDATE => Ok(()),
            op::RST => {
                self.detach(id);
                Ok(())
            }
            _ => Err(Violation::Operation),
        };
        match outcome {
            Ok(()) => self.settle(id, events),
            Err(violation) => self.refuse(header, events, violation),
        }
    }

    /// Ends the connection that the packet belongs to.
    fn refuse(&mut self, header: &Header, events: &Events, why: Violation) -> Result<(), Fault> {
        log::guest(format_args!("vsock: the guest {why}: ports {} to {}", header.src_port, header.dst_port));
        if header.op != op::RST {
            self.reset(header);
        }
        let here = header.dst_cid == HOST_CID && header.kind == TYPE_STREAM;
        match self.ports.get(&(header.src_port, header.dst_port)).copied() {
            Some(id) if here => {
                self.detach(id);
                self.settle(id, events)
            }
            _ => Ok(()),
        }
    }

    /// Answers a packet with RST, from the address that it was sent to.
    fn reset(&mut self, header: &Header) {
        self.push_reset(Header {
            src_cid: header.dst_cid,
            dst_cid: self.guest_cid,
            src_port: header.dst_port,
            dst_port: header.src_port,
            kind: header.kind,
            op: op::RST,
            ..Header::default()
        });
    }

    fn push_reset(&mut self, reset: Header) {
        if self.resets.len() < MAX_RESETS {
            self.resets.push_back(reset);
        } else {
            log::guest(format_args!("vsock: the guest does not take its packets"));
        }
    }

    fn detach(&mut self, id: u64) {
        if let Some(Entry { connection, .. }) = self.entries.get_mut(&id) {
            connection.detach();
            self.ports.remove(&connection.ports());
        }
    }

    /// A socket has news.
    ///
    /// # Errors
    /// When the host's event machinery fails.
    pub fn socket(&mut self, id: u64, ready: EventSet, events: &Events) -> Result<(), Fault> {
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(()) };
        entry.connection.ready(ready);
        self.settle(id, events)
    }

    /// Brings the table in line with what a connection has become.
    fn settle(&mut self, id: u64, events: &Events) -> Result<(), Fault> {
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(()) };
        if entry.connection.finished() {
            self.close(id);
            return Ok(());
        }
        if entry.connection.wants_to_write() != entry.writing {
            entry.writing = !entry.writing;
            let interest = if entry.writing { ALWAYS | EventSet::OUT } else { ALWAYS };
            // Registers anew, so room that came since the last write is reported.
            events.modify(entry.connection.socket(), id, interest)?;
        }
        if entry.connection.wants_turn() && !entry.queued {
            entry.queued = true;
            self.turns.push_back(id);
        }
        Ok(())
    }

    fn close(&mut self, id: u64) {
        let Some(mut entry) = self.entries.remove(&id) else { return };
        if entry.queued {
            self.turns.retain(|queued| *queued != id);
        }
        if !entry.connection.detached() {
            self.ports.remove(&entry.connection.ports());
            let reset = entry.connection.header(self.guest_cid, Packet { op: op::RST, flags: 0, len: 0 });
            self.push_reset(reset);
        }
        // The socket is the only descriptor of its description, so closing it ends the waiting too.
    }

    /// Writes the next packet for the guest into `room`, which has more than a header's room; tells how long it is.
    ///
    /// # Errors
    /// When the host's event machinery fails.
    pub fn fill(&mut self, mut room: Span<'_>, events: &Events) -> Result<Option<u32>, Fault> {
        let mut front = room.take(HEADER_SIZE as u64);
        loop {
            if let Some(reset) = self.resets.pop_front() {
                front.write(&reset.encode());
                return Ok(Some(HEADER_SIZE as u32));
            }
            let Some(id) = self.turns.pop_front() else { return Ok(None) };
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.queued = false;
            let packet = entry.connection.turn(&room);
            let header = packet.map(|packet| entry.connection.header(self.guest_cid, packet));
            // Behind all others, if there is more.
            self.settle(id, events)?;
            if let Some(header) = header {
                front.write(&header.encode());
                return Ok(Some(HEADER_SIZE as u32 + header.len));
            }
        }
    }
}
