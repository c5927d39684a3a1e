//! Brings the kernel and the initramfs into guest memory, straight from their files.

use std::fs::File;
use std::io::Seek;

use linux_loader::loader::{Elf, KernelLoader};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::layout;
use crate::memory::PAGE_SIZE;

/// Why a kernel or an initramfs cannot be booted.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not an ELF kernel, or a damaged one.
    #[error("the kernel is not a usable x86-64 ELF vmlinux: {0}")]
    Elf(#[from] linux_loader::loader::Error),
    /// The entry point lies outside of what was loaded.
    #[error("the kernel's entry point {entry:#x} is not inside the kernel, which ends at {end:#x}")]
    Entry {
        /// The entry point's guest address.
        entry: u64,
        /// The first address behind the kernel.
        end: u64,
    },
    /// The memory is too small for it.
    #[error(
        "the {what} needs guest memory up to {needed:#x}, but it ends at {available:#x}; give the VM more memory"
    )]
    Room {
        /// The kernel or the initramfs.
        what: &'static str,
        /// The first address behind what is needed.
        needed: u64,
        /// The first address behind the memory.
        available: u64,
    },
    /// The initramfs is no regular file, is empty, or cannot be read.
    #[error("the initramfs cannot be read: {0}")]
    Initramfs(String),
}

/// What was loaded, as guest addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// The kernel's first instruction.
    pub entry: u64,
    /// Where the initramfs starts.
    pub initramfs_start: u64,
    /// How long it is, in bytes.
    pub initramfs_bytes: u64,
}

/// Loads both: the kernel at its own address, the initramfs at the end of low memory, where the kernel leaves it
/// alone until it is unpacked.
///
/// # Errors
/// When either is not what it should be, or does not fit.
pub fn load(memory: &GuestMemoryMmap, mut kernel: File, mut initramfs: File) -> Result<Loaded, LoadError> {
    let (entry, kernel_end) = load_kernel(memory, &mut kernel)?;
    let bytes = initramfs_length(&initramfs)?;
    let low_end = low_memory_end(memory);
    let start = low_end.checked_sub(bytes).map_or(0, |start| start / PAGE_SIZE * PAGE_SIZE);
    if start < kernel_end.next_multiple_of(PAGE_SIZE) {
        let needed = kernel_end.saturating_add(bytes);
        return Err(LoadError::Room { what: "kernel and the initramfs", needed, available: low_end });
    }
    let unreadable = |error: &dyn std::fmt::Display| LoadError::Initramfs(error.to_string());
    initramfs.rewind().map_err(|error| unreadable(&error))?;
    memory
        // Fits: it is no longer than the memory.
        .read_exact_volatile_from(GuestAddress(start), &mut initramfs, bytes as usize)
        .map_err(|error| unreadable(&error))?;
    Ok(Loaded { entry, initramfs_start: start, initramfs_bytes: bytes })
}

/// Returns the entry point and the first address behind the kernel.
fn load_kernel(memory: &GuestMemoryMmap, kernel: &mut File) -> Result<(u64, u64), LoadError> {
    let loaded = Elf::load(memory, None, kernel, Some(GuestAddress(layout::HIGH_RAM_START)))?;
    let (entry, end) = (loaded.kernel_load.raw_value(), loaded.kernel_end);
    let available = low_memory_end(memory);
    // Counts what the file does not contain too: the kernel clears that memory itself.
    if end > available {
        return Err(LoadError::Room { what: "kernel", needed: end, available });
    }
    if entry < layout::HIGH_RAM_START || entry >= end {
        return Err(LoadError::Entry { entry, end });
    }
    Ok((entry, end))
}

fn low_memory_end(memory: &GuestMemoryMmap) -> u64 {
    memory.iter().next().map_or(0, |region| region.start_addr().raw_value() + region.len())
}

