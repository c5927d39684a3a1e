//! A process's terminal, in the container's own devpts.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use moat_protocol::TerminalSize;
use moat_protocol::guest::ConsoleSize;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, major, minor};

use super::devices::Devices;
use super::root::{Root, file_type};
use crate::failure::{Context, Failure};
use crate::process::StatusWriter;
use crate::sys;
use crate::sys::mount::{attach, clone_tree};

/// The device number of every devpts' ptmx.
const PTMX: (u64, u64) = (5, 2);

/// Makes a terminal, hands its master to the agent, shows it at /dev/console, and returns the process's side.
pub fn open_console(
    root: &Root,
    devices: Option<&Devices>,
    size: Option<ConsoleSize>,
    status: &StatusWriter,
) -> Result<OwnedFd, Failure> {
    let devices =
        devices.ok_or_else(|| Failure::setup("a terminal needs a tmpfs at /dev and a devpts at /dev/pts"))?;
    let pair = Pair::open(root, size)?;
    let name = sys::terminal::number(pair.master.as_fd()).context(WHAT)?.to_string();
    let name = CString::new(name).map_err(|_| Failure::setup(WHAT))?;
    show_as_console(devices, &pair.pts, &name).context("cannot mount the terminal at /dev/console")?;
    pair.hand_over(status)
}

/// Makes a terminal, hands its master to the agent, and returns the process's side.
pub fn open(root: &Root, size: Option<ConsoleSize>, status: &StatusWriter) -> Result<OwnedFd, Failure> {
    Pair::open(root, size)?.hand_over(status)
}

const WHAT: &str = "cannot make a terminal";

/// A terminal with both its sides, in a devpts.
struct Pair {
    pts: OwnedFd,
    master: OwnedFd,
    terminal: OwnedFd,
}

impl Pair {
    fn open(root: &Root, size: Option<ConsoleSize>) -> Result<Self, Failure> {
        let pts = root.look_up(Path::new("/dev/pts"), OFlag::O_PATH | OFlag::O_DIRECTORY).context(WHAT)?;
        let flags =
            OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let master = openat(&pts, "ptmx", flags, Mode::empty()).context(WHAT)?;
        let device = fstat(&master).context(WHAT)?;
        let number = (major(device.st_rdev), minor(device.st_rdev));
        if file_type(&device) != SFlag::S_IFCHR || number != PTMX {
            return Err(Failure::setup("a terminal needs a devpts at /dev/pts"));
        }
        let terminal = sys::terminal::open_peer(master.as_fd()).context(WHAT)?;
        if let Some(size) = size.and_then(terminal_size) {
            sys::terminal::resize(master.as_fd(), size).context(WHAT)?;
        }
        Ok(Self { pts, master, terminal })
    }

    fn hand_over(self, status: &StatusWriter) -> Result<OwnedFd, Failure> {
        status.terminal(self.master.as_fd()).context("cannot hand the terminal over")?;
        Ok(self.terminal)
    }
}

/// Mounts the terminal at /dev/console. No path is looked up: /dev is the tmpfs that the agent filled, and the terminal
/// is in the devpts that was opened.
fn show_as_console(devices: &Devices, pts: &OwnedFd, name: &CString) -> nix::Result<()> {
    let console = clone_tree(pts, name)?;
    attach(console.as_fd(), devices.make_console()?.as_fd())
}

/// The size, unless it is zero, which means that it is not known.
fn terminal_size(size: ConsoleSize) -> Option<TerminalSize> {
    let rows = u16::try_from(size.height).ok()?;
    let columns = u16::try_from(size.width).ok()?;
    (rows > 0 && columns > 0).then_some(TerminalSize { rows, columns })
}
