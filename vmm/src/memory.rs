//! The guest's memory, reserved nowhere and left out of core dumps. It is anonymous, or a file in memory that the launcher
//! has passed.

use std::fs::File;
use std::io;
use std::sync::Arc;

use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use vm_memory::{
    Address, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap, MmapRegion,
};

use crate::layout;

/// The page size of the host and the guest, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// What one entry of a page directory maps, in bytes.
const HUGE_PAGE: usize = 2 << 20;

/// Why there is no guest memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The host does not give the address space.
    #[error("cannot map {bytes} bytes of guest memory: {source}")]
    Map {
        /// How much was asked for.
        bytes: u64,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The file cannot be asked.
    #[error("cannot look at the file for guest memory: {0}")]
    Look(io::Error),
    /// The file is none in memory, or could become shorter under the guest.
    #[error(
        "the file for guest memory must be a memfd that is sealed against becoming shorter (F_SEAL_SHRINK)"
    )]
    Unsealed,
    /// The file has less than the guest.
    #[error("the file for guest memory has {actual} bytes, but the VM needs {needed}")]
    Short {
        /// The guest's memory.
        needed: u64,
        /// The file's length.
        actual: u64,
    },
    /// KVM does not take the memory.
    #[error("KVM refuses {bytes} bytes of guest memory at {start:#x}: {source}")]
    Slot {
        /// The guest's address.
        start: u64,
        /// The length.
        bytes: u64,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A file that has the guest's memory, see [`crate::config::MemoryConfig::File`].
pub struct MemoryFile {
    /// The file.
    pub file: File,
    /// Whether what the guest writes goes into the file.
    pub shared: bool,
}

/// Maps `bytes` of anonymous memory in the ranges of [`layout::ram_ranges`].
///
/// # Errors
/// When the host does not give the address space.
pub fn map(bytes: u64) -> Result<GuestMemoryMmap, MemoryError> {
    map_with(bytes, |_, length| map_aligned(length))
}

/// Maps the first `bytes` of `file` in the ranges of [`layout::ram_ranges`].
///
/// # Errors
/// When the file is not what it should be, or the host does not give the address space.
pub fn map_file(bytes: u64, MemoryFile { file, shared }: MemoryFile) -> Result<GuestMemoryMmap, MemoryError> {
    // A file that becomes shorter would end this process at its next access (SIGBUS).
    let seals = fcntl(&file, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_retain);
    if !seals.is_ok_and(|seals| seals.contains(SealFlag::F_SEAL_SHRINK)) {
        return Err(MemoryError::Unsealed);
    }
    let actual = file.metadata().map_err(MemoryError::Look)?.len();
    if actual < bytes {
        return Err(MemoryError::Short { needed: bytes, actual });
    }
    let file = Arc::new(file);
    let flags = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE } | libc::MAP_NORESERVE;
    map_with(bytes, |offset, length| {
        let place = FileOffset::from_arc(Arc::clone(&file), offset);
        let region = MmapRegion::build(Some(place), length, libc::PROT_READ | libc::PROT_WRITE, flags)
            .map_err(io::Error::other)?;
        leave_out_of_dumps(&region)?;
        Ok(region)
    })
}

/// Maps each range of `bytes` of memory with `map`, which gets the bytes before it and its length.
fn map_with(
    bytes: u64,
    map: impl Fn(u64, usize) -> io::Result<MmapRegion>,
) -> Result<GuestMemoryMmap, MemoryError> {
    let failed = |source| MemoryError::Map { bytes, source };
    let (mut regions, mut before) = (Vec::new(), 0);
    for (start, length) in layout::ram_ranges(bytes) {
        let size = usize::try_from(length).map_err(io::Error::other).map_err(failed)?;
        let region = map(before, size).map_err(failed)?;
        before += length;
        regions.push(
            GuestRegionMmap::new(region, GuestAddress(start))
                .ok_or_else(|| failed(io::Error::other("the addresses overflow")))?,
        );
    }
    GuestMemoryMmap::from_regions(regions).map_err(|error| failed(io::Error::other(error)))
}

/// Anonymous pages that cost nothing until they are touched and never show up in a core dump.
///
/// # Errors
/// When the host does not give the address space.
pub fn map_anonymous(length: usize) -> io::Result<MmapRegion> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let region = MmapRegion::build(None, length, libc::PROT_READ | libc::PROT_WRITE, flags)
        .map_err(io::Error::other)?;
    leave_out_of_dumps(&region)?;
    Ok(region)
}

