//! Why a command is not carried out. Nothing has happened then.

use super::wire::MAX_PACKET;
use crate::config::MIN_MTU;
use crate::range::OutOfRange;
use crate::virtio::net::tap::TapError;

/// The reason that goes into [`super::wire::Answer::Refused`].
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The packet is cut off.
    #[error("a command of {0} bytes is longer than {MAX_PACKET}")]
    TooLong(usize),
    /// The packet is no command.
    #[error(transparent)]
    Unreadable(#[from] serde_json::Error),
    /// Descriptors came with a command that takes none.
    #[error("descriptors came along with a command that takes none")]
    Descriptors,
    /// There is no balloon.
    #[error("this VM has no balloon")]
    NoBalloon,
    /// A number lies outside its bounds.
    #[error(transparent)]
    Range(#[from] OutOfRange),
    /// There are no places for networks at all.
    #[error("this VM has no room for another network")]
    NoPlaces,
    /// There is no such place.
    #[error("slot is {slot}, but must be below {count}")]
    NoSlot {
        /// What was asked for.
        slot: u8,
        /// How many there are.
        count: usize,
    },
    /// There is no card in the place.
    #[error("slot {0} is empty")]
    Empty(u8),
    /// There is a card in the place.
    #[error("slot {0} is taken")]
    Occupied(u8),
    /// No link has such an MTU.
    #[error("the MTU is {0}, but must be at least {MIN_MTU}")]
    Mtu(u16),
    /// The card has too many queues, or none.
    #[error("{count} taps came along, but must be from 1 to {most}")]
    Taps {
        /// How many came.
        count: usize,
        /// How many the place has room for.
        most: usize,
    },
    /// What came is no tap, or one that is set up in another way.
    #[error("what came along: {0}")]
    Tap(#[from] TapError),
    /// The device does not fit into its place.
    #[error(transparent)]
    Device(#[from] virtio_queue::Error),
}
