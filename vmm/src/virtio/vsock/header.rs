//! The packet header (virtio 1.2, section 5.10.6). The decoder is not rust-vmm's `VsockPacket`, which wants
//! a payload in one descriptor: Linux spreads large and zero-copy payloads over several. A test compares the two.

/// Bytes of a header; the payload follows.
pub const HEADER_SIZE: usize = 44;

/// The host's context id.
pub const HOST_CID: u64 = 2;

/// The only socket type without feature bits: a byte stream.
pub const TYPE_STREAM: u16 = 1;

/// What a packet does, as numbers of the wire.
pub mod op {
    /// Opens a connection.
    pub const REQUEST: u16 = 1;
    /// Accepts it.
    pub const RESPONSE: u16 = 2;
    /// Refuses or ends it.
    pub const RST: u16 = 3;
    /// Announces the end of one or both directions.
    pub const SHUTDOWN: u16 = 4;
    /// Carries payload.
    pub const RW: u16 = 5;
    /// Tells how much more may be sent.
    pub const CREDIT_UPDATE: u16 = 6;
    /// Asks for a [`CREDIT_UPDATE`].
    pub const CREDIT_REQUEST: u16 = 7;
}

/// Flag of [`op::SHUTDOWN`]: the sender will receive no more.
pub const SHUTDOWN_RECEIVE: u32 = 1;
/// Flag of [`op::SHUTDOWN`]: the sender will send no more.
pub const SHUTDOWN_SEND: u32 = 2;

/// A header. The guest can put any value into any field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Context id of the sender.
    pub src_cid: u64,
    /// Context id of the receiver.
    pub dst_cid: u64,
    /// Port of the sender.
    pub src_port: u32,
    /// Port of the receiver.
    pub dst_port: u32,
    /// Bytes of payload.
    pub len: u32,
    /// The socket type.
    pub kind: u16,
    /// See [`op`].
    pub op: u16,
    /// The flags of the operation.
    pub flags: u32,
    /// Size of the sender's receive buffer for this connection.
    pub buf_alloc: u32,
    /// Bytes of this connection that have left that buffer since the beginning, wrapping.
    pub fwd_cnt: u32,
}

impl Header {
    /// From the wire.
    pub fn decode(bytes: &[u8; HEADER_SIZE]) -> Self {
        let mut rest = bytes.as_slice();
        Self {
            src_cid: u64::from_le_bytes(take(&mut rest)),
            dst_cid: u64::from_le_bytes(take(&mut rest)),
            src_port: u32::from_le_bytes(take(&mut rest)),
            dst_port: u32::from_le_bytes(take(&mut rest)),
            len: u32::from_le_bytes(take(&mut rest)),
            kind: u16::from_le_bytes(take(&mut rest)),
            op: u16::from_le_bytes(take(&mut rest)),
            flags: u32::from_le_bytes(take(&mut rest)),
            buf_alloc: u32::from_le_bytes(take(&mut rest)),
            fwd_cnt: u32::from_le_bytes(take(&mut rest)),
        }
    }

    /// To the wire.
    pub fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&self.src_cid.to_le_bytes());
        put(&self.dst_cid.to_le_bytes());
        put(&self.src_port.to_le_bytes());
        put(&self.dst_port.to_le_bytes());
        put(&self.len.to_le_bytes());
        put(&self.kind.to_le_bytes());
        put(&self.op.to_le_bytes());
        put(&self.flags.to_le_bytes());
        put(&self.buf_alloc.to_le_bytes());
        put(&self.fwd_cnt.to_le_bytes());
        bytes
    }
}

/// The next field; the fields of a header add up to its size, so there always is one.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let mut field = [0; N];
    if let Some((head, tail)) = rest.split_first_chunk() {
        field = *head;
        *rest = tail;
    }
    field
}

#[cfg(test)]
mod tests {
    use virtio_queue::desc::{RawDescriptor, split::Descriptor};
    use virtio_queue::mock::MockSplitQueue;
    use virtio_queue::{Queue, QueueOwnedT};
    use virtio_vsock::packet::VsockPacket;
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    use super::*;

    const WRITE: u16 = virtio_bindings::bindings::virtio_ring::VRING_DESC_F_WRITE as u16;

    fn sample() -> Header {
        Header {
            src_cid: 0x0102_0304_0506_0708,
            dst_cid: 0x1112_1314_1516_1718,
            src_port: 0x2122_2324,
            dst_port: 0x3132_3334,
            len: 0x4142_4344,
            kind: 0x5152,
            op: 0x6162,
            flags: 0x7172_7374,
            buf_alloc: 0x8182_8384,
            fwd_cnt: 0x9192_9394,
        }
    }

    #[test]
    fn decodes_what_it_encodes() {
        assert_eq!(Header::decode(&sample().encode()), sample());
        assert_eq!(Header::decode(&[0; HEADER_SIZE]), Header::default());
    }

    #[test]
    fn agrees_with_rust_vmm() {
        assert_eq!(HEADER_SIZE, virtio_vsock::packet::PKT_HEADER_SIZE);
        let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
        let mock = MockSplitQueue::new(&memory, 8);
        let mut queue: Queue = mock.create_queue().unwrap();
        mock.build_desc_chain(&[RawDescriptor::from(Descriptor::new(0x8000, 0x100, WRITE, 0))]).unwrap();
        let mut chain = queue.iter(&memory).unwrap().next().unwrap();
        let mut packet = VsockPacket::from_rx_virtq_chain(&memory, &mut chain, 0x1000).unwrap();
        packet.set_header_from_raw(&sample().encode()).unwrap();
        let theirs = Header {
            src_cid: packet.src_cid(),
            dst_cid: packet.dst_cid(),
            src_port: packet.src_port(),
            dst_port: packet.dst_port(),
            len: packet.len(),
            kind: packet.type_(),
            op: packet.op(),
            flags: packet.flags(),
            buf_alloc: packet.buf_alloc(),
            fwd_cnt: packet.fwd_cnt(),
        };
        assert_eq!(theirs, sample());
    }
}
