//! Every address that the guest sees, in one place, each with its reason.
//!
//! ```text
//! 0x0000_0500  GDT of the first virtual CPU
//! 0x0000_7000  boot parameters ("zero page")
//! 0x0000_9000  page tables for the jump into 64-bit mode
//! 0x0002_0000  command line
//! 0x000a_0000  end of conventional memory; not described as RAM up to 1 MiB
//! 0x000f_0000  MP table
//! 0x0010_0000  RAM: the kernel at its own address, the initramfs at the end of low memory
//! 0xc000_0000  no RAM up to 4 GiB: virtio registers, IOAPIC, KVM's own pages, LAPIC
//! 0x1_0000_0000  RAM that did not fit below
//! ```

/// A byte written to this I/O port ends the VM with [`crate::report::StopReason::PowerOff`]. It lies where the PC
/// architecture has nothing. The agent writes to it from user space, so a clean stop costs one exit and no driver.
pub const POWER_OFF_PORT: u16 = 0x604;

/// The keyboard controller's command port; nothing else of that chip is there.
pub const KEYBOARD_COMMAND_PORT: u16 = 0x64;
/// Written to [`KEYBOARD_COMMAND_PORT`] it pulses the reset line: how `reboot=k` restarts a PC.
pub const KEYBOARD_RESET: u8 = 0xfe;

/// The first serial port of a PC, where the kernel looks for `ttyS0`.
pub const SERIAL_PORT: u16 = 0x3f8;
/// The registers of a 16550.
pub const SERIAL_PORT_COUNT: u16 = 8;
/// The interrupt of the first serial port.
pub const SERIAL_IRQ: u32 = 4;

/// The GDT: behind the real-mode interrupt vectors and BIOS data area, which a kernel may look at.
pub const GDT_START: u64 = 0x500;
/// The boot parameters, one page (Linux `Documentation/arch/x86/zero-page.rst`). The usual place of boot loaders.
pub const BOOT_PARAMS_START: u64 = 0x7000;
/// The stack pointer at the kernel's first instruction; it sets up its own before it pushes much.
pub const BOOT_STACK: u64 = 0x8ff0;
/// Page map level 4; three pages from here identity-map the first GiB.
pub const PML4_START: u64 = 0x9000;
/// Page directory pointers.
pub const PDPT_START: u64 = 0xa000;
/// Page directory with 2 MiB pages.
pub const PD_START: u64 = 0xb000;
/// How much the boot page tables map, in bytes; the kernel's own tables replace them in its first instructions.
pub const BOOT_MAPPED: u64 = 1 << 30;

/// The command line.
pub const CMDLINE_START: u64 = 0x2_0000;
/// The most the command line can hold with its terminating zero, in bytes: `COMMAND_LINE_SIZE` of x86 Linux.
pub const CMDLINE_MAX: usize = 2048;

/// End of what is described as conventional memory. On a PC the EBDA lies above it.
pub const LOW_RAM_END: u64 = 0x9_fc00;
/// Video memory and BIOS of a PC: memory, but described to the kernel as reserved.
pub const RESERVED_START: u64 = 0xa_0000;
/// The MP table: the BIOS range is the last place where the kernel looks, and has room for every CPU.
pub const MP_TABLE_START: u64 = 0xf_0000;
/// The most the MP table can hold, in bytes.
pub const MP_TABLE_MAX: usize = 0x1_0000;
/// Where ordinary RAM starts and where kernels are loaded at or above.
pub const HIGH_RAM_START: u64 = 0x10_0000;

/// Where RAM makes room for devices below 4 GiB. One GiB aligned, so that huge pages can map what is below.
pub const DEVICE_HOLE_START: u64 = 0xc000_0000;
/// Where RAM goes on.
pub const DEVICE_HOLE_END: u64 = 0x1_0000_0000;

/// The registers of the first virtio device; the others follow.
pub const VIRTIO_START: u64 = 0xd000_0000;
/// One page per device, so that its registers can be mapped for reading, see [`crate::virtio::registers`].
pub const VIRTIO_SIZE: u64 = 0x1000;
/// The interrupt of the first virtio device; the others follow. Below lie those that the PC gave a meaning
/// (timer, keyboard, cascade, serial).
pub const VIRTIO_FIRST_IRQ: u32 = 5;
/// As many virtio devices as the IOAPIC has pins from [`VIRTIO_FIRST_IRQ`] on.
pub const MAX_VIRTIO_DEVICES: usize = (IOAPIC_PINS - VIRTIO_FIRST_IRQ) as usize;

