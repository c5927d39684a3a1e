//! What the launcher can ask of a VM that runs: one JSON [`Command`] per packet on [`crate::config::VmConfig::control`],
//! each answered by one packet with an [`Answer`], in order. Unknown commands and fields are refused.
//!
//! ```
//! use moat_vmm::control::{Answer, Command, MAX_PACKET};
//! let packet = serde_json::to_vec(&Command::Balloon { target_mib: 64 })?;
//! assert_eq!(packet, br#"{"balloon":{"target_mib":64}}"#);
//! let answer: Answer =
//!     serde_json::from_slice(br#"{"memory":{"total_mib":128,"target_mib":64,"actual_mib":128}}"#)?;
//! assert!(matches!(answer, Answer::Memory { actual_mib: 128, .. }));
//! # assert!(packet.len() <= MAX_PACKET);
//! # Ok::<(), serde_json::Error>(())
//! ```
//! Closing the socket ends the conversation and nothing else. So does leaving answers unread until they pile up.

mod networks;
mod refusal;
mod server;
mod wire;

pub(crate) use self::server::Server;
pub use self::wire::{Answer, Command, MAX_PACKET};
