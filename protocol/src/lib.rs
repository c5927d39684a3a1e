//! The contract between the monitor on the host and the agent in the guest.
//!
//! The guest dials, nobody polls. Over vsock the agent opens
//! - one *control* connection to [`CONTROL_PORT`], which carries [`GuestMessage`] and [`HostMessage`]
//!   frames in both directions for as long as the guest lives, and
//! - one *stream* connection to [`STREAM_PORT`] for each stdio stream of each process: a single
//!   [`StreamHello`] frame, then raw bytes until either side closes. vsock's credit is the back-pressure.
//!
//! Both ends treat the other as hostile: a frame has a fixed header and a maximum size ([`frame`]), a
//! message has no unknown fields, and a stream is taken only once and only with the token that was sent
//! for it, so that a container's own process cannot pose as the agent.

pub mod frame;
mod message;

pub use message::{
    BootPhase, ContainerSpec, ExitStatus, GuestMessage, HostMessage, HostsEntry, ProcessId, StartFailure,
    Stream, StreamHello, StreamToken, TerminalSize,
};

/// The version both ends must speak; it is in every frame's header and rises with every change of a message.
pub const VERSION: u8 = 1;

/// The vsock port (of the host, CID 2) for the control connection.
pub const CONTROL_PORT: u32 = 1024;

/// The vsock port (of the host, CID 2) for stdio streams.
pub const STREAM_PORT: u32 = 1025;
