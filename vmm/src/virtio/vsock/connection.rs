//! One connection: a stream of the guest joined to a unix socket of the host.
//!
//! The two directions end on their own, and each end can come from either side:
//!
//! | direction     | ends when                                              | and then                                |
//! |---------------|--------------------------------------------------------|-----------------------------------------|
//! | guest to host | the guest sends SHUTDOWN(send) and the backlog is empty | the socket is shut down for writing      |
//! |               | the host closed or shut down reading (EPIPE, HUP)      | the guest hears SHUTDOWN(receive)        |
//! | host to guest | the socket is at its end                               | the guest hears SHUTDOWN(send)           |
//! |               | the guest sends SHUTDOWN(receive)                      | the socket is shut down for reading      |
//!
//! When both have ended the guest hears RST and the socket is closed.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use vm_memory::{ReadVolatile, VolatileMemoryError, WriteVolatile};
use vmm_sys_util::epoll::EventSet;

use super::header::{HOST_CID, Header, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, TYPE_STREAM, op};
use crate::virtio::buffers::Span;

/// The credit that the guest has on each connection, in bytes, and so the most that the VMM keeps when the host does not
/// read. It is the largest packet that Linux makes, so that one fits when nothing is kept. Normally the bytes go straight
/// on to the socket, and the credit only limits how far the guest runs ahead of its interrupts.
pub const BUFFER_SIZE: u32 = 64 << 10;

/// The guest hears of new credit after so many bytes, or earlier, with the next packet that it gets.
const CREDIT_STEP: u32 = BUFFER_SIZE / 2;

/// What the guest did that ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// It sent after SHUTDOWN(send).
    #[error("sends after it said that it would not")]
    AfterEnd,
    /// It sent more than it may.
    #[error("sends more than it has credit for")]
    Credit,
    /// It sent an operation that opens or answers a connection.
    #[error("sends what does not belong to an open connection")]
    Operation,
    /// It sent to another CID than the host's, or another type than stream.
    #[error("sends a packet to another CID or of another type than stream")]
    Address,
    /// The packet ends before its payload does.
    #[error("sends a packet with less payload than it says")]
    Payload,
}

/// The packet that a connection sends in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// One of [`op`].
    pub op: u16,
    /// The flags of the operation.
    pub flags: u32,
    /// Bytes that are already in the payload's place.
    pub len: u32,
}

impl Packet {
    fn control(op: u16, flags: u32) -> Self {
        Self { op, flags, len: 0 }
    }
}

enum Read {
    Bytes(u32),
    Nothing,
    End,
}

/// One connection.
pub struct Connection {
    socket: UnixStream,
    guest_port: u32,
    host_port: u32,

    /// Bytes from the guest that the socket did not take yet.
    backlog: Vec<u8>,
    /// Bytes from the guest since the beginning, and how many of them left the backlog or never came in, wrapping.
    received: u32,
    forwarded: u32,
    /// The count of forwarded bytes that the guest heard last.
    told: u32,
    /// The guest will send no more.
    guest_finished: bool,
    /// The host will read no more.
    host_deaf: bool,

    /// Bytes to the guest since the beginning, wrapping.
    sent: u32,
    /// The guest's buffer, and how many bytes have left it, as the guest says: both may be wrong.
    peer_buffer: u32,
    peer_forwarded: u32,
    /// The socket may have something to read.
    readable: bool,
    /// The socket is at its end.
    host_finished: bool,
    /// The guest will read no more.
    guest_deaf: bool,

    /// The guest waits for the answer to its request.
    answer_due: bool,
    /// The guest asked how much it may send.
    credit_due: bool,
    /// The guest was asked how much it can take, and has said nothing since.
    credit_asked: bool,
    /// What of SHUTDOWN the guest has to hear, and has heard.
    shutdown_due: u32,
    shutdown_told: u32,
    /// The guest knows nothing of this connection any more; only the backlog keeps it.
    detached: bool,
}

