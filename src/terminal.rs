//! This process's terminal.

use std::io::{IsTerminal, stdin, stdout};
use std::sync::Mutex;

use moat_engine::session::TerminalSize;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// Whether stdin is a terminal.
pub fn stdin_is_terminal() -> bool {
    stdin().is_terminal()
}

/// The size of the terminal on stdout, or on stdin.
pub fn size() -> Option<TerminalSize> {
    let size = terminal_size(&stdout()).or_else(|| terminal_size(&stdin()))?;
    Some(TerminalSize { rows: size.ws_row, columns: size.ws_col })
}

fn terminal_size(terminal: &impl std::os::fd::AsRawFd) -> Option<libc::winsize> {
    nix::ioctl_read_bad!(get_window_size, libc::TIOCGWINSZ, libc::winsize);
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize, and `size` is one.
    unsafe { get_window_size(terminal.as_raw_fd(), &mut size) }.ok()?;
    Some(size)
}

/// What the terminal was before; kept globally because a signal can end the program from another thread.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal on stdin in raw mode, until dropped.
pub struct RawMode(());

impl RawMode {
    /// Switches to raw mode: every key goes to the container.
    ///
    /// # Errors
    /// When stdin is no terminal.
    pub fn enter() -> nix::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin(), SetArg::TCSANOW, &raw)?;
        if let Ok(mut saved) = BEFORE.lock() {
            *saved = Some(before);
        }
        Ok(Self(()))
    }

    /// Switches back, if raw mode is on.
    pub fn leave() {
        if let Ok(mut saved) = BEFORE.lock()
            && let Some(before) = saved.take()
        {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(stdin(), SetArg::TCSADRAIN, &before);
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        Self::leave();
    }
}
