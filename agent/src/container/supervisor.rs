//! PID 1 of a container that asks for an init: it reaps orphans, passes signals on and ends as the command does.

use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Pid, setsid};

use moat_protocol::ExitStatus;

use crate::sys;
use crate::sys::namespace::Fork;

/// The code of a process that a signal ended is this and the signal's number, as in a shell.
const SIGNAL_CODE: i32 = 128;

/// Forks. The child returns and goes on; the caller becomes the init and never returns.
///
/// # Errors
/// Those of clone3(2).
pub fn split() -> nix::Result<()> {
    // PID 1 has no default actions, so every signal is blocked and waited for.
    let all = SigSet::all();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)?;
    match Fork::default().fork() {
        Ok(Some(command)) => supervise(command.pid, &all),
        Ok(None) => sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None),
        Err(error) => Err(error),
    }
}

fn supervise(command: Pid, signals: &SigSet) -> ! {
    // This process still has the agent's memory, which the container must not see. The command has the streams and
    // reports the start: their ends must not wait for this process. A failure here shows in ps(1) at most.
    let _ = prctl::set_dumpable(false);
    let _ = prctl::set_name(c"init");
    let _ = setsid();
    let _ = sys::process::close_all();
    loop {
        let Ok(signal) = sys::process::wait_for_signal(signals) else { continue };
        if signal != Signal::SIGCHLD as i32 {
            // The command may have ended a moment ago; that is the next signal.
            let _ = sys::process::kill(command, signal);
            continue;
        }
        while let Ok(Some((pid, status))) = sys::process::reap() {
            if pid == command {
                sys::process::exit_now(match status {
                    ExitStatus::Code(code) => code.into(),
                    ExitStatus::Signal(signal) => SIGNAL_CODE + i32::from(signal),
                });
            }
        }
    }
}