/// Where a PC has the IOAPIC; KVM emulates it there.
pub const IOAPIC_START: u32 = 0xfec0_0000;
/// Interrupt inputs of KVM's IOAPIC.
pub const IOAPIC_PINS: u32 = 24;
/// Where every x86 CPU has its local APIC.
pub const LAPIC_START: u32 = 0xfee0_0000;
/// One page that KVM needs on Intel hosts to emulate real mode; anywhere without RAM or device.
pub const KVM_IDENTITY_MAP: u64 = 0xfffb_c000;
/// Three pages, likewise.
pub const KVM_TSS: u64 = KVM_IDENTITY_MAP + 0x1000;

/// The registers of the virtio device `index`.
pub const fn virtio_address(index: usize) -> u64 {
    VIRTIO_START + index as u64 * VIRTIO_SIZE
}

/// The interrupt of the virtio device `index`.
pub const fn virtio_irq(index: usize) -> u32 {
    VIRTIO_FIRST_IRQ + index as u32
}

/// What Linux calls the virtio device `index` on its platform bus: it numbers the devices of its command line in their
/// order (drivers/virtio/virtio_mmio.c).
pub fn device_name(index: usize) -> String {
    format!("virtio-mmio.{index}")
}

/// The ranges of RAM of a guest with `bytes` of memory: start and length in bytes.
pub fn ram_ranges(bytes: u64) -> Vec<(u64, u64)> {
    let low = bytes.min(DEVICE_HOLE_START);
    let mut ranges = vec![(0, low)];
    if bytes > low {
        ranges.push((DEVICE_HOLE_END, bytes - low));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start, length and name of everything with a fixed place.
    fn fixed() -> Vec<(u64, u64, &'static str)> {
        vec![
            (GDT_START, 0x100, "GDT"),
            (BOOT_PARAMS_START, 0x1000, "boot parameters"),
            (BOOT_STACK - 0xf00, 0xf00, "stack"),
            (PML4_START, 0x1000, "PML4"),
            (PDPT_START, 0x1000, "PDPT"),
            (PD_START, 0x1000, "PD"),
            (CMDLINE_START, CMDLINE_MAX as u64, "command line"),
            (RESERVED_START, MP_TABLE_START - RESERVED_START, "video and option ROMs"),
            (MP_TABLE_START, MP_TABLE_MAX as u64, "MP table"),
            (HIGH_RAM_START, DEVICE_HOLE_START - HIGH_RAM_START, "RAM"),
            (VIRTIO_START, MAX_VIRTIO_DEVICES as u64 * VIRTIO_SIZE, "virtio"),
            (IOAPIC_START.into(), 0x1000, "IOAPIC"),
            (LAPIC_START.into(), 0x1000, "LAPIC"),
            (KVM_IDENTITY_MAP, 0x1000, "identity map"),
            (KVM_TSS, 0x3000, "TSS"),
            (DEVICE_HOLE_END, 1 << 40, "high RAM"),
        ]
    }

    #[test]
    fn nothing_overlaps() {
        let mut fixed = fixed();
        fixed.sort_unstable();
        for pair in fixed.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{} runs into {}", pair[0].2, pair[1].2);
        }
        const { assert!(MP_TABLE_START + MP_TABLE_MAX as u64 == HIGH_RAM_START) };
        const { assert!(CMDLINE_START + (CMDLINE_MAX as u64) < LOW_RAM_END) };
    }

    #[test]
    fn ram_leaves_the_device_hole_out() {
        assert_eq!(ram_ranges(64 << 20), [(0, 64 << 20)]);
        assert_eq!(ram_ranges(DEVICE_HOLE_START), [(0, DEVICE_HOLE_START)]);
        assert_eq!(ram_ranges(DEVICE_HOLE_START + 1), [(0, DEVICE_HOLE_START), (DEVICE_HOLE_END, 1)]);
    }

    #[test]
    fn device_interrupts_are_pins_of_their_own() {
        assert!(virtio_irq(0) > SERIAL_IRQ);
        assert_eq!(virtio_irq(MAX_VIRTIO_DEVICES - 1), IOAPIC_PINS - 1);
    }
}