fn leave_out_of_dumps(region: &MmapRegion) -> io::Result<()> {
    // SAFETY: the range is one whole mapping, and the advice changes no content.
    match unsafe { libc::madvise(region.as_ptr().cast(), region.size(), libc::MADV_DONTDUMP) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Anonymous pages for a guest, at an address at which huge pages can map them on both sides: whether the host uses some
/// is its administrator's choice. They stay mapped until the process ends, as a VM's memory does.
fn map_aligned(length: usize) -> io::Result<MmapRegion> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let beyond = || io::Error::other("more than can be addressed");
    let wanted = length.checked_add(HUGE_PAGE).ok_or_else(beyond)?;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), wanted, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let head = start.align_offset(HUGE_PAGE);
    // SAFETY: the alignment leaves at most HUGE_PAGE - 1 bytes before, so `length` bytes from here are in the mapping.
    let aligned = unsafe { start.byte_add(head) };
    // SAFETY: both are ends of the mapping just made that nothing refers to; unmapping none of it does nothing.
    unsafe {
        libc::munmap(start, head);
        libc::munmap(aligned.byte_add(length), HUGE_PAGE - head);
    }
    // SAFETY: the range is what is left of the mapping, and the advice changes no content.
    if unsafe { libc::madvise(aligned, length, libc::MADV_DONTDUMP) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: likewise, and it is never unmapped.
    unsafe { MmapRegion::build_raw(aligned.cast(), length, protection, flags) }.map_err(io::Error::other)
}

/// Gives every region of `memory` to the VM, from slot 0 on. Returns the next free slot.
///
/// # Errors
/// When KVM refuses a region.
pub fn attach(vm: &VmFd, memory: &GuestMemoryMmap) -> Result<u32, MemoryError> {
    let mut slot = 0;
    for region in memory.iter() {
        attach_region(vm, slot, region.start_addr().raw_value(), region, 0)?;
        slot += 1;
    }
    Ok(slot)
}

/// Gives pages to the VM that the guest can read; its writes become MMIO exits.
///
/// The caller keeps `region` mapped for as long as the VM exists.
///
/// # Errors
/// When KVM refuses the region.
pub fn attach_read_only(vm: &VmFd, slot: u32, start: u64, region: &MmapRegion) -> Result<(), MemoryError> {
    attach_region(vm, slot, start, region, KVM_MEM_READONLY)
}

fn attach_region(
    vm: &VmFd,
    slot: u32,
    start: u64,
    region: &MmapRegion,
    flags: u32,
) -> Result<(), MemoryError> {
    let bytes = region.size() as u64;
    let area = kvm_userspace_memory_region {
        slot,
        flags,
        guest_phys_addr: start,
        memory_size: bytes,
        userspace_addr: region.as_ptr() as u64,
    };
    // SAFETY: the area is one whole mapping that `Machine` (guest memory) or `RegisterFile` keeps alive longer than
    // the VM's descriptor; no two regions share a slot or guest addresses.
    unsafe { vm.set_user_memory_region(area) }.map_err(|error| MemoryError::Slot {
        start,
        bytes,
        source: error.into(),
    })
}

/// Gives the host the pages of a range back; the guest reads zeros there from now on. What is not a whole page stays, and so
/// does memory that is a file: zeros there would take a call that no filter allows.
///
/// # Errors
/// When the range is not all guest memory, or the kernel refuses; then some of it may be gone.
pub fn discard(memory: &GuestMemoryMmap, start: GuestAddress, length: u64) -> io::Result<()> {
    let beyond = || io::Error::other("the range ends behind the last address");
    let first = start.raw_value().checked_next_multiple_of(PAGE_SIZE).ok_or_else(beyond)?;
    let end = start.raw_value().checked_add(length).ok_or_else(beyond)? / PAGE_SIZE * PAGE_SIZE;
    let Some(length) = end.checked_sub(first).filter(|length| *length > 0) else { return Ok(()) };
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let is_file = memory.iter().any(|region| region.file_offset().is_some());
    for slice in memory.get_slices(GuestAddress(first), length) {
        let slice = slice.map_err(io::Error::other)?;
        if is_file {
            continue;
        }
        let guard = slice.ptr_guard_mut();
        // SAFETY: the slice lies in a live private anonymous mapping of guest memory, at page bounds because regions
        // start and end at them. Nothing on the host holds references into guest memory, only volatile accesses.
        let advised = unsafe { libc::madvise(guard.as_ptr().cast(), slice.len(), libc::MADV_DONTNEED) };
        if advised != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use vm_memory::Bytes;

    use super::*;

    #[test]
    fn huge_pages_can_map_it() {
        let memory = map((3 << 30) + (6 << 20)).unwrap();
        assert_eq!(memory.num_regions(), 2);
        for region in memory.iter() {
            assert_eq!(region.as_ptr().align_offset(HUGE_PAGE), 0);
            region.write_obj(1u8, vm_memory::MemoryRegionAddress(region.len() - 1)).unwrap();
        }
    }

    #[test]
    fn discarded_pages_read_as_zeros_and_neighbours_stay() {
        let memory = map(1 << 20).unwrap();
        memory.write_slice(&[0xaa; 5 * 4096], GuestAddress(0x1000)).unwrap();
        // From the middle of the first page to the middle of the last: three whole pages in between.
        discard(&memory, GuestAddress(0x1800), 4 * 4096).unwrap();
        let mut bytes = [0; 5 * 4096];
        memory.read_slice(&mut bytes, GuestAddress(0x1000)).unwrap();
        assert!(bytes[..4096].iter().all(|byte| *byte == 0xaa));
        assert!(bytes[4096..4 * 4096].iter().all(|byte| *byte == 0));
        assert!(bytes[4 * 4096..].iter().all(|byte| *byte == 0xaa));
    }

    #[test]
    fn discarding_what_is_not_memory_is_refused() {
        let memory = map(1 << 20).unwrap();
        for (start, length) in [(1 << 20, 4096), (0, 2 << 20), (u64::MAX - 4095, 4096), (u64::MAX - 10, 100)]
        {
            assert!(discard(&memory, GuestAddress(start), length).is_err(), "{start:#x}+{length:#x}");
        }
        discard(&memory, GuestAddress(4095), 2).unwrap();
        discard(&memory, GuestAddress(0), 0).unwrap();
    }

    fn memfd(bytes: u64, seals: SealFlag) -> File {
        use nix::sys::memfd::{MFdFlags, memfd_create};
        let file = File::from(memfd_create(c"guest", MFdFlags::MFD_ALLOW_SEALING).unwrap());
        file.set_len(bytes).unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        file
    }

    #[test]
    fn a_file_is_the_memory_and_keeps_what_is_written_if_it_is_shared() {
        use std::os::unix::fs::FileExt;
        for shared in [false, true] {
            let file = memfd(1 << 20, SealFlag::F_SEAL_SHRINK);
            file.write_all_at(b"from the file", 0x3000).unwrap();
            let memory = map_file(1 << 20, MemoryFile { file: file.try_clone().unwrap(), shared }).unwrap();
            let mut bytes = [0; 13];
            memory.read_slice(&mut bytes, GuestAddress(0x3000)).unwrap();
            assert_eq!(&bytes, b"from the file");
            memory.write_slice(b"from the guest", GuestAddress(0x5000)).unwrap();
            // The balloon leaves it alone.
            discard(&memory, GuestAddress(0x3000), 0x4000).unwrap();
            memory.read_slice(&mut bytes, GuestAddress(0x3000)).unwrap();
            assert_eq!(&bytes, b"from the file");
            let mut kept = [0; 14];
            file.read_exact_at(&mut kept, 0x5000).unwrap();
            assert_eq!(&kept == b"from the guest", shared);
        }
    }

    #[test]
    fn a_large_file_goes_on_behind_the_hole_for_devices() {
        use std::os::unix::fs::FileExt;
        let bytes = layout::DEVICE_HOLE_START + (4 << 20);
        let file = memfd(bytes + 4096, SealFlag::F_SEAL_SHRINK);
        file.write_all_at(b"high", layout::DEVICE_HOLE_START).unwrap();
        let memory = map_file(bytes, MemoryFile { file, shared: true }).unwrap();
        let mut high = [0; 4];
        memory.read_slice(&mut high, GuestAddress(layout::DEVICE_HOLE_END)).unwrap();
        assert_eq!((&high, memory.num_regions()), (b"high", 2));
        assert!(memory.check_range(GuestAddress(layout::DEVICE_HOLE_END), 4 << 20));
        assert!(!memory.check_range(GuestAddress(layout::DEVICE_HOLE_END), (4 << 20) + 1));
    }

    #[test]
    fn files_that_are_too_small_or_could_become_so_are_refused() {
        let map = |file| map_file(1 << 20, MemoryFile { file, shared: false });
        let short = map(memfd((1 << 20) - 1, SealFlag::F_SEAL_SHRINK)).unwrap_err();
        assert_eq!(
            short.to_string(),
            "the file for guest memory has 1048575 bytes, but the VM needs 1048576"
        );
        for seals in [SealFlag::empty(), SealFlag::F_SEAL_GROW] {
            assert!(matches!(map(memfd(1 << 20, seals)), Err(MemoryError::Unsealed)));
        }
        let ordinary = tempfile::tempfile().unwrap();
        ordinary.set_len(1 << 20).unwrap();
        assert!(matches!(map(ordinary), Err(MemoryError::Unsealed)));
        // Sealed against writing, it cannot be shared, and is private without harm.
        let sealed = || memfd(1 << 20, SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE);
        let shared = map_file(1 << 20, MemoryFile { file: sealed(), shared: true });
        assert!(matches!(shared, Err(MemoryError::Map { .. })));
        map(sealed()).unwrap().write_obj(1u8, GuestAddress(0)).unwrap();
    }
}