fn initramfs_length(initramfs: &File) -> Result<u64, LoadError> {
    let metadata = initramfs.metadata().map_err(|error| LoadError::Initramfs(error.to_string()))?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Err(LoadError::Initramfs("it must be a regular file and not empty".to_owned()));
    }
    Ok(metadata.len())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const BASE: u64 = 0x100_0000;
    const TEXT: &[u8] = b"kernel text";

    /// A vmlinux with one segment of `TEXT` at `BASE` that takes `memory_bytes`, and its entry at `entry`.
    fn elf(entry: u64, memory_bytes: u64) -> Vec<u8> {
        let mut image = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        image.resize(16, 0);
        image.extend(2u16.to_le_bytes());
        image.extend(62u16.to_le_bytes());
        image.extend(1u32.to_le_bytes());
        for word in [entry, 64, 0] {
            image.extend(word.to_le_bytes());
        }
        image.extend(0u32.to_le_bytes());
        for half in [64u16, 56, 1, 0, 0, 0] {
            image.extend(half.to_le_bytes());
        }
        image.extend(1u32.to_le_bytes());
        image.extend(5u32.to_le_bytes());
        for word in [120, BASE, BASE, TEXT.len() as u64, memory_bytes, 4096] {
            image.extend(word.to_le_bytes());
        }
        image.extend(TEXT);
        image
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn load_bytes(kernel: &[u8], initramfs: &[u8]) -> Result<(Loaded, GuestMemoryMmap), LoadError> {
        let memory = crate::memory::map(32 << 20).unwrap();
        load(&memory, file(kernel), file(initramfs)).map(|loaded| (loaded, memory))
    }

    #[test]
    fn both_lie_where_they_belong() {
        let (loaded, memory) = load_bytes(&elf(BASE + 4, 0x5000), &[7; 5000]).unwrap();
        assert_eq!(
            loaded,
            Loaded { entry: BASE + 4, initramfs_start: (32 << 20) - 8192, initramfs_bytes: 5000 }
        );
        let mut text = [0; TEXT.len()];
        memory.read_slice(&mut text, GuestAddress(BASE)).unwrap();
        assert_eq!(text, TEXT);
        assert_eq!(memory.read_obj::<u8>(GuestAddress(loaded.initramfs_start + 4999)).unwrap(), 7);
    }

    #[test]
    fn what_cannot_be_booted_is_named() {
        let entry = |kernel: &[u8]| load_bytes(kernel, b"x").map(drop).unwrap_err().to_string();
        assert!(entry(b"").contains("not a usable x86-64 ELF"));
        assert!(
            entry(b"\x1f\x8b a compressed kernel and some more bytes until a header is full ....")
                .contains("magic")
        );
        assert!(entry(&elf(BASE, 64)[..100]).contains("program header"));
        assert!(entry(&elf(BASE, 64)[..125]).contains("kernel image"));
        assert!(entry(&elf(BASE + 64, 64)).contains("entry point 0x1000040 is not inside"));
        assert!(entry(&elf(BASE, 1 << 30)).contains("the kernel needs guest memory up to 0x41000000"));
        assert!(entry(&elf(BASE, u64::MAX)).contains("usable"));
    }

    #[test]
    fn an_initramfs_that_does_not_fit_or_is_none_is_refused() {
        let kernel = elf(BASE, 64);
        let error = load_bytes(&kernel, &vec![0; 17 << 20]).map(drop).unwrap_err();
        assert!(matches!(error, LoadError::Room { what: "kernel and the initramfs", .. }), "{error}");
        assert!(matches!(load_bytes(&kernel, b""), Err(LoadError::Initramfs(_))));
        let memory = crate::memory::map(32 << 20).unwrap();
        let pipe = File::from(nix::unistd::pipe().unwrap().0);
        assert!(matches!(load(&memory, file(&kernel), pipe), Err(LoadError::Initramfs(_))));
    }

    proptest! {
        #[test]
        fn damaged_kernels_are_refused_or_loaded_but_never_panic(at in 0usize..131, byte: u8) {
            let mut kernel = elf(BASE, 64);
            kernel[at] = byte;
            let _ = load_bytes(&kernel, b"x");
        }
    }
}
