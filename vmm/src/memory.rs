//! The guest's memory: anonymous, private, reserved nowhere, and left out of core dumps.

use std::io;

use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{
    Address, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
    MmapRegion,
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

/// Maps `bytes` of memory in the ranges of [`layout::ram_ranges`].
///
/// # Errors
/// When the host does not give the address space.
pub fn map(bytes: u64) -> Result<GuestMemoryMmap, MemoryError> {
    let failed = |source| MemoryError::Map { bytes, source };
    let mut regions = Vec::new();
    for (start, length) in layout::ram_ranges(bytes) {
        let length = usize::try_from(length).map_err(io::Error::other).map_err(failed)?;
        let region = map_aligned(length).map_err(failed)?;
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
    // SAFETY: the range is exactly the mapping just made, and the advice changes no content.
    let advised = unsafe { libc::madvise(region.as_ptr().cast(), length, libc::MADV_DONTDUMP) };
    if advised != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(region)
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

/// Gives the host the pages of a range back; the guest reads zeros there from now on. What is not a whole page stays.
///
/// # Errors
/// When the range is not all guest memory, or the kernel refuses; then some of it may be gone.
pub fn discard(memory: &GuestMemoryMmap, start: GuestAddress, length: u64) -> io::Result<()> {
    let beyond = || io::Error::other("the range ends behind the last address");
    let first = start.raw_value().checked_next_multiple_of(PAGE_SIZE).ok_or_else(beyond)?;
    let end = start.raw_value().checked_add(length).ok_or_else(beyond)? / PAGE_SIZE * PAGE_SIZE;
    let Some(length) = end.checked_sub(first).filter(|length| *length > 0) else { return Ok(()) };
    let length = usize::try_from(length).map_err(io::Error::other)?;
    for slice in memory.get_slices(GuestAddress(first), length) {
        let slice = slice.map_err(io::Error::other)?;
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
}
