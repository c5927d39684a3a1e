//! Frames from a hostile peer: no panic, no allocation beyond the limit, the right error.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Read};

use moat_protocol::frame::{self, FrameError, HEADER_SIZE, MAX_PAYLOAD, Message};
use moat_protocol::{GuestMessage, HostMessage, VERSION, guest};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// Remembers the largest single allocation of each thread.
struct Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no such variable any more; what it allocates is not under test.
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// A message of another set than the agent's.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Text(String);

impl Message for Text {
    const VERSION: u8 = 200;
}

fn header(length: u32) -> [u8; HEADER_SIZE] {
    let [a, b, c, d] = length.to_le_bytes();
    [b'm', b'o', VERSION, 0, a, b, c, d]
}

fn read(bytes: &[u8]) -> Result<guest::HostMessage, FrameError> {
    frame::read(&mut &*bytes)
}

/// Hands out one byte at a time and is interrupted in between.
struct Slow<'a>(&'a [u8], bool);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let take = self.0.len().min(1).min(buffer.len());
        buffer[..take].copy_from_slice(&self.0[..take]);
        self.0 = &self.0[take..];
        Ok(take)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_are_refused_quietly(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = frame::decode::<HostMessage>(&bytes);
        let _ = frame::decode::<GuestMessage>(&bytes);
    }

    #[test]
    fn arbitrary_headers_cost_nothing_beyond_the_limit(length in any::<u32>(), body in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut bytes = header(length).to_vec();
        bytes.extend_from_slice(&body);
        LARGEST.set(0);
        let result = read(&bytes);
        prop_assert!(LARGEST.get() <= MAX_PAYLOAD);
        match result {
            Err(FrameError::TooLarge(announced)) => prop_assert!(announced == length as usize && announced > MAX_PAYLOAD),
            _ => prop_assert!(length as usize <= MAX_PAYLOAD),
        }
    }

    #[test]
    fn a_damaged_message_never_panics(at in 0usize..200, value in any::<u8>()) {
        let message = GuestMessage::StartFailed {
            process: moat_protocol::ProcessId(1),
            failure: moat_protocol::StartFailure::Setup,
            message: "something".to_owned(),
        };
        let mut bytes = frame::encode(&message).unwrap();
        let at = at % bytes.len();
        bytes[at] = value;
        let _ = frame::read::<GuestMessage>(&mut bytes.as_slice());
    }
}

#[test]
fn every_truncation_is_an_error() {
    let whole = frame::encode(&HostMessage::Shutdown).unwrap();
    assert!(matches!(read(&[]), Err(FrameError::Closed)));
    for end in 1..whole.len() {
        match read(&whole[..end]) {
            Err(FrameError::Io(e)) => assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof, "at {end}"),
            other => panic!("cut at {end}: {other:?}"),
        }
    }
    assert!(matches!(read(&whole), Ok(guest::HostMessage::Shutdown)));
}

#[test]
fn a_slow_and_interrupted_peer_is_understood() {
    let whole = frame::encode(&HostMessage::Shutdown).unwrap();
    let message = frame::read::<guest::HostMessage>(&mut Slow(&whole, false)).unwrap();
    assert!(matches!(message, guest::HostMessage::Shutdown));
}

#[test]
fn two_frames_in_a_row_are_two_messages() {
    let mut bytes = frame::encode(&HostMessage::Shutdown).unwrap();
    bytes.extend(frame::encode(&HostMessage::Shutdown).unwrap());
    let mut rest = bytes.as_slice();
    assert!(frame::read::<guest::HostMessage>(&mut rest).is_ok());
    assert!(frame::read::<guest::HostMessage>(&mut rest).is_ok());
    assert!(matches!(frame::read::<guest::HostMessage>(&mut rest), Err(FrameError::Closed)));
}

#[test]
fn wrong_headers_are_named() {
    let payload_length = frame::payload_length::<guest::HostMessage>;
    let mut other = header(2);
    other[0] = b'x';
    assert!(matches!(payload_length(other), Err(FrameError::Magic([b'x', b'o']))));
    let mut newer = header(2);
    newer[2] = VERSION + 1;
    let refusal = payload_length(newer).unwrap_err();
    assert!(matches!(refusal, FrameError::Version { found, expected: VERSION } if found == VERSION + 1));
    let sentence = format!("the peer speaks protocol version {}, this side {VERSION}", VERSION + 1);
    assert_eq!(refusal.to_string(), sentence);
    let limit = u32::try_from(MAX_PAYLOAD).unwrap();
    assert_eq!(payload_length(header(limit)).unwrap(), MAX_PAYLOAD);
    assert!(matches!(payload_length(header(limit + 1)), Err(FrameError::TooLarge(_))));
}

#[test]
fn an_oversized_message_is_not_sent() {
    let text = |length| Text("x".repeat(length));
    assert!(matches!(frame::encode(&text(MAX_PAYLOAD)), Err(FrameError::TooLarge(_))));
    assert!(frame::encode(&text(MAX_PAYLOAD - 2)).is_ok());
}

/// The version is that of the message, not of the frame: another set has its own, and neither is taken for the other.
#[test]
fn each_set_of_messages_has_its_version() {
    let message = Text("hello".to_owned());
    let bytes = frame::encode(&message).unwrap();
    assert_eq!(bytes[2], Text::VERSION);
    assert_eq!(frame::read::<Text>(&mut bytes.as_slice()).unwrap(), message);
    let refusal = frame::read::<GuestMessage>(&mut bytes.as_slice()).unwrap_err();
    assert!(matches!(refusal, FrameError::Version { found: Text::VERSION, expected: VERSION }));
    let hello = frame::encode(&GuestMessage::Hello).unwrap();
    let refusal = frame::read::<Text>(&mut hello.as_slice()).unwrap_err();
    assert!(matches!(refusal, FrameError::Version { found: VERSION, expected: Text::VERSION }));
}

#[test]
fn deep_nesting_is_refused_without_a_stack_overflow() {
    let json = format!(r#"{{"start":{}"#, "[".repeat(1 << 20));
    assert!(frame::decode::<guest::HostMessage>(json.as_bytes()).is_err());
}
