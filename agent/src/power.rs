//! The end of the virtual machine.

use std::arch::asm;
use std::convert::Infallible;

use moat_protocol::POWER_OFF_PORT;
use nix::sys::reboot::{RebootMode, reboot};

use crate::kmsg;

/// Powers the virtual machine off by a write to the VMM's port. If that does nothing, the kernel restarts the machine.
pub fn off() -> ! {
    // SAFETY: it only allows this process to use one I/O port, which the VMM reserves for this.
    if unsafe { libc::ioperm(POWER_OFF_PORT.into(), 1, 1) } == 0 {
        // SAFETY: the port is allowed since the line above, and a write to it touches no memory.
        unsafe { asm!("out dx, al", in("dx") POWER_OFF_PORT, in("al") 0u8, options(nomem, nostack)) };
    }
    kmsg::log("the power-off port does not answer");
    // A restart ends the VM. A power-off without ACPI would only halt it.
    let Err(error): Result<Infallible, _> = reboot(RebootMode::RB_AUTOBOOT);
    // When PID 1 ends the kernel panics, and that ends the VM.
    panic!("cannot power off: {error}");
}
