//! The serial port of `debug_console`: a 16550 whose output goes to one descriptor. It serves to look into a guest that
//! does not come up; a container's output never goes this way.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

/// Bytes that a guest can write at once; a kernel's log of a boot is a tenth of it.
const BURST: u64 = 1 << 20;
/// Bytes per second that it can write forever.
const RATE: u64 = 64 << 10;

/// The port.
pub struct Console {
    serial: Serial<Line, vm_superio::serial::NoEvents, Output>,
}

impl Console {
    /// A port that raises `line` and writes to `output`.
    pub fn new(output: File, line: EventFd) -> Self {
        Self { serial: Serial::new(Line(line), Output::new(output)) }
    }

    /// The guest reads register `offset`.
    pub fn read(&mut self, offset: u8) -> u8 {
        self.serial.read(offset)
    }

    /// The guest writes register `offset`.
    pub fn write(&mut self, offset: u8, value: u8) {
        // Output never fails, and an interrupt that cannot be raised is one the guest does not get.
        let _ = self.serial.write(offset, value);
    }
}

struct Line(EventFd);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// Drops what the guest writes faster than [`RATE`], and what the reader does not take. A guest's output never holds its
/// virtual CPU up for long and never fills a disk quickly.
struct Output {
    file: File,
    allowance: u64,
    since: Instant,
}

impl Output {
    fn new(file: File) -> Self {
        Self { file, allowance: BURST, since: Instant::now() }
    }

    fn admit(&mut self, bytes: u64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        let earned = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).saturating_mul(RATE) / 1000;
        if earned > 0 {
            self.since = now;
            self.allowance = self.allowance.saturating_add(earned).min(BURST);
        }
        let admitted = self.allowance >= bytes;
        if admitted {
            self.allowance -= bytes;
        }
        admitted
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.admit(bytes.len() as u64, Instant::now()) {
            // The descriptor is shared with the launcher, which may want it blocking: so asked first, not changed.
            let mut ready = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut ready, PollTimeout::ZERO).is_ok_and(|count| count > 0) {
                let _ = self.file.write(bytes);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_written_comes_out() {
        let mut file = tempfile::tempfile().unwrap();
        let mut console = Console::new(file.try_clone().unwrap(), EventFd::new(0).unwrap());
        for byte in *b"hello\n" {
            console.write(0, byte);
        }
        // The transmitter is always empty.
        assert_eq!(console.read(5) & 0x60, 0x60);
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello\n");
    }

    #[test]
    fn a_flood_is_cut_to_the_rate() {
        let mut output = Output::new(tempfile::tempfile().unwrap());
        let start = output.since;
        let admitted =
            |output: &mut Output, now| (0..4 * BURST).filter(|_| output.admit(1, now)).count() as u64;
        assert_eq!(admitted(&mut output, start), BURST);
        assert_eq!(admitted(&mut output, start + Duration::from_secs(2)), 2 * RATE);
        assert_eq!(admitted(&mut output, start + Duration::from_secs(10_000)), BURST);
    }

    #[test]
    fn a_reader_that_does_not_read_does_not_hold_the_guest_up() {
        let (_reader, writer) = nix::unistd::pipe().unwrap();
        let mut console = Console::new(File::from(writer), EventFd::new(0).unwrap());
        for _ in 0..100_000 {
            console.write(0, b'x');
        }
    }
}
