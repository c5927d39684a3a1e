//! The registers of a virtual CPU at its first instruction: 64-bit mode with identity-mapped pages, as the kernel's
//! 64-bit entry wants it. The others start by the first one's INIT and SIPI, as on hardware.

use kvm_bindings::{Msrs, kvm_fpu, kvm_lapic_state, kvm_msr_entry, kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::layout;

/// Why a virtual CPU cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// KVM refused.
    #[error("KVM refuses to set a virtual CPU's {what}: {source}")]
    Kvm {
        /// Which registers.
        what: &'static str,
        /// KVM's answer.
        source: kvm_ioctls::Error,
    },
    /// The MSRs exist on every CPU with 64-bit mode.
    #[error("KVM set {0} of the virtual CPU's {MSR_COUNT} MSRs")]
    Msrs(usize),
    /// The memory does not reach that far.
    #[error("cannot write the boot page tables: {0}")]
    Tables(#[from] GuestMemoryError),
}

fn kvm(what: &'static str) -> impl Fn(kvm_ioctls::Error) -> SetupError {
    move |source| SetupError::Kvm { what, source }
}

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Page table bits: present, writable, large.
const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const LARGE: u64 = 1 << 7;
const LARGE_PAGE: u64 = 2 << 20;
/// Always set in RFLAGS.
const RFLAGS_RESERVED: u64 = 2;

/// Fast string operations, which a PC's firmware switches on.
const MSR_MISC_ENABLE: u32 = 0x1a0;
const MISC_ENABLE_FAST_STRING: u64 = 1;
/// All memory is cacheable: the guest has no memory of devices.
const MSR_MTRR_DEF_TYPE: u32 = 0x2ff;
const MTRR_ENABLE_WRITE_BACK: u64 = 1 << 11 | 6;
const MSR_COUNT: usize = 2;

/// The local vector table's entries for the two interrupt pins of the LAPIC.
const LAPIC_LINT0: usize = 0x350;
const LAPIC_LINT1: usize = 0x360;
const DELIVERY_NMI: u32 = 4 << 8;
const DELIVERY_EXTINT: u32 = 7 << 8;

/// Segments of the GDT by index, with the flags a kernel expects: a 64-bit code segment at 0x10, flat data at 0x18.
const GDT: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
const CODE: u16 = 2;
const DATA: u16 = 3;

/// Writes the GDT and the page tables, once for all CPUs.
///
/// # Errors
/// When the memory does not reach that far.
pub fn write_tables(memory: &GuestMemoryMmap) -> Result<(), GuestMemoryError> {
    let put = |start: u64, index: usize, value: u64| {
        memory.write_obj(value, GuestAddress(start + 8 * index as u64))
    };
    for (index, descriptor) in GDT.into_iter().enumerate() {
        put(layout::GDT_START, index, descriptor)?;
    }
    put(layout::PML4_START, 0, layout::PDPT_START | PRESENT | WRITABLE)?;
    put(layout::PDPT_START, 0, layout::PD_START | PRESENT | WRITABLE)?;
    for index in 0..(layout::BOOT_MAPPED / LARGE_PAGE) as usize {
        put(layout::PD_START, index, (index as u64 * LARGE_PAGE) | PRESENT | WRITABLE | LARGE)?;
    }
    Ok(())
}

/// What every virtual CPU has: MSRs, FPU, the LAPIC's pins.
///
/// # Errors
/// When KVM refuses.
pub fn set_common(vcpu: &VcpuFd) -> Result<(), SetupError> {
    let entry = |index, data| kvm_msr_entry { index, data, ..Default::default() };
    let msrs = Msrs::from_entries(&[
        entry(MSR_MISC_ENABLE, MISC_ENABLE_FAST_STRING),
        entry(MSR_MTRR_DEF_TYPE, MTRR_ENABLE_WRITE_BACK),
    ])
    .map_err(|_| SetupError::Msrs(0))?;
    match vcpu.set_msrs(&msrs).map_err(kvm("MSRs"))? {
        MSR_COUNT => {}
        other => return Err(SetupError::Msrs(other)),
    }
    // The state after FNINIT, and SSE exceptions masked.
    let fpu = kvm_fpu { fcw: 0x37f, mxcsr: 0x1f80, ..Default::default() };
    vcpu.set_fpu(&fpu).map_err(kvm("FPU"))?;
    let mut lapic = vcpu.get_lapic().map_err(kvm("LAPIC"))?;
    set_lapic(&mut lapic, LAPIC_LINT0, DELIVERY_EXTINT);
    set_lapic(&mut lapic, LAPIC_LINT1, DELIVERY_NMI);
    vcpu.set_lapic(&lapic).map_err(kvm("LAPIC"))
}

/// Sets a register's delivery mode and leaves the rest of it.
fn set_lapic(lapic: &mut kvm_lapic_state, register: usize, delivery: u32) {
    let bytes = &mut lapic.regs[register..register + 4];
    let mut value = 0u32;
    for (index, byte) in bytes.iter().enumerate() {
        value |= u32::from(*byte as u8) << (8 * index);
    }
    value = value & !0x700 | delivery;
    for (byte, new) in bytes.iter_mut().zip(value.to_le_bytes()) {
        *byte = new as _;
    }
}

/// The first CPU's: the entry point, and the boot parameters in RSI.
///
/// # Errors
/// When KVM refuses.
pub fn set_entry(vcpu: &VcpuFd, entry: u64) -> Result<(), SetupError> {
    let mut sregs = vcpu.get_sregs().map_err(kvm("segment registers"))?;
    sregs.gdt.base = layout::GDT_START;
    sregs.gdt.limit = (GDT.len() * 8 - 1) as u16;
    sregs.cs = segment(CODE);
    for data in [&mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs, &mut sregs.ss] {
        *data = segment(DATA);
    }
    sregs.cr3 = layout::PML4_START;
    sregs.cr4 |= CR4_PAE;
    sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
    sregs.efer |= EFER_LME | EFER_LMA;
    vcpu.set_sregs(&sregs).map_err(kvm("segment registers"))?;
    let regs = kvm_regs {
        rip: entry,
        rsi: layout::BOOT_PARAMS_START,
        rsp: layout::BOOT_STACK,
        rflags: RFLAGS_RESERVED,
        ..Default::default()
    };
    vcpu.set_regs(&regs).map_err(kvm("registers"))
}

/// The hidden part of a segment register, from the descriptor it would be loaded from (Intel SDM volume 3, 3.4.5).
fn segment(index: u16) -> kvm_segment {
    let descriptor = GDT[usize::from(index)];
    let bits = |low: u32, count: u32| (descriptor >> low) & ((1 << count) - 1);
    let limit = (bits(0, 16) | bits(48, 4) << 16) as u32;
    let granular = bits(55, 1) as u8;
    kvm_segment {
        base: bits(16, 24) | bits(56, 8) << 24,
        limit: if granular == 1 { limit << 12 | 0xfff } else { limit },
        selector: index * 8,
        type_: bits(40, 4) as u8,
        s: bits(44, 1) as u8,
        dpl: bits(45, 2) as u8,
        present: bits(47, 1) as u8,
        avl: bits(52, 1) as u8,
        l: bits(53, 1) as u8,
        db: bits(54, 1) as u8,
        g: granular,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_flat_and_64_bit() {
        let (code, data) = (segment(CODE), segment(DATA));
        assert_eq!((code.base, code.limit, code.selector, code.type_), (0, u32::MAX, 0x10, 0xb));
        assert_eq!((code.l, code.db, code.g, code.s, code.present), (1, 0, 1, 1, 1));
        assert_eq!((data.base, data.limit, data.selector, data.type_), (0, u32::MAX, 0x18, 0x3));
        assert_eq!((data.l, data.db, data.dpl), (0, 1, 0));
    }

    #[test]
    fn page_tables_map_every_address_to_itself() {
        let memory = crate::memory::map(2 << 20).unwrap();
        write_tables(&memory).unwrap();
        let entry = |start, index: u64| memory.read_obj::<u64>(GuestAddress(start + 8 * index)).unwrap();
        let address = (301 << 21) + 12345;
        let directory = entry(layout::PML4_START, 0) & !0xfff;
        let pages = entry(directory, 0) & !0xfff;
        assert_eq!((entry(pages, 301) & !0x1f_ffff) + 12345, address);
        assert_eq!(entry(pages, 511) & !0x1f_ffff, layout::BOOT_MAPPED - LARGE_PAGE);
    }

    #[test]
    fn the_lapic_keeps_its_other_bits() {
        let mut lapic = kvm_lapic_state::default();
        lapic.regs[LAPIC_LINT0 + 2] = 1;
        lapic.regs[LAPIC_LINT0 + 1] = 0x12;
        set_lapic(&mut lapic, LAPIC_LINT0, DELIVERY_EXTINT);
        assert_eq!(lapic.regs[LAPIC_LINT0..LAPIC_LINT0 + 4], [0, 0x17, 1, 0]);
    }
}
