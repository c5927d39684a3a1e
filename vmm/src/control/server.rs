//! The VM's end of the conversation, on the main thread.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, send};

use super::networks::Networks;
use super::refusal::Refusal;
use super::wire::{Answer, Command, MAX_PACKET};
use crate::bus::Bus;
use crate::config::MIN_MEMORY_MIB;
use crate::range;
use crate::virtio::balloon::sizes::{PAGES_PER_MIB, Target};
use crate::virtio::handles::Handles;

/// The most characters of a refusal's reason, which may quote the command. As JSON a character takes six bytes at most.
const MAX_REASON: usize = 160;

/// The most descriptors that the kernel passes with a packet (`SCM_MAX_FD`): none can get lost.
const MAX_DESCRIPTORS: usize = 253;

/// Answers commands.
pub struct Server {
    socket: OwnedFd,
    memory_mib: u32,
    bus: Arc<Bus>,
    balloon: Option<Target>,
    networks: Networks,
}

impl Server {
    /// Answers on `socket` for a VM of this much memory, with the handles of the devices on `bus`.
    pub fn new(socket: OwnedFd, memory_mib: u32, bus: Arc<Bus>, handles: Handles) -> Self {
        let Handles { balloon, places, .. } = handles;
        let networks = Networks::new(Arc::clone(&bus), places);
        Self { socket, memory_mib, bus, balloon, networks }
    }