impl Connection {
    /// The connection that `request` asks for.
    pub fn new(socket: UnixStream, request: &Header) -> Self {
        Self {
            socket,
            guest_port: request.src_port,
            host_port: request.dst_port,
            backlog: Vec::new(),
            received: 0,
            forwarded: 0,
            told: 0,
            guest_finished: false,
            host_deaf: false,
            sent: 0,
            peer_buffer: request.buf_alloc,
            peer_forwarded: request.fwd_cnt,
            readable: false,
            host_finished: false,
            guest_deaf: false,
            answer_due: true,
            credit_due: false,
            credit_asked: false,
            shutdown_due: 0,
            shutdown_told: 0,
            detached: false,
        }
    }

    /// The ports: the guest's and the host's.
    pub fn ports(&self) -> (u32, u32) {
        (self.guest_port, self.host_port)
    }

    /// The socket, to wait for.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the socket has to be waited for until it takes more.
    pub fn wants_to_write(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Whether the guest has forgotten the connection.
    pub fn detached(&self) -> bool {
        self.detached
    }

    /// Whether both directions have ended.
    pub fn finished(&self) -> bool {
        let to_guest = self.host_finished || self.guest_deaf;
        let to_host = self.host_deaf || (self.guest_finished && self.backlog.is_empty());
        to_guest && to_host && (self.detached || !self.answer_due)
    }

    /// Whether there is something for the guest.
    pub fn wants_turn(&self) -> bool {
        !self.detached
            && (self.answer_due
                || self.shutdown_due != self.shutdown_told
                || self.credit_is_due()
                || (self.may_read() && (self.credit() > 0 || !self.credit_asked)))
    }

    /// Learns what every packet of the guest says about its buffer.
    pub fn hear(&mut self, header: &Header) {
        self.peer_buffer = header.buf_alloc;
        self.peer_forwarded = header.fwd_cnt;
        self.credit_asked = false;
    }

    /// The guest asks how much it may send.
    pub fn credit_requested(&mut self) {
        self.credit_due = true;
    }

    /// Takes bytes from the guest: into the socket, and what that does not take into the backlog.
    pub fn take(&mut self, payload: &mut Span<'_>) -> Result<(), Violation> {
        if self.guest_finished {
            return Err(Violation::AfterEnd);
        }
        let room = BUFFER_SIZE - self.received.wrapping_sub(self.told);
        let length = u32::try_from(payload.len()).ok().filter(|length| *length <= room);
        let Some(length) = length else { return Err(Violation::Credit) };
        self.received = self.received.wrapping_add(length);
        if self.backlog.is_empty() {
            self.pass_on(payload);
        }
        let rest = payload.len() as usize;
        if self.host_deaf {
            self.forwarded = self.forwarded.wrapping_add(rest as u32);
        } else if rest > 0 {
            let kept = self.backlog.len();
            self.backlog.reserve_exact(rest);
            self.backlog.resize(kept + rest, 0);
            payload.read(&mut self.backlog[kept..]);
        }
        Ok(())
    }

    fn pass_on(&mut self, payload: &mut Span<'_>) {
        while !self.host_deaf
            && let Some(slice) = payload.slices().first()
        {
            match self.socket.write_volatile(slice) {
                Ok(count) => {
                    self.forwarded = self.forwarded.wrapping_add(count as u32);
                    payload.take(count as u64);
                }
                Err(error) if would_block(&error) => break,
                Err(_) => self.host_is_deaf(),
            }
        }
    }

    /// The socket has news.
    pub fn ready(&mut self, events: EventSet) {
        if events.intersects(EventSet::IN | EventSet::READ_HANG_UP | EventSet::HANG_UP | EventSet::ERROR) {
            self.readable = true;
        }
        if events.contains(EventSet::HANG_UP) {
            self.host_is_deaf();
        }
        self.drain();
    }

    fn drain(&mut self) {
        while !self.backlog.is_empty() {
            match self.socket.write(&self.backlog) {
                Ok(count) => {
                    self.forwarded = self.forwarded.wrapping_add(count as u32);
                    self.backlog.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.host_is_deaf(),
            }
        }
        self.drained();
    }

    /// The backlog is empty.
    fn drained(&mut self) {
        // Most connections never need one, so none keeps its memory.
        self.backlog = Vec::new();
        if self.guest_finished {
            // Fails only when the host is gone; then no reader waits for the end.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
    }

    fn host_is_deaf(&mut self) {
        self.forwarded = self.forwarded.wrapping_add(self.backlog.len() as u32);
        self.backlog = Vec::new();
        self.host_deaf = true;
        self.shutdown_due |= SHUTDOWN_RECEIVE;
    }

    /// The guest ends one or both directions.
    pub fn shut_down(&mut self, flags: u32) {
        if flags & SHUTDOWN_RECEIVE != 0 {
            self.guest_deaf = true;
            let _ = self.socket.shutdown(Shutdown::Read);
        }
        if flags & SHUTDOWN_SEND != 0 {
            self.guest_finished = true;
            if self.backlog.is_empty() {
                self.drained();
            }
        }
    }

    /// Forgets the guest's end: the guest has done so, or is told to. What it sent before still reaches the host.
    pub fn detach(&mut self) {
        self.detached = true;
        self.shut_down(SHUTDOWN_SEND | SHUTDOWN_RECEIVE);
    }

    /// Takes its turn: returns the packet for the guest, if there is one. Its payload goes into `room`, which is not empty.
    pub fn turn(&mut self, room: &Span<'_>) -> Option<Packet> {
        if self.detached {
            return None;
        }
        if std::mem::take(&mut self.answer_due) {
            return Some(Packet::control(op::RESPONSE, 0));
        }
        if self.may_read() {
            let credit = self.credit();
            if credit > 0 {
                match self.read(room, credit) {
                    Read::Bytes(len) => {
                        self.sent = self.sent.wrapping_add(len);
                        return Some(Packet { op: op::RW, flags: 0, len });
                    }
                    Read::Nothing => self.readable = false,
                    Read::End => {
                        self.host_finished = true;
                        self.shutdown_due |= SHUTDOWN_SEND;
                    }
                }
            } else if !std::mem::replace(&mut self.credit_asked, true) {
                return Some(Packet::control(op::CREDIT_REQUEST, 0));
            }
        }
        if self.finished() {
            // The RST that follows at once ends both directions.
            return None;
        }
        if self.shutdown_due != self.shutdown_told {
            self.shutdown_told = self.shutdown_due;
            return Some(Packet::control(op::SHUTDOWN, self.shutdown_due));
        }
        self.credit_is_due().then(|| Packet::control(op::CREDIT_UPDATE, 0))
    }

    /// The header of a packet that is about to be sent.
    pub fn header(&mut self, guest_cid: u64, packet: Packet) -> Header {
        self.told = self.forwarded;
        self.credit_due = false;
        Header {
            src_cid: HOST_CID,
            dst_cid: guest_cid,
            src_port: self.host_port,
            dst_port: self.guest_port,
            len: packet.len,
            kind: TYPE_STREAM,
            op: packet.op,
            flags: packet.flags,
            buf_alloc: BUFFER_SIZE,
            fwd_cnt: self.forwarded,
        }
    }

    fn may_read(&self) -> bool {
        self.readable && !self.host_finished && !self.guest_deaf
    }

    fn credit_is_due(&self) -> bool {
        self.credit_due || (!self.guest_finished && self.forwarded.wrapping_sub(self.told) >= CREDIT_STEP)
    }

    /// How many bytes the guest can take; nothing when it contradicts itself.
    fn credit(&self) -> u32 {
        self.peer_buffer.saturating_sub(self.sent.wrapping_sub(self.peer_forwarded))
    }

    fn read(&mut self, room: &Span<'_>, limit: u32) -> Read {
        let mut done = 0;
        for slice in room.slices() {
            let wanted = slice.len().min((limit - done) as usize);
            // In bounds by the line before.
            let Ok(mut part) = slice.subslice(0, wanted) else { break };
            if wanted == 0 {
                break;
            }
            match self.socket.read_volatile(&mut part) {
                Ok(0) if done == 0 => return Read::End,
                Ok(count) => {
                    done += count as u32;
                    if count < wanted {
                        break;
                    }
                }
                Err(error) if would_block(&error) => {
                    self.readable = false;
                    break;
                }
                // The host closed with bytes of the guest unread; all that it wrote has been read by now.
                Err(_) if done == 0 => return Read::End,
                Err(_) => break,
            }
        }
        if done == 0 { Read::Nothing } else { Read::Bytes(done) }
    }
}

fn would_block(error: &VolatileMemoryError) -> bool {
    matches!(error, VolatileMemoryError::IOError(error) if error.kind() == ErrorKind::WouldBlock)
}
