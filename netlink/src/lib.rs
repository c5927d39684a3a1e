//! Netlink for links and packet filters: messages are built and sent, and the kernel answers at once (netlink(7),
//! linux/netlink.h).
//!
//! The host and the guest's agent both use this crate. The crates for netlink on crates.io bring a type for every
//! attribute of every kind of link. In the agent that would be several times this code in the memory of every guest.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};

/// Asks for an answer that says whether the kernel did what the message asks.
pub const ACK: u16 = libc::NLM_F_ACK as u16;
/// Asks for all objects of a kind.
pub const DUMP: u16 = libc::NLM_F_DUMP as u16;
/// Creates the object if it does not exist.
pub const CREATE: u16 = libc::NLM_F_CREATE as u16;
/// Refuses an object that exists.
pub const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;

/// RTMGRP_LINK of linux/rtnetlink.h.
const LINK_GROUP: u32 = 1;

/// The length of a message's header, in bytes.
const HEADER: usize = 16;

/// The length of an attribute's header, in bytes.
const ATTRIBUTE_HEADER: usize = 4;

/// Room for the largest answer of the kernel, in bytes: a page of a dump.
const RECEIVE_BUFFER: usize = 64 << 10;

/// The kernel's send buffer, in bytes: a transaction is one packet.
const SEND_BUFFER: usize = 16 << 20;

/// Room for answers that have not been read, in bytes. A transaction can have a complaint about each of its messages,
/// and all of them arrive before the first is read.
const ANSWERS_BUFFER: usize = 4 << 20;

/// Messages under construction.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
    count: u32,
    /// Where the last message begins.
    last: usize,
}

