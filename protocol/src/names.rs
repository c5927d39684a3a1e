//! What a [`Stream::Names`](crate::Stream::Names) connection carries: DNS messages, each behind a header of 8 bytes.
//!
//! ```text
//! offset  size  field
//!      0     4  tag, little-endian: the answer has that of its query
//!      4     2  length of the message in bytes, little-endian
//!      6     1  how the program asked: 0 over UDP, 1 over TCP
//!      7     1  reserved, zero
//! ```
//!
//! One connection carries all queries. The agent opens it with the container's token, so that no other process of the
//! guest can ask the host. Both ends bound what is pending. The agent passes messages on as they are, and the host
//! alone reads them. The host answers each query once and within a bounded time. An answer is never larger than a
//! program that asked over UDP can take.

/// The size of the header in bytes.
pub const NAMES_HEADER: usize = 8;

/// How many queries may wait for their answers. With so many the agent takes no further query from programs, and the
/// host reads none.
pub const MAX_PENDING: usize = 64;

/// The largest query in bytes. The longest name takes 255 of them.
pub const MAX_QUERY: usize = 4096;

/// The smallest DNS message in bytes, its own header.
pub const MIN_MESSAGE: usize = 12;

/// How a program asked. This decides how large its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A stream.
    Tcp,
}

/// The header of a DNS message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamesHeader {
    /// Joins the answer to its query.
    pub tag: u32,
    /// The message's length in bytes.
    pub length: u16,
    /// How the program asked.
    pub transport: Transport,
}

impl NamesHeader {
    /// The header as it travels.
    pub fn encode(self) -> [u8; NAMES_HEADER] {
        let [a, b, c, d] = self.tag.to_le_bytes();
        let [e, f] = self.length.to_le_bytes();
        [a, b, c, d, e, f, u8::from(self.transport == Transport::Tcp), 0]
    }

    /// Reads a header. Nothing where the bytes are none.
    pub fn parse(bytes: [u8; NAMES_HEADER]) -> Option<Self> {
        let [a, b, c, d, e, f, transport, reserved] = bytes;
        let transport = match transport {
            0 => Transport::Udp,
            1 => Transport::Tcp,
            _ => return None,
        };
        let length = u16::from_le_bytes([e, f]);
        let header = Self { tag: u32::from_le_bytes([a, b, c, d]), length, transport };
        (reserved == 0 && usize::from(length) >= MIN_MESSAGE).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_laid_out_as_documented() {
        let header = NamesHeader { tag: 0x0403_0201, length: 0x0605, transport: Transport::Tcp };
        assert_eq!(header.encode(), [1, 2, 3, 4, 5, 6, 1, 0]);
        assert_eq!(NamesHeader::parse(header.encode()), Some(header));
        for wrong in [[0, 0, 0, 0, 11, 0, 0, 0], [0, 0, 0, 0, 12, 0, 2, 0], [0, 0, 0, 0, 12, 0, 0, 1]] {
            assert_eq!(NamesHeader::parse(wrong), None);
        }
    }
}