    /// Answers the command that waits, if one does.
    ///
    /// # Errors
    /// When the other end is closed or does not take answers. The conversation is over then.
    pub fn serve(&mut self) -> io::Result<()> {
        let mut packet = [0; MAX_PACKET];
        let (length, descriptors) = match self.receive(&mut packet) {
            Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(received) => received,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let answer = match packet.get(..length) {
            Some(packet) => serde_json::from_slice(packet)
                .map_err(Refusal::from)
                .and_then(|command| self.carry_out(command, descriptors)),
            None => Err(Refusal::TooLong(length)),
        };
        let answer = answer.unwrap_or_else(|refusal| Answer::Refused {
            message: refusal.to_string().chars().take(MAX_REASON).collect(),
        });
        let answer = serde_json::to_vec(&answer)?;
        send(self.socket.as_raw_fd(), &answer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// The length of the packet, which may be longer than what fits, and the descriptors that came along.
    fn receive(&self, packet: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC | MsgFlags::MSG_CMSG_CLOEXEC;
        let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
        let mut slices = [IoSliceMut::new(packet)];
        let message = recvmsg::<()>(self.socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
        let mut descriptors = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = control {
                // SAFETY: the kernel has just made these descriptors for this process; nothing else knows them.
                descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        Ok((message.bytes, descriptors))
    }

    fn carry_out(&mut self, command: Command, descriptors: Vec<OwnedFd>) -> Result<Answer, Refusal> {
        if !descriptors.is_empty() && !matches!(command, Command::AttachNetwork { .. }) {
            return Err(Refusal::Descriptors);
        }
        match command {
            Command::Memory {} => {}
            Command::AttachNetwork { slot, card } => {
                return Ok(Answer::Network { device: self.networks.attach(slot, &card, descriptors)? });
            }
            Command::DetachNetwork { slot } => {
                return Ok(Answer::Network { device: self.networks.detach(slot)? });
            }
            Command::Balloon { target_mib } => {
                let Target { device, sizes } = self.balloon.as_ref().ok_or(Refusal::NoBalloon)?;
                let bounds = MIN_MEMORY_MIB.into()..=self.memory_mib.into();
                range::check("target_mib", target_mib.into(), bounds)?;
                sizes.want((self.memory_mib - target_mib) * PAGES_PER_MIB);
                self.bus.config_changed(*device);
            }
        }
        // The guest can write any size.
        let left = |pages: u32| self.memory_mib.saturating_sub(pages / PAGES_PER_MIB);
        let (wanted, actual) = self.balloon.as_ref().map_or((0, 0), |balloon| balloon.sizes.get());
        Ok(Answer::Memory { total_mib: self.memory_mib, target_mib: left(wanted), actual_mib: left(actual) })
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, recv, socketpair};

    use super::*;
    use crate::virtio::balloon::sizes::Sizes;
    use crate::virtio::net::place::{self, Place};

    struct Rig {
        server: Server,
        launcher: OwnedFd,
        sizes: Arc<Sizes>,
    }

    impl Rig {
        fn new() -> Self {
            let (launcher, socket) =
                socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::empty()).unwrap();
            let sizes = Arc::<Sizes>::default();
            let bus = Arc::new(Bus::new(Vec::new(), None));
            let balloon = Some(Target { device: 0, sizes: Arc::clone(&sizes) });
            let handles = Handles { balloon, ..Handles::default() };
            Self { server: Server::new(socket, 128, bus, handles), launcher, sizes }
        }

        fn say(&self, packet: &[u8]) {
            assert_eq!(send(self.launcher.as_raw_fd(), packet, MsgFlags::empty()).unwrap(), packet.len());
        }

        fn ask(&mut self, packet: &[u8]) -> Answer {
            self.say(packet);
            self.server.serve().unwrap();
            let mut answer = [0; MAX_PACKET];
            let length = recv(self.launcher.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT).unwrap();
            serde_json::from_slice(&answer[..length]).unwrap()
        }

        fn refused(&mut self, packet: &[u8]) -> String {
            match self.ask(packet) {
                Answer::Refused { message } => message,
                other => panic!("{other:?}"),
            }
        }
    }

    fn memory(target_mib: u32, actual_mib: u32) -> Answer {
        Answer::Memory { total_mib: 128, target_mib, actual_mib }
    }

    #[test]
    fn the_balloon_takes_what_is_above_the_target() {
        let mut rig = Rig::new();
        assert_eq!(rig.ask(br#"{"memory":{}}"#), memory(128, 128));
        assert_eq!(rig.ask(br#"{"balloon":{"target_mib":48}}"#), memory(48, 128));
        assert_eq!(rig.sizes.get(), (80 * 256, 0));
        rig.sizes.report(80 * 256 - 1);
        assert_eq!(rig.ask(br#"{"memory":{}}"#), memory(48, 49));
        rig.sizes.report(u32::MAX);
        assert_eq!(rig.ask(br#"{"balloon":{"target_mib":128}}"#), memory(128, 0));
        assert_eq!(rig.sizes.get().0, 0);
    }

    #[test]
    fn what_cannot_be_done_is_refused_and_the_conversation_goes_on() {
        let mut rig = Rig::new();
        assert_eq!(
            rig.refused(br#"{"balloon":{"target_mib":129}}"#),
            "target_mib is 129, but must be from 32 to 128"
        );
        assert!(rig.refused(br#"{"balloon":{"target_mib":31}}"#).contains("must be from 32"));
        assert!(rig.refused(br#"{"balloon":{"target_mib":64,"now":true}}"#).contains("unknown field"));
        assert!(rig.refused(br#"{"memory":{"all":1}}"#).contains("unknown field"));
        assert!(rig.refused(br#"{"pause":{}}"#).contains("unknown variant"));
        assert!(rig.refused(b"\xff").contains("expected"));
        assert_eq!(
            rig.refused(&[b' '; MAX_PACKET + 1]),
            format!("a command of {} bytes is longer than {MAX_PACKET}", MAX_PACKET + 1)
        );
        assert_eq!(rig.sizes.get(), (0, 0));
        // The answer to a wrong word of any length and any characters is one packet.
        for letter in ["x", r"\u0001", "\u{1f6d1}"] {
            let long = format!(r#"{{"{}":{{}}}}"#, letter.repeat((MAX_PACKET - 7) / letter.len()));
            assert!(rig.refused(long.as_bytes()).starts_with("unknown variant"));
        }
    }

    #[test]
    fn without_a_balloon_there_is_only_looking() {
        let mut rig = Rig::new();
        rig.server.balloon = None;
        assert_eq!(rig.ask(br#"{"memory":{}}"#), memory(128, 128));
        assert_eq!(rig.refused(br#"{"balloon":{"target_mib":64}}"#), "this VM has no balloon");
    }

    #[test]
    fn networks_go_where_there_is_a_place_and_only_with_taps() {
        const CARD: &str = r#""card":{"mac":[2,66,172,17,0,2],"mtu":1500,"receive":null,"send":null}"#;
        let attach = |slot| format!(r#"{{"attach-network":{{"slot":{slot},{CARD}}}}}"#);
        let mut rig = Rig::new();
        assert!(rig.refused(attach(0).as_bytes()).contains("no room for another network"));
        assert!(rig.refused(br#"{"detach-network":{"slot":0}}"#).contains("no room for another network"));
        let server = place::server("net-test").unwrap();
        let places = vec![Place { device: 7, server, pairs: 2, taken: false }];
        rig.server.networks = Networks::new(Arc::clone(&rig.server.bus), places);
        assert_eq!(rig.refused(attach(0).as_bytes()), "0 taps came along, but must be from 1 to 2");
        assert_eq!(rig.refused(br#"{"detach-network":{"slot":0}}"#), "slot 0 is empty");
        assert!(rig.refused(attach(0).replace("[2,66,", "[2,").as_bytes()).contains("array of length 6"));
        // Descriptors are closed with every answer.
        let (kept, sent) = nix::unistd::pipe().unwrap();
        for (packet, why) in [
            (attach(0).replace("1500", "60"), "the MTU is 60"),
            (attach(0), "without IFF_TAP"),
            (attach(1), "slot is 1, but must be below 1"),
            (r#"{"memory":{}}"#.to_owned(), "takes none"),
            ("?".to_owned(), "expected"),
        ] {
            let raw = [sent.as_raw_fd()];
            let rights = [nix::sys::socket::ControlMessage::ScmRights(&raw)];
            let bytes = [std::io::IoSlice::new(packet.as_bytes())];
            let launcher = rig.launcher.as_raw_fd();
            nix::sys::socket::sendmsg::<()>(launcher, &bytes, &rights, MsgFlags::empty(), None).unwrap();
            rig.server.serve().unwrap();
            let mut answer = [0; MAX_PACKET];
            let length = recv(launcher, &mut answer, MsgFlags::MSG_DONTWAIT).unwrap();
            let answer = serde_json::from_slice(&answer[..length]).unwrap();
            assert!(matches!(&answer, Answer::Refused { message } if message.contains(why)), "{answer:?}");
        }
        drop(sent);
        // The end of the pipe: nothing has its other end any more.
        assert_eq!(nix::unistd::read(kept, &mut [0]).unwrap(), 0);
    }

    #[test]
    fn nothing_to_do_is_no_error_and_a_closed_socket_is_one() {
        let mut rig = Rig::new();
        rig.server.serve().unwrap();
        // Answers that the launcher does not read end it, before they block.
        let outcome = (0..100_000).find_map(|_| {
            rig.say(br#"{"memory":{}}"#);
            rig.server.serve().err()
        });
        assert_eq!(outcome.unwrap().kind(), io::ErrorKind::WouldBlock);
        let mut rig = Rig::new();
        drop(rig.launcher);
        assert_eq!(rig.server.serve().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