impl Messages {
    /// Adds a message of type `kind`: its fixed part, then its attributes.
    pub fn add(&mut self, kind: u16, flags: u16, fixed: &[u8], attributes: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.count += 1;
        self.last = start;
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        self.bytes.extend(self.count.to_ne_bytes());
        self.bytes.extend(0u32.to_ne_bytes());
        self.bytes.extend(fixed);
        pad(&mut self.bytes);
        attributes(&mut Attributes(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Asks for an answer to the message that was added last. The kernel complains about the others anyway, and answers
    /// without a complaint would only take room.
    pub fn ask_for_answer(&mut self) {
        if let Some(flags) = self.bytes.get_mut(self.last + 6..self.last + 8) {
            let with_answer = u16::from_ne_bytes([flags[0], flags[1]]) | ACK;
            flags.copy_from_slice(&with_answer.to_ne_bytes());
        }
    }

    /// The number of messages.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The messages as they are sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The attributes of one message.
pub struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    /// Adds an attribute with the bytes of `value`.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        self.nest_as(kind, |inner| inner.0.extend(value));
    }

    /// Adds a number in the machine's byte order, as links have it.
    pub fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// Adds a number in the network's byte order, as the firewall has it.
    pub fn number_be(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Adds text with its terminating zero.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.nest_as(kind, |inner| {
            inner.0.extend(value.as_bytes());
            inner.0.push(0);
        });
    }

    /// Adds an attribute that holds other attributes.
    pub fn nest(&mut self, kind: u16, content: impl FnOnce(&mut Attributes<'_>)) {
        self.nest_as(kind | libc::NLA_F_NESTED as u16, content);
    }

    fn nest_as(&mut self, kind: u16, content: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        content(&mut Attributes(self.0));
        // All attributes of this project are far below the limit of 64 KiB.
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        pad(self.0);
    }
}

/// Fills up with zeros: attributes and messages begin at multiples of four.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A message of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its type.
    pub kind: u16,
    /// The fixed part and the attributes.
    pub content: Vec<u8>,
}

/// A connection with a part of the kernel.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// Connects to the kernel's links and routes.
    ///
    /// # Errors
    /// When the kernel has none.
    pub fn route() -> io::Result<Self> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// Connects to the kernel's firewall.
    ///
    /// # Errors
    /// When the kernel has none.
    pub fn netfilter() -> io::Result<Self> {
        Self::open(SockProtocol::NetlinkNetFilter)
    }

    /// Connects to the kernel's links. [`Socket::as_fd`] becomes readable when a link comes, changes or goes.
    ///
    /// # Errors
    /// When the kernel has none.
    pub fn link_news() -> io::Result<Self> {
        let socket = Self::open(SockProtocol::NetlinkRoute)?;
        bind(socket.0.as_raw_fd(), &NetlinkAddr::new(0, LINK_GROUP))?;
        Ok(socket)
    }

    /// Throws away the messages of the kernel that have not been read.
    ///
    /// # Errors
    /// Those of recv(2).
    pub fn discard(&self) -> io::Result<()> {
        loop {
            match self.receive(MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// The descriptor to wait on for messages.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn open(protocol: SockProtocol) -> io::Result<Self> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        // Without the privilege the smaller buffers stay. A message that does not fit is refused when it is sent.
        let _ = setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER);
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &ANSWERS_BUFFER);
        Ok(Self(socket))
    }

    /// Sends messages and waits until the kernel has carried all of them out. At least the last must ask for [`ACK`].
    ///
    /// # Errors
    /// The kernel's first complaint.
    pub fn obey(&self, messages: &Messages) -> io::Result<()> {
        send(self.0.as_raw_fd(), messages.bytes(), MsgFlags::empty())?;
        // The kernel handles the messages within send(2): its answers are there when that returns.
        let mut complaint = None;
        let mut answered = false;
        let mut lost = false;
        loop {
            match self.receive(MsgFlags::MSG_DONTWAIT) {
                Ok(answers) => {
                    for answer in answers.iter().filter(|answer| answer.kind == libc::NLMSG_ERROR as u16) {
                        answered = true;
                        complaint = complaint.or(error_of(answer));
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                // There was no room for the last answers. A complaint among the first says more than that.
                Err(Errno::ENOBUFS) => lost = true,
                Err(e) => return Err(e.into()),
            }
        }
        match complaint {
            Some(e) => Err(e.into()),
            None if lost => Err(Errno::ENOBUFS.into()),
            None if answered => Ok(()),
            None => Err(io::Error::other("the kernel did not answer")),
        }
    }

    /// Sends one message that asks for [`DUMP`] and returns all answers.
    ///
    /// # Errors
    /// When the kernel complains.
    pub fn dump(&self, messages: &Messages) -> io::Result<Vec<Answer>> {
        let mut all = Vec::new();
        self.dump_each(messages, |answer| all.push(answer))?;
        Ok(all)
    }

    /// Sends one message that asks for [`DUMP`] and passes each answer on, without keeping all of them.
    ///
    /// # Errors
    /// When the kernel complains.
    pub fn dump_each(&self, messages: &Messages, mut each: impl FnMut(Answer)) -> io::Result<()> {
        send(self.0.as_raw_fd(), messages.bytes(), MsgFlags::empty())?;
        loop {
            let answers = match self.receive(MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            for answer in answers {
                if answer.kind == libc::NLMSG_DONE as u16 {
                    return Ok(());
                }
                if answer.kind == libc::NLMSG_ERROR as u16 {
                    return error_of(&answer).map_or(Ok(()), |e| Err(e.into()));
                }
                each(answer);
            }
        }
    }

    fn receive(&self, flags: MsgFlags) -> Result<Vec<Answer>, Errno> {
        let mut buffer = vec![0; RECEIVE_BUFFER];
        let length = recv(self.0.as_raw_fd(), &mut buffer, flags)?;
        Ok(split(&buffer[..length]))
    }
}

fn error_of(answer: &Answer) -> Option<Errno> {
    let code = i32::from_ne_bytes(answer.content.get(..4)?.try_into().ok()?);
    (code != 0).then(|| Errno::from_raw(code.wrapping_neg()))
}

/// Splits received bytes into messages.
fn split(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_ne_bytes(*length) as usize;
        if length < HEADER || length > bytes.len() {
            break;
        }
        let kind = u16::from_ne_bytes([rest[0], rest[1]]);
        answers.push(Answer { kind, content: bytes[HEADER..length].to_vec() });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    answers
}

/// The attributes in `bytes`, by type.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & libc::NLA_TYPE_MASK as u16, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_back() {
        let mut messages = Messages::default();
        messages.add(16, ACK, &[1, 2, 3], |a| {
            a.text(3, "moat0");
            a.nest(18, |inner| inner.number(1, 7));
        });
        messages.add(17, 0, &[], |_| {});
        let answers = split(messages.bytes());
        assert_eq!(answers.iter().map(|answer| answer.kind).collect::<Vec<_>>(), [16, 17]);
        assert_eq!(answers[0].content[..4], [1, 2, 3, 0]);
        let found: Vec<_> = attributes(&answers[0].content[4..]).collect();
        assert_eq!(found[0], (3, &b"moat0\0"[..]));
        let inner: Vec<_> = attributes(found[1].1).collect();
        assert_eq!((found[1].0, inner[0]), (18, (1, &7u32.to_ne_bytes()[..])));
    }

    #[test]
    fn only_the_last_message_asks_for_an_answer() {
        let mut messages = Messages::default();
        messages.ask_for_answer();
        messages.add(16, CREATE, &[], |_| {});
        messages.add(17, CREATE, &[], |_| {});
        messages.ask_for_answer();
        let flags = |at: usize| u16::from_ne_bytes([messages.bytes()[at + 6], messages.bytes()[at + 7]]);
        assert_eq!((flags(0) & ACK, flags(HEADER) & (ACK | CREATE)), (0, ACK | CREATE));
        assert_eq!(messages.count(), 2);
    }

    #[test]
    fn nonsense_ends_the_reading() {
        assert!(split(&[0; 40]).is_empty());
        assert!(split(&[255; 40]).is_empty());
        assert_eq!(attributes(&[2, 0, 0, 0, 9, 9]).count(), 0);
    }
}
