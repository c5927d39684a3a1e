//! A guest's vsock driver for the tests, and the launcher's end of `dial`.

use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};
use vm_memory::{Bytes, GuestAddress};

use super::super::header::{HEADER_SIZE, HOST_CID, Header, TYPE_STREAM, op};
use super::super::{QUEUE_SIZES, Vsock};
use crate::virtio::testutil::Driver;

pub const CID: u32 = 7;
pub const RX: usize = 0;
pub const TX: usize = 1;

/// Room for payload in each receive buffer.
pub const RX_PAYLOAD: usize = 4096;
/// What the guest says of its own buffers unless a test says otherwise.
pub const GUEST_BUFFER: u32 = 256 << 10;

const RX_BASE: u64 = 0x20_0000;
const TX_BASE: u64 = 0x40_0000;
const RX_STRIDE: u64 = 0x2000;
const TX_STRIDE: u64 = 0x2_0000;

pub struct Guest {
    pub driver: Driver,
    pub launcher: Option<OwnedFd>,
    posted: usize,
    sent: usize,
    sending: usize,
    next_port: u32,
}

/// A connection as the guest keeps it.
pub struct Stream {
    pub guest_port: u32,
    pub host_port: u32,
    pub host: UnixStream,
    /// Sent by the guest, and what it heard of that.
    pub sent: u32,
    pub host_forwarded: u32,
    pub host_buffer: u32,
    /// Taken by the guest.
    pub received: u32,
    pub buffer: u32,
}

impl Guest {
    /// A guest whose receive queue is full of buffers.
    pub fn new() -> Self {
        let mut guest = Self::starved();
        guest.post(QUEUE_SIZES[RX].into());
        guest
    }

    /// A guest without receive buffers.
    pub fn starved() -> Self {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let driver = Driver::start(Vsock::new(CID, theirs).unwrap(), 0);
        Self { driver, launcher: Some(ours), posted: 0, sent: 0, sending: 0, next_port: 1000 }
    }

    /// Adds receive buffers.
    pub fn post(&mut self, count: usize) {
        for _ in 0..count {
            self.post_one();
        }
        self.driver.kick(RX);
    }

    fn post_one(&mut self) {
        let place = place(RX_BASE, RX_STRIDE, self.posted, RX);
        let length = (HEADER_SIZE + RX_PAYLOAD) as u32;
        self.driver.add_raw(RX, &[(place, length, true)]);
        self.posted += 1;
    }

    /// The next packet to the guest.
    pub fn next(&mut self) -> (Header, Vec<u8>) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(packet) = self.try_next() {
                return packet;
            }
            assert!(!self.driver.needs_reset(), "the device gave up");
            assert!(Instant::now() < deadline, "no packet");
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// The next packet, if there is one by now; its buffer is posted again.
    pub fn try_next(&mut self) -> Option<(Header, Vec<u8>)> {
        let packet = self.try_take()?;
        self.post(1);
        Some(packet)
    }

    /// As [`Guest::try_next`], without posting the buffer again.
    pub fn try_take(&mut self) -> Option<(Header, Vec<u8>)> {
        let (head, length) = self.driver.try_used(RX)?;
        let place = place(RX_BASE, RX_STRIDE, head.into(), RX);
        let mut bytes = vec![0; length as usize];
        self.driver.memory().read_slice(&mut bytes, GuestAddress(place)).unwrap();
        let payload = bytes.split_off(HEADER_SIZE);
        let header = Header::decode(bytes.as_slice().try_into().unwrap());
        assert_eq!(header.len as usize, payload.len());
        assert_eq!(header.dst_cid, u64::from(CID));
        Some((header, payload))
    }

    /// Asserts that nothing comes.
    pub fn quiet(&mut self) {
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(self.try_next(), None);
    }

    /// Sends a packet as it is.
    pub fn send(&mut self, header: &Header, payload: &[u8]) {
        while self.sending >= usize::from(QUEUE_SIZES[TX]) / 2 {
            self.driver.wait_used(TX);
            self.sending -= 1;
        }
        let bytes = [header.encode().as_slice(), payload].concat();
        assert!(bytes.len() as u64 <= TX_STRIDE);
        let place = place(TX_BASE, TX_STRIDE, self.sent, TX);
        self.driver.memory().write_slice(&bytes, GuestAddress(place)).unwrap();
        self.driver.add_raw(TX, &[(place, bytes.len() as u32, false)]);
        self.driver.kick(TX);
        self.sent += 1;
        self.sending += 1;
    }

