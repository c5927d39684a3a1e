//! The kernel's command line. Each word saves exits, time or memory, or makes the guest say how it ended.

use crate::layout;

/// Why there is no command line.
#[derive(Debug, thiserror::Error)]
pub enum CmdlineError {
    /// The kernel would cut it off.
    #[error("the kernel's command line has {0} bytes; at most {max} fit", max = layout::CMDLINE_MAX - 1)]
    TooLong(usize),
    /// The kernel ends it at a zero byte, and other control characters have no place in it either.
    #[error("the kernel's command line contains a control character")]
    Control,
}

/// - `reboot=k`: a reset by the keyboard controller is one exit that says "reset"; the other ways are a triple fault, or
///   tables that are not there.
/// - `panic=-1`: a kernel that panics resets at once instead of waiting for a person.
/// - `quiet`: with a serial console each character of a message is an exit, and without one no reader sees it.
const ALWAYS: &str = "reboot=k panic=-1 quiet";

/// Builds the command line for `devices` virtio devices.
///
/// # Errors
/// When it is too long or has impossible characters.
pub fn build(devices: usize, debug_console: bool, extra: &str) -> Result<String, CmdlineError> {
    let mut line = ALWAYS.to_owned();
    if debug_console {
        // The probe finds the port by its registers.
        line.push_str(" console=ttyS0");
    } else {
        // Not even looked for: the probe is a dozen exits.
        line.push_str(" 8250.nr_uarts=0");
    }
    for index in 0..devices {
        // Size, registers and interrupt (Linux drivers/virtio/virtio_mmio.c).
        line.push_str(&format!(
            " virtio_mmio.device=4K@{:#x}:{}",
            layout::virtio_address(index),
            layout::virtio_irq(index)
        ));
    }
    const { assert!(layout::VIRTIO_SIZE == 4 << 10) };
    if !extra.is_empty() {
        line.push(' ');
        line.push_str(extra);
    }
    if line.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(CmdlineError::Control);
    }
    if line.len() >= layout::CMDLINE_MAX {
        return Err(CmdlineError::TooLong(line.len()));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_device_and_ends_with_the_extra_words() {
        let line = build(2, false, "moat.x=1 quiet").unwrap();
        assert!(line.contains(
            " 8250.nr_uarts=0 virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6 moat.x=1"
        ));
        assert!(line.starts_with("reboot=k panic=-1 ") && line.ends_with(" quiet"));
        assert!(build(0, true, "").unwrap().ends_with(" console=ttyS0"));
    }

    #[test]
    fn every_device_fits_and_too_much_is_refused() {
        let full = build(layout::MAX_VIRTIO_DEVICES, true, "").unwrap();
        assert!(full.len() < layout::CMDLINE_MAX / 2, "{}", full.len());
        assert!(matches!(build(1, false, &"x".repeat(2048)), Err(CmdlineError::TooLong(_))));
        assert!(matches!(build(1, false, "a\0b"), Err(CmdlineError::Control)));
    }
}
