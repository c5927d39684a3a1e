//! The VM's end of the conversation, on the main thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use super::{Answer, Command, MAX_PACKET};
use crate::bus::Bus;
use crate::config::MIN_MEMORY_MIB;
use crate::virtio::balloon::{PAGES_PER_MIB, Sizes};

/// The most characters of a refusal's reason, which may quote the command. As JSON a character takes six bytes at most.
const MAX_REASON: usize = 160;

/// A balloon that can be told its size: the sizes, and where the device is whose driver has to hear of it.
pub struct Balloon {
    /// What the device shows its driver.
    pub sizes: Arc<Sizes>,
    /// Where it is.
    pub bus: Arc<Bus>,
    /// Its number there.
    pub device: usize,
}

/// Answers commands.
pub struct Server {
    socket: OwnedFd,
    memory_mib: u32,
    balloon: Option<Balloon>,
}

impl Server {
    /// Answers on `socket` for a VM of this much memory.
    pub fn new(socket: OwnedFd, memory_mib: u32, balloon: Option<Balloon>) -> Self {
        Self { socket, memory_mib, balloon }
    }

    /// Answers the command that waits, if one does.
    ///
    /// # Errors
    /// When the other end is closed or does not take answers: there is nobody left to serve.
    pub fn serve(&self) -> io::Result<()> {
        let mut packet = [0; MAX_PACKET];
        // With TRUNC the length is that of the packet, whatever came of it.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        let length = match recv(self.socket.as_raw_fd(), &mut packet, flags) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let answer = match packet.get(..length) {
            Some(packet) => serde_json::from_slice(packet)
                .map_err(|error| error.to_string())
                .and_then(|command| self.carry_out(command)),
            None => Err(format!("a command of {length} bytes is longer than {MAX_PACKET}")),
        };
        let answer = answer
            .unwrap_or_else(|reason| Answer::Refused { message: reason.chars().take(MAX_REASON).collect() });
        let answer = serde_json::to_vec(&answer)?;
        send(self.socket.as_raw_fd(), &answer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    fn carry_out(&self, command: Command) -> Result<Answer, String> {
        match command {
            Command::Memory {} => {}
            Command::AttachNetwork { .. } | Command::DetachNetwork { .. } => {
                return Err("this VM has no room for another network".to_owned());
            }
            Command::Balloon { target_mib } => {
                let balloon = self.balloon.as_ref().ok_or("this VM has no balloon")?;
                if !(MIN_MEMORY_MIB..=self.memory_mib).contains(&target_mib) {
                    return Err(format!(
                        "target_mib is {target_mib}, but must be from {MIN_MEMORY_MIB} to {}",
                        self.memory_mib
                    ));
                }
                balloon.sizes.want((self.memory_mib - target_mib) * PAGES_PER_MIB);
                balloon.bus.config_changed(balloon.device);
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
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

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
            let balloon = Balloon { sizes: Arc::clone(&sizes), bus, device: 0 };
            Self { server: Server::new(socket, 128, Some(balloon)), launcher, sizes }
        }

        fn say(&self, packet: &[u8]) {
            assert_eq!(send(self.launcher.as_raw_fd(), packet, MsgFlags::empty()).unwrap(), packet.len());
        }

        fn ask(&self, packet: &[u8]) -> Answer {
            self.say(packet);
            self.server.serve().unwrap();
            let mut answer = [0; MAX_PACKET];
            let length = recv(self.launcher.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT).unwrap();
            serde_json::from_slice(&answer[..length]).unwrap()
        }

        fn refused(&self, packet: &[u8]) -> String {
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
        let rig = Rig::new();
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
        let rig = Rig::new();
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
        // However long a wrong word is, and whatever it is made of, the answer is one packet.
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
    fn nothing_to_do_is_no_error_and_nobody_there_is_one() {
        let rig = Rig::new();
        rig.server.serve().unwrap();
        // Answers that nobody reads end it, before they block.
        let outcome = (0..100_000).find_map(|_| {
            rig.say(br#"{"memory":{}}"#);
            rig.server.serve().err()
        });
        assert_eq!(outcome.unwrap().kind(), io::ErrorKind::WouldBlock);
        let rig = Rig::new();
        drop(rig.launcher);
        assert_eq!(rig.server.serve().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