    /// Waits until the device has looked at everything that was sent.
    pub fn settle(&mut self) {
        while self.sending > 0 {
            self.driver.wait_used(TX);
            self.sending -= 1;
        }
    }

    /// A packet of no connection.
    pub fn stray(&self) -> Header {
        Header {
            src_cid: CID.into(),
            dst_cid: HOST_CID,
            src_port: 1,
            dst_port: 1,
            kind: TYPE_STREAM,
            op: op::RW,
            ..Header::default()
        }
    }

    /// The device reset and activated again, with receive buffers.
    pub fn restart(self) -> Self {
        let Self { driver, launcher, next_port, .. } = self;
        let mut guest =
            Self { driver: driver.restart(), launcher, posted: 0, sent: 0, sending: 0, next_port };
        guest.post(QUEUE_SIZES[RX].into());
        guest
    }

    /// A packet that asks for a connection to `port`, from a new port.
    pub fn request(&mut self, port: u32) -> Header {
        self.next_port += 1;
        let header = Header {
            src_cid: CID.into(),
            dst_cid: HOST_CID,
            src_port: self.next_port,
            dst_port: port,
            kind: TYPE_STREAM,
            op: op::REQUEST,
            buf_alloc: GUEST_BUFFER,
            ..Header::default()
        };
        self.send(&header, &[]);
        header
    }

    /// What the launcher got: the port and the descriptor.
    pub fn dialled(&self) -> (u32, UnixStream) {
        let mut port = [0; 8];
        let mut space = nix::cmsg_space!([i32; 2]);
        let mut parts = [IoSliceMut::new(&mut port)];
        let launcher = self.launcher.as_ref().unwrap().as_raw_fd();
        let message =
            recvmsg::<()>(launcher, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
        let fds: Vec<_> = message
            .cmsgs()
            .unwrap()
            .flat_map(|part| match part {
                ControlMessageOwned::ScmRights(fds) => fds,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!((message.bytes, fds.len()), (4, 1));
        // SAFETY: recvmsg has just made this descriptor, and nothing else knows its number.
        let host = UnixStream::from(unsafe { OwnedFd::from_raw_fd(fds[0]) });
        host.set_nonblocking(false).unwrap();
        (u32::from_le_bytes(port[..4].try_into().unwrap()), host)
    }

    /// An open connection to `port`.
    pub fn connect(&mut self, port: u32) -> Stream {
        let request = self.request(port);
        let (dialled, host) = self.dialled();
        assert_eq!(dialled, port);
        let (answer, _) = self.next();
        assert_eq!((answer.op, answer.src_port, answer.dst_port), (op::RESPONSE, port, request.src_port));
        Stream {
            guest_port: request.src_port,
            host_port: port,
            host,
            sent: 0,
            host_forwarded: answer.fwd_cnt,
            host_buffer: answer.buf_alloc,
            received: 0,
            buffer: GUEST_BUFFER,
        }
    }

    /// Sends a packet of `stream`.
    pub fn say(&mut self, stream: &mut Stream, op: u16, flags: u32, payload: &[u8]) {
        let header = Header { op, flags, len: payload.len() as u32, ..stream.header() };
        stream.sent = stream.sent.wrapping_add(header.len);
        self.send(&header, payload);
    }
}

impl Stream {
    /// A header of the guest with nothing in it yet.
    pub fn header(&self) -> Header {
        Header {
            src_cid: CID.into(),
            dst_cid: HOST_CID,
            src_port: self.guest_port,
            dst_port: self.host_port,
            kind: TYPE_STREAM,
            buf_alloc: self.buffer,
            fwd_cnt: self.received,
            ..Header::default()
        }
    }

    /// How much the guest may send.
    pub fn credit(&self) -> usize {
        (self.host_buffer - self.sent.wrapping_sub(self.host_forwarded)) as usize
    }

    /// Notes what a packet says of the credit; gives the operation back.
    pub fn note(&mut self, header: &Header) -> u16 {
        assert_eq!((header.src_port, header.dst_port), (self.host_port, self.guest_port));
        self.host_forwarded = header.fwd_cnt;
        self.host_buffer = header.buf_alloc;
        header.op
    }

    /// Everything that the host can still read.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.host.read_to_end(&mut bytes).unwrap();
        bytes
    }
}

/// One descriptor per chain, so they are taken in turn and tell the place of the buffer.
fn place(base: u64, stride: u64, count: usize, queue: usize) -> u64 {
    base + (count % usize::from(QUEUE_SIZES[queue])) as u64 * stride
}

/// Bytes that look different everywhere.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let step = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}
