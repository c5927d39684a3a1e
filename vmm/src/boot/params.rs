//! The boot parameters ("zero page") and the memory map in them (Linux `Documentation/arch/x86/zero-page.rst`).

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params};
use vm_memory::{
    Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryMmap, GuestMemoryRegion,
};

use super::kernel::Loaded;
use crate::layout;

/// An unknown boot loader.
const LOADER_UNDEFINED: u8 = 0xff;
/// "HdrS".
const HEADER_MAGIC: u32 = 0x5372_6448;
/// What marks a boot sector; the kernel does not look, tools do.
const BOOT_FLAG: u16 = 0xaa55;
const E820_RAM: u32 = 1;

/// Writes the command line and the parameters that point to it.
///
/// # Errors
/// When the memory does not reach that far.
pub fn write(memory: &GuestMemoryMmap, loaded: &Loaded, cmdline: &str) -> Result<(), GuestMemoryError> {
    // With its terminating zero: memory starts out as zeros, but a file for it may not.
    memory.write_slice(cmdline.as_bytes(), GuestAddress(layout::CMDLINE_START))?;
    memory.write_obj(0u8, GuestAddress(layout::CMDLINE_START + cmdline.len() as u64))?;
    memory.write_obj(parameters(memory, loaded, cmdline.len()), GuestAddress(layout::BOOT_PARAMS_START))
}

fn parameters(memory: &GuestMemoryMmap, loaded: &Loaded, cmdline_bytes: usize) -> boot_params {
    let mut params = boot_params::default();
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.hdr.boot_flag = BOOT_FLAG;
    params.hdr.header = HEADER_MAGIC;
    // Both below 4 GiB: fixed, and at the end of low memory.
    params.hdr.cmd_line_ptr = layout::CMDLINE_START as u32;
    params.hdr.cmdline_size = cmdline_bytes as u32;
    params.hdr.ramdisk_image = loaded.initramfs_start as u32;
    params.hdr.ramdisk_size = loaded.initramfs_bytes as u32;
    let map = memory_map(memory);
    for (entry, (start, end)) in params.e820_table.iter_mut().zip(&map) {
        *entry = boot_e820_entry { addr: *start, size: end - start, r#type: E820_RAM };
    }
    params.e820_entries = map.len() as u8;
    params
}

/// The ranges of usable RAM, as start and end: all but what a PC has for video and BIOS.
fn memory_map(memory: &GuestMemoryMmap) -> Vec<(u64, u64)> {
    let mut map = vec![(0, layout::LOW_RAM_END)];
    for region in memory.iter() {
        let start = region.start_addr().raw_value();
        map.push((start.max(layout::HIGH_RAM_START), start + region.len()));
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_map_is_the_memory() {
        let memory = crate::memory::map((3 << 30) + (5 << 20)).unwrap();
        assert_eq!(
            memory_map(&memory),
            [(0, 0x9_fc00), (0x10_0000, 0xc000_0000), (0x1_0000_0000, 0x1_0050_0000)]
        );
        assert_eq!(memory_map(&crate::memory::map(64 << 20).unwrap()).len(), 2);
    }

    #[test]
    fn the_parameters_point_to_what_was_loaded() {
        let memory = crate::memory::map(64 << 20).unwrap();
        let loaded = Loaded { entry: 0x100_0000, initramfs_start: 0x3f0_0000, initramfs_bytes: 0x1234 };
        write(&memory, &loaded, "quiet x=1").unwrap();
        let params: boot_params = memory.read_obj(GuestAddress(layout::BOOT_PARAMS_START)).unwrap();
        let (image, size, entries) = (params.hdr.ramdisk_image, params.hdr.ramdisk_size, params.e820_entries);
        assert_eq!((image, size, entries), (0x3f0_0000, 0x1234, 2));
        let mut line = [0xff; 10];
        memory.read_slice(&mut line, GuestAddress(layout::CMDLINE_START)).unwrap();
        assert_eq!(&line, b"quiet x=1\0");
    }
}
